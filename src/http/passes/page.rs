//! The page of a pass: plain HTML that needs nothing from outside, in six languages.

use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

use askama::Template;
use axum::{http::StatusCode, response::Response};
use qrcode::{Color, EcLevel, QrCode};
use serde::Deserialize;

use crate::{
    html::written,
    http::public_page::{Forms, MissingPage, PublicPage},
    mail::Timestamp,
    shop::{Timezone, day_of, format::format_day, language::Language, pass::Voucher},
};

const STYLE: &str = include_str!("../../../templates/passes/style.css");
/// The white border that a scanner needs around a QR code, in modules (ISO/IEC 18004).
const QUIET: usize = 4;

/// What a page shows.
pub(super) struct PassPage {
    pub(super) language: Language,
    pub(super) brand: String,
    /// Where its days are those of the brand's mails; UTC where absent.
    pub(super) timezone: Option<Timezone>,
    pub(super) vouchers: Vec<ShownVoucher>,
    /// What the QR code says.
    pub(super) code: String,
    pub(super) now: Timestamp,
}

/// A coupon or store card on a page.
pub(super) struct ShownVoucher {
    pub(super) kind: Kind,
    pub(super) voucher: Voucher,
}

/// Which of the two it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Coupon,
    Storecard,
}

/// The words of one language.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    coupon: String,
    storecard: String,
    code: String,
    valid_until: String,
    expired_on: String,
    hint: String,
    qr: String,
    missing_title: String,
    missing_text: String,
}

impl Words {
    fn of(language: Language) -> Self {
        static WORDS: LazyLock<BTreeMap<Language, Words>> = LazyLock::new(|| {
            // A test reads the file; a page without words is still better than a panic.
            toml::from_str(include_str!("../../../templates/passes/words.toml")).unwrap_or_default()
        });
        WORDS.get(&language).cloned().unwrap_or_default()
    }
}

/// The page of a pass.
#[derive(Template)]
#[template(path = "passes/pass.html")]
struct PassTemplate<'a> {
    language: &'a str,
    title: &'a str,
    style: &'a str,
    words: &'a Words,
    brand: &'a str,
    vouchers: Vec<VoucherLines<'a>>,
    /// Whether nothing on it is valid any more.
    is_over: bool,
    qr: Option<QrImage>,
}

/// What a voucher says, line by line.
struct VoucherLines<'a> {
    kind: &'a str,
    title: &'a str,
    facts: Vec<Fact<'a>>,
    /// That it is over.
    late: Option<String>,
}

/// A name and a value, and how they look.
struct Fact<'a> {
    name: &'a str,
    class: &'a str,
    value: String,
}

impl PassPage {
    /// The page as an answer.
    pub(super) fn answer(&self) -> Response {
        let words = Words::of(self.language);
        let page = PassTemplate {
            language: self.language.as_str(),
            title: self.vouchers.first().map_or("", |shown| shown.voucher.title.as_str()),
            style: STYLE,
            words: &words,
            brand: &self.brand,
            vouchers: self.vouchers.iter().map(|shown| self.lines(shown, &words)).collect(),
            is_over: self.vouchers.iter().all(|shown| self.is_over(shown)),
            qr: QrImage::of(&self.code),
        };
        PublicPage {
            status: StatusCode::OK,
            language: self.language,
            style: STYLE,
            forms: Forms::None,
            page: written(&page),
        }
        .answer()
    }

    fn is_over(&self, shown: &ShownVoucher) -> bool {
        shown.voucher.expires_at.is_some_and(|at| at <= self.now)
    }

    fn lines<'a>(&self, shown: &'a ShownVoucher, words: &'a Words) -> VoucherLines<'a> {
        let voucher = &shown.voucher;
        let code = voucher.code.as_ref().map(|code| code.as_str().to_owned());
        let code = code.map(|value| Fact { name: &words.code, class: "code", value });
        let zone = self.timezone.as_ref();
        let day = voucher.expires_at.map(|at| format_day(self.language, day_of(at, zone)));
        let (valid, late) = if self.is_over(shown) {
            (None, day.map(|day| words.expired_on.replace("[[date]]", &day)))
        } else {
            (day.map(|value| Fact { name: &words.valid_until, class: "day", value }), None)
        };
        VoucherLines {
            kind: match shown.kind {
                Kind::Coupon => &words.coupon,
                Kind::Storecard => &words.storecard,
            },
            title: voucher.title.as_str(),
            facts: code.into_iter().chain(valid).collect(),
            late,
        }
    }
}

