//! Character references, as the HTML standard resolves them (section 13.2.5.72 and following).

use mail_parser::decoders::html::add_html_token;

/// What the numbers 128 to 159 stand for: pages that were written in Windows-1252 use them.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// The names that the standard takes without a semicolon, for U+00A0 to U+00FF and a few more.
const BARE: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg \
    macr deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 \
    iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute \
    Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml \
    Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml \
    igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute \
    ucirc uuml yacute thorn yuml";
const MORE_BARE: [(&str, char); 9] = [
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("COPY", '©'),
];

/// Where a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReferenceContext {
    /// Between tags.
    Text,
    /// In the value of an attribute, where `&copy=1` is a part of an address.
    Attribute,
}

/// Resolves the references of a text; what is none stays as it is.
pub(super) fn decode(raw: &str, context: ReferenceContext) -> String {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = reference(rest, context, &mut decoded).unwrap_or_else(|| {
            decoded.push('&');
            1
        });
        rest = &rest[length..];
    }
    decoded.push_str(rest);
    decoded
}

/// Writes what the reference at the start of `rest` stands for, and returns its length.
fn reference(rest: &str, context: ReferenceContext, decoded: &mut String) -> Option<usize> {
    if let Some(digits) = rest.strip_prefix("&#") {
        let (skipped, radix) = if digits.starts_with(['x', 'X']) { (1, 16) } else { (0, 10) };
        let digits = &digits[skipped..];
        let length = digits.bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
        if length == 0 {
            return None;
        }
        decoded.push(character(&digits[..length], radix));
        return Some(2 + skipped + length + usize::from(digits.as_bytes().get(length) == Some(&b';')));
    }
    let length = rest[1..].bytes().take(32).take_while(u8::is_ascii_alphanumeric).count();
    let name = &rest[1..=length];
    if rest.as_bytes().get(1 + length) == Some(&b';') {
        let whole = &rest[..length + 2];
        let before = decoded.len();
        add_html_token(decoded, whole.as_bytes(), false);
        if decoded[before..] != *whole {
            return Some(whole.len());
        }
        decoded.truncate(before);
    }
    let (name, character) = bare(name).filter(|_| context == ReferenceContext::Text)?;
    decoded.push(character);
    Some(1 + name.len())
}

/// The longest name without a semicolon that a word begins with: `&notit;` is `¬it;`.
fn bare(word: &str) -> Option<(&'static str, char)> {
    let of_latin_1 = BARE.split_whitespace().zip('\u{a0}'..='\u{ff}');
    let all = of_latin_1.chain(MORE_BARE).chain([("REG", '®')]);
    all.filter(|(name, _)| word.starts_with(name)).max_by_key(|(name, _)| name.len())
}

/// The character of a number; U+FFFD where there is none.
fn character(digits: &str, radix: u32) -> char {
    match u32::from_str_radix(digits, radix) {
        Ok(0) | Err(_) => char::REPLACEMENT_CHARACTER,
        Ok(number @ 128..=159) => WINDOWS_1252.get(number as usize - 128).copied().unwrap_or(' '),
        Ok(number) => char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_the_html_standard() {
        for (raw, expected) in [
            ("It&#146;s 5&#128; &#150; ok", "It’s 5€ – ok"),
            ("&#x93;Tea&#X94;&#133;", "“Tea”…"),
            ("&#153;&#137;&#159;", "™‰Ÿ"),
            ("&#0;&#xD800;&#99999999;&#99999999999999999999;", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("&#8364 5 &#x20AC", "€ 5 €"),
            ("&euro;&nbsp;5 &#x26; &lt;b&gt; &bogus; R&D &amp", "€\u{a0}5 & <b> &bogus; R&D &"),
            ("&#130;a&#132; &#x8b;b&#x9B; &#x80;5 &#149; &#134;&#156;", "‚a„ ‹b› €5 • †œ"),
            ("don&#146t &#150 5&#128. &#127;&#129;", "don’t – 5€. \u{7f}\u{81}"),
            ("&eacute &Uuml; &nbsp5 &copy2026 &pound5 &frac12 &times2", "é Ü \u{a0}5 ©2026 £5 ½ ×2"),
            ("&notit; &notin; &ampamp; &LT;b&GT &euro5", "¬it; ∉ &amp; <b> &euro5"),
            ("&amp;lt; &copy 2026 &#; &#x; &;", "&lt; © 2026 &#; &#x; &;"),
        ] {
            assert_eq!(decode(raw, ReferenceContext::Text), expected, "{raw}");
        }
        assert_eq!(decode("?a=1&amp;b=2&copy=3&lt", ReferenceContext::Attribute), "?a=1&b=2&copy=3&lt");
    }
}
