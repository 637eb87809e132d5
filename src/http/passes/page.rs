//! The page of a pass: plain HTML that needs nothing from outside, in six languages.

use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use qrcode::{Color, EcLevel, QrCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    mail::Timestamp,
    shop::{format::format_date, language::Language, pass::Voucher},
};

const STYLE: &str = include_str!("../../../templates/passes/style.css");
/// The white border that a scanner needs around a QR code, in modules (ISO/IEC 18004).
const QUIET: usize = 4;

/// What a page shows.
pub(super) struct PassPage {
    pub(super) language: Language,
    pub(super) brand: String,
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

/// Markup: text gets in only escaped.
struct Markup(String);

impl Markup {
    fn text(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                c => escaped.push(c),
            }
        }
        Self(escaped)
    }

    /// Replaces each `[[mark]]` of a template; what replaces one is not looked at again.
    fn fill(template: &str, values: &[(&str, Self)]) -> Self {
        let mut parts = template.trim_end().split("[[");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (mark, rest) = part.split_once("]]").unwrap_or((part, ""));
            if let Some((_, value)) = values.iter().find(|(name, _)| *name == mark) {
                filled.push_str(&value.0);
            }
            filled.push_str(rest);
        }
        Self(filled)
    }
}

impl PassPage {
    /// The page as an answer.
    pub(super) fn answer(&self) -> Response {
        let words = Words::of(self.language);
        let vouchers: Vec<_> = self.vouchers.iter().map(|shown| self.voucher(shown, &words).0).collect();
        let all_over = self.vouchers.iter().all(|shown| self.is_over(shown));
        let content = Markup::fill(
            include_str!("../../../templates/passes/pass.html"),
            &[
                ("brand", Markup::text(&self.brand)),
                ("vouchers", Markup(vouchers.join("\n"))),
                ("validity", Markup::text(if all_over { "over" } else { "valid" })),
                ("qr", qr(&self.code, &words.qr)),
                ("hint", Markup::text(&words.hint)),
            ],
        );
        let title = self.vouchers.first().map_or("", |shown| shown.voucher.title.as_str());
        answer(StatusCode::OK, self.language, title, content)
    }

    fn is_over(&self, shown: &ShownVoucher) -> bool {
        shown.voucher.expires_at.is_some_and(|at| at <= self.now)
    }

    fn voucher(&self, shown: &ShownVoucher, words: &Words) -> Markup {
        let voucher = &shown.voucher;
        let mut facts = String::new();
        let mut fact = |name: &str, class: &str, value: &str| {
            let (name, value) = (Markup::text(name).0, Markup::text(value).0);
            let _ = write!(facts, "<div><dt>{name}</dt><dd class=\"{class}\">{value}</dd></div>");
        };
        if let Some(code) = &voucher.code {
            fact(&words.code, "code", code.as_str());
        }
        let day = voucher.expires_at.map(|at| format_date(self.language, at));
        if let Some(day) = day.as_ref().filter(|_| !self.is_over(shown)) {
            fact(&words.valid_until, "day", day);
        }
        let mut facts = if facts.is_empty() { facts } else { format!("<dl>{facts}</dl>") };
        if let Some(day) = day.filter(|_| self.is_over(shown)) {
            let over = Markup::text(&words.expired_on.replace("[[date]]", &day)).0;
            let _ = write!(facts, "<p class=\"late\">{over}</p>");
        }
        let kind = match shown.kind {
            Kind::Coupon => &words.coupon,
            Kind::Storecard => &words.storecard,
        };
        Markup::fill(
            include_str!("../../../templates/passes/voucher.html"),
            &[
                ("kind", Markup::text(kind)),
                ("title", Markup::text(voucher.title.as_str())),
                ("facts", Markup(facts)),
            ],
        )
    }
}

/// The page for a link that leads to no pass.
pub(super) fn missing(language: Language) -> Response {
    let words = Words::of(language);
    let content = Markup::fill(
        include_str!("../../../templates/passes/missing.html"),
        &[("title", Markup::text(&words.missing_title)), ("text", Markup::text(&words.missing_text))],
    );
    answer(StatusCode::NOT_FOUND, language, &words.missing_title, content)
}

fn answer(status: StatusCode, language: Language, title: &str, content: Markup) -> Response {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    let page = Markup::fill(
        include_str!("../../../templates/passes/page.html"),
        &[
            ("language", Markup::text(language.as_str())),
            ("title", Markup::text(title)),
            ("style", Markup(STYLE.to_owned())),
            ("content", content),
        ],
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        // The link is the key: it must reach neither other sites nor caches nor search engines.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "private, no-store"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_LANGUAGE, language.as_str()),
    ];
    (status, headers, Html(page.0)).into_response()
}

/// A QR code as inline SVG, each row's runs of dark modules as one rectangle. What is too long for one gets none.
fn qr(content: &str, label: &str) -> Markup {
    let levels = [EcLevel::M, EcLevel::L].into_iter();
    let code = levels.map(|level| QrCode::with_error_correction_level(content, level)).find_map(Result::ok);
    let Some(code) = code else { return Markup(String::new()) };
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
    let side = width + 2 * QUIET;
    let label = Markup::text(label).0;
    Markup(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"{label}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
    ))
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
            assert_eq!(read_qr(&qr(content, "QR").0), content);
        }
        assert_eq!(qr(&"x".repeat(4000), "QR").0, "");
    }

    #[test]
    fn text_cannot_become_markup_nor_a_mark() {
        let filled = Markup::fill(
            "<p>[[a]] [[b]] [[none]]</p>",
            &[("a", Markup::text("<b>\"'&")), ("b", Markup::text("[[a]]"))],
        );
        assert_eq!(filled.0, "<p>&lt;b&gt;&quot;&#39;&amp; [[a]] </p>");
    }
}