/// The page for a link that leads to no pass.
pub(super) fn missing(language: Language) -> Response {
    let words = Words::of(language);
    let (title, text) = (words.missing_title.as_str(), words.missing_text.as_str());
    MissingPage { language, title, style: STYLE, text }.answer(Forms::None)
}

/// A QR code as the path of an SVG, each row's runs of dark modules as one rectangle.
struct QrImage {
    /// How many modules each side has, with the border.
    side: usize,
    path: String,
}

impl QrImage {
    /// The image; none for what is too long for one.
    fn of(content: &str) -> Option<Self> {
        let levels = [EcLevel::M, EcLevel::L].into_iter();
        let code =
            levels.map(|level| QrCode::with_error_correction_level(content, level)).find_map(Result::ok)?;
        let width = code.width();
        let mut path = String::new();
        for y in 0..width {
            let mut x = 0;
            while x < width {
                let color = code[(x, y)];
                let run = (x..width).take_while(|&x| code[(x, y)] == color).count();
                if color == Color::Dark {
                    let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET);
                }
                x += run;
            }
        }
        Some(Self { side: width + 2 * QUIET, path })
    }
}

#[cfg(test)]
pub(super) use tests::read_qr;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the QR code out of a page, as a phone does.
    pub(in crate::http::passes) fn read_qr(page: &str) -> String {
        let side: usize =
            page.split_once("viewBox=\"0 0 ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
        let mut dark = vec![false; side * side];
        let path = page.rsplit_once("<path d=\"").unwrap().1.split_once('"').unwrap().0;
        for run in path.split_terminator('z') {
            let (x, rest) = run[1..].split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let length: usize = rest.split_once('v').unwrap().0.parse().unwrap();
            let start = y.parse::<usize>().unwrap() * side + x.parse::<usize>().unwrap();
            dark[start..start + length].fill(true);
        }
        let grey: Vec<u8> = (0..side * side * 16)
            .map(|at| if dark[at / (side * 4) / 4 * side + at % (side * 4) / 4] { 0 } else { 255 })
            .collect();
        let code = quircs::Quirc::default().identify(side * 4, side * 4, &grey).next().unwrap().unwrap();
        String::from_utf8(code.decode().unwrap().payload).unwrap()
    }

    #[test]
    fn every_language_has_every_word() {
        for &language in Language::ALL {
            let words = Words::of(language);
            for word in [
                &words.coupon,
                &words.storecard,
                &words.code,
                &words.valid_until,
                &words.hint,
                &words.qr,
                &words.missing_title,
                &words.missing_text,
            ] {
                assert!(!word.is_empty(), "{language}");
            }
            assert!(words.expired_on.contains("[[date]]"), "{language}");
        }
    }

    #[test]
    fn a_qr_code_reads_back_as_its_content() {
        for content in
            ["A", "https://mail.shop.example/passes/fJ3-_x", "Ünïcode ☂ 0123456789", &"x".repeat(1020)]
        {
            assert_eq!(read_qr(&page_with(content)), content);
        }
        assert!(!page_with(&"x".repeat(4000)).contains("<svg"));
    }

    fn page_with(code: &str) -> String {
        written(&PassTemplate {
            language: "en",
            title: "</title><script>",
            style: "p > b { color: red }",
            words: &Words { qr: "\"><script>".to_owned(), hint: "<script>".to_owned(), ..Words::default() },
            brand: "<script>",
            vouchers: vec![VoucherLines {
                kind: "<script>",
                title: "<script>",
                facts: vec![Fact {
                    name: "<script>",
                    class: "code",
                    value: "[[title]] {{ title }} <script>".to_owned(),
                }],
                late: Some("<script>".to_owned()),
            }],
            is_over: false,
            qr: QrImage::of(code),
        })
    }

    #[test]
    fn text_cannot_become_markup_nor_a_placeholder() {
        let page = page_with("A");
        assert!(!page.contains("<script>") && page.contains("p > b { color: red }"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 9, "{page}");
        assert!(page.contains("[[title]] {{ title }} &lt;script&gt;"), "{page}");
    }
}
