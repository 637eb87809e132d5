//! The forms in which an address is written, and a text without them. Pure.

use crate::mail::Address;

/// Stands where an address was. The domain is reserved (RFC 2606): no mail goes there.
pub(super) const ERASED: &str = "erased@postroom.invalid";

/// Somebody who is looked for by address, in whatever case it is written.
#[derive(Clone, Debug)]
pub(super) struct Person {
    key: String,
    /// Each form with what takes its place, in lower case as far as it is ASCII.
    forms: Vec<(String, String)>,
}

impl Person {
    pub(super) fn of(address: &Address) -> Self {
        let key = address.search_key();
        let local = address.local().to_lowercase();
        let (domain, given) = (address.domain(), address.local().to_ascii_lowercase());
        let readable = address.readable_domain();
        let erased_key =
            ERASED.split_once('@').map_or(String::new(), |(local, domain)| format!("{domain}@{local}"));
        let mut forms = vec![(key.clone(), erased_key)];
        for domain in [domain, &readable] {
            for local in [&local, &given] {
                forms.push((format!("{local}@{domain}"), ERASED.to_owned()));
                // As it is in links.
                let escaped = format!("{local}@{domain}").replace('+', "%2b").replace('@', "%40");
                forms.push((escaped, ERASED.replace('@', "%40")));
                forms.push((format!("{local}%40{domain}"), ERASED.replace('@', "%40")));
            }
        }
        forms.sort();
        forms.dedup();
        Self { key, forms }
    }

    /// As mails are found by it: see [`Address::search_key`].
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Patterns for `LIKE … ESCAPE '\'` over text in lower case; one of them fits wherever the address stands.
    pub(super) fn patterns(&self) -> Vec<String> {
        let escaped = |form: &str| form.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        self.forms.iter().map(|(form, _)| format!("%{}%", escaped(form))).collect()
    }

    /// Whether this is the person's address.
    pub(super) fn is(&self, text: &str) -> bool {
        text.trim().parse::<Address>().is_ok_and(|address| address.search_key() == self.key)
    }

    /// The text without the address, where it stands there as a whole: `joann@…` is somebody else than `ann@…`.
    pub(super) fn without(&self, text: &str) -> Option<String> {
        let mut changed = None;
        for (form, erased) in &self.forms {
            if let Some(without) = replaced(changed.as_deref().unwrap_or(text), form, erased) {
                changed = Some(without);
            }
        }
        changed
    }
}

fn replaced(text: &str, form: &str, erased: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase(); // of the same length
    let (mut done, mut from) = (String::new(), 0);
    for (at, _) in lower.match_indices(form) {
        let end = at + form.len();
        if at >= from && begins(&text[..at]) && ends(&text[end..]) {
            done.push_str(&text[from..at]);
            done.push_str(erased);
            from = end;
        }
    }
    (from > 0).then(|| done + &text[from..])
}

/// Whether an address may begin after this.
fn begins(before: &str) -> bool {
    // After an escape of JSON or a link begins something new.
    let is_escape = ["\\n", "\\r", "\\t", "%20", "%3c", "%3C", "%3a", "%3A"];
    is_escape.iter().any(|escape| before.ends_with(escape))
        || !before.chars().next_back().is_some_and(|last| last.is_alphanumeric() || "._%+-".contains(last))
}

/// Whether an address may end before this.
fn ends(after: &str) -> bool {
    let mut rest = after.chars();
    match rest.next() {
        Some('.' | '-') => !rest.next().is_some_and(char::is_alphanumeric),
        Some(next) => !(next.is_alphanumeric() || "_+@".contains(next)),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(address: &str) -> Person {
        Person::of(&address.parse().unwrap())
    }

    #[test]
    fn an_address_is_found_in_every_form_that_it_is_written_in() {
        let ann = person("Ann+tea@Bücher.example");
        for (text, without) in [
            ("ANN+TEA@xn--bcher-kva.example", "erased@postroom.invalid"),
            ("to Ann+tea@bücher.example.", "to erased@postroom.invalid."),
            ("<ann+tea@xn--bcher-kva.example>, bob@x.example", "<erased@postroom.invalid>, bob@x.example"),
            (r#"{"email":"ann+tea@Xn--Bcher-kva.example"}"#, r#"{"email":"erased@postroom.invalid"}"#),
            (r"Dear\nann+tea@bücher.example\n", r"Dear\nerased@postroom.invalid\n"),
            ("?to=ann%2Btea%40xn--bcher-kva.example&a=1", "?to=erased%40postroom.invalid&a=1"),
            ("xn--bcher-kva.example@ann+tea", "postroom.invalid@erased"),
        ] {
            assert_eq!(ann.without(text).as_deref(), Some(without), "{text}");
        }
        assert!(ann.is(" ANN+tea@xn--bcher-kva.example "));
    }

    #[test]
    fn others_whose_address_holds_this_one_are_left_alone() {
        let ann = person("ann@example.net");
        for text in [
            "joann@example.net",
            "jo.ann@example.net",
            "jo+ann@example.net",
            "ann@example.network",
            "ann@example.net.example",
            "ann@example.net-shop.example",
            "ann@example",
            "",
        ] {
            assert_eq!(ann.without(text), None, "{text}");
        }
        assert_eq!(
            ann.without("joann@example.net ann@example.net").as_deref(),
            Some("joann@example.net erased@postroom.invalid")
        );
    }

    #[test]
    fn wildcards_of_like_are_escaped() {
        assert!(person("a_b@example.net").patterns().contains(&r"%a\_b@example.net%".to_owned()));
    }
}
