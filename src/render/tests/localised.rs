//! The helpers that write for readers of a language.

use serde_json::json;

use super::message::version;
use crate::render::{Content, RenderError, RenderLimits, Renderer, check};
use crate::shop::TemplateSource;

fn fill(
    subject: &str,
    html: &str,
    text: Option<&str>,
    values: serde_json::Value,
) -> Result<Content, RenderError> {
    Renderer::new(RenderLimits::default()).render(&version(subject, html, text), &values.into())
}

fn refused(html: &str) -> String {
    let source = TemplateSource { subject: "s".to_owned(), html: html.to_owned(), text: None };
    check(&source, &RenderLimits::default()).unwrap_err()[0].to_string()
}

#[test]
fn a_templates_own_language_goes_before_the_readers() {
    let mut version = version("s", "{{date at}}", None);
    version.language = Some("it".to_owned());
    let values = json!({"at": "2026-12-24", "language": "de"});
    let content = Renderer::new(RenderLimits::default()).render(&version, &values.into()).unwrap();
    assert_eq!(content.html, "24 dicembre 2026");
}

fn shown(html: &str, values: serde_json::Value) -> String {
    fill("s", html, None, values).unwrap().html.replace(['\u{a0}', '\u{202f}'], "~")
}

#[test]
fn money_dates_and_plurals_are_those_of_the_readers_language() {
    let html = "{{money total \"EUR\"}} {{money n currency}} {{date at}} {{plural count one=\"# item\" other=\"# items\"}}";
    for (language, expected) in [
        ("en", "€1,234.50 CHF~5.00 1 March 2026 1,234 items"),
        ("es-MX", "1234,50~€ 5,00~CHF 1 de marzo de 2026 1234 items"),
        ("pt", "1234,50~€ 5,00~CHF 1 de março de 2026 1234 items"),
        ("pt-BR", "€~1.234,50 CHF~5,00 1º de março de 2026 1.234 items"),
        ("de", "1.234,50~€ CHF~5.00 1. März 2026 1.234 items"),
        ("fr", "1~234,50~€ 5.00~CHF 1er mars 2026 1~234 items"),
        ("xx", "€1,234.50 CHF~5.00 1 March 2026 1,234 items"),
    ] {
        let values = json!({"total": "1234.5", "n": 5, "currency": "chf", "at": "2026-03-01T00:30:00Z",
            "count": 1234, "language": language});
        assert_eq!(shown(html, values), expected, "{language}");
    }
}

#[test]
fn a_day_is_that_of_the_zone_asked_for_the_brand_or_the_writer() {
    let at = "2026-02-28T23:30:00Z";
    for (html, values, expected) in [
        ("{{date at}}", json!({"at": at}), "28 February 2026"),
        ("{{date at}}", json!({"at": at, "brand_timezone": "Europe/Berlin"}), "1 March 2026"),
        (
            "{{date at timezone=\"America/New_York\"}}",
            json!({"at": at, "brand_timezone": "Europe/Berlin"}),
            "28 February 2026",
        ),
        ("{{date at timezone=zone}}", json!({"at": at, "zone": "Asia/Tokyo"}), "1 March 2026"),
        ("{{date at}}", json!({"at": "2026-12-24"}), "24 December 2026"),
        ("{{date at language=\"de\"}}", json!({"at": "2026-12-24", "language": "en"}), "24. Dezember 2026"),
        ("{{date at}}", json!({"at": null}), ""),
        ("{{date}} {{money}} {{plural}}", json!({"date": "today", "money": 5, "plural": "s"}), "today 5 s"),
        (
            "{{#each l}}{{date at}} {{/each}}",
            json!({"l": [{"at": "2026-01-01"}, {"at": "2026-01-02"}]}),
            "1 January 2026 2 January 2026 ",
        ),
        ("{{#if (eq (date at) \"24 December 2026\")}}yes{{/if}}", json!({"at": "2026-12-24"}), "yes"),
    ] {
        assert_eq!(shown(html, values.clone()), expected, "{html} {values}");
    }
}

#[test]
fn a_plural_takes_the_words_of_its_category() {
    let html = "{{plural n zero=\"none\" one=\"a <b>\" other=\"# & more\"}}";
    for (n, expected) in
        [(json!(0), "none"), (json!("1"), "a &lt;b&gt;"), (json!(2.5), "2.5 &amp; more"), (json!(null), "")]
    {
        assert_eq!(shown(html, json!({"n": n})), expected, "{n}");
    }
    let html = "{{plural n one=\"# article\" many=\"# d’articles\" other=\"# articles\"}}";
    for (n, expected) in
        [(0, "0 article"), (1, "1 article"), (2, "2 articles"), (2_000_000, "2~000~000 d’articles")]
    {
        assert_eq!(shown(html, json!({"n": n, "language": "fr"})), expected);
    }
    assert_eq!(shown("{{plural n other=words}}", json!({"n": 1, "words": "# x"})), "1 x");
    let html = "{{plural n one=\"# cup\" many=\"# of cups\" other=\"# cups\"}}";
    for (n, language, expected) in [
        (json!(1.0), "en", "1 cup"),
        (json!("1.00"), "de", "1 cup"),
        (json!(-1.0), "it", "-1 cup"),
        (json!(1.5), "en", "1.5 cups"),
        (json!(1_000_000.0), "fr", "1~000~000 of cups"),
    ] {
        assert_eq!(shown(html, json!({"n": n, "language": language})), expected, "{n}");
    }
}

#[test]
fn a_localised_value_that_is_missing_or_wrong_is_refused() {
    let missing = fill(
        "{{money total c}}",
        "{{#each l}}{{date at}}{{/each}}{{plural n other=\"x\"}}",
        None,
        json!({"l": [{}]}),
    );
    let Err(RenderError::Missing { tags }) = missing else { panic!("{missing:?}") };
    assert_eq!(tags, ["total", "l.0.at", "n"]);
    for (html, values, expected) in [
        ("{{money x \"EUR\"}}", json!({"x": "12,50"}), "`money` needs a decimal number"),
        ("{{money x c}}", json!({"x": 1, "c": "Euro"}), "three letters"),
        ("{{date x}}", json!({"x": "tomorrow"}), "`date` needs a date"),
        ("{{date x}}", json!({"x": 1_700_000_000}), "`date` needs a date"),
        ("{{date x timezone=z}}", json!({"x": "2026-01-01", "z": "Mars"}), "time zone"),
        ("{{plural x other=\"y\"}}", json!({"x": "many"}), "`plural` needs a number"),
        ("{{plural x other=\"y\"}}", json!({"x": "1."}), "`plural` needs a number"),
        ("{{plural x other=\"y\" language=l}}", json!({"x": 1, "l": "nl"}), "must be one of en, es"),
    ] {
        let error = fill("s", html, None, values).unwrap_err().to_string();
        assert!(error.contains(expected), "{html}: {error}");
    }
}

#[test]
fn a_wrong_call_of_a_localising_helper_is_refused_when_a_template_is_stored() {
    for (html, expected) in [
        ("{{money total}}", "html, line 1, column 1: `money` takes two arguments: an amount and a currency"),
        ("{{money total \"Euro\"}}", "three letters"),
        ("{{money \"12,50\" \"EUR\"}}", "decimal number"),
        ("{{date a b}}", "`date` takes one argument: a date"),
        ("{{date at zone=\"UTC\"}}", "`date` does not take `zone=`; it takes language, timezone"),
        ("{{date at timezone=\"Mars\"}}", "time zone of the IANA database"),
        ("{{date \"1 March\"}}", "`date` needs a date"),
        ("{{date at language=\"nl\"}}", "must be one of en"),
        ("{{plural n one=\"x\"}}", "`plural` needs `other=`"),
        ("{{#if (plural n)}}{{/if}}", "`plural` needs `other=`"),
        ("{{#money a b}}{{/money}}", "`money` has no block"),
    ] {
        let fault = refused(html);
        assert!(fault.contains(expected), "{fault}");
    }
}

/// The table of samples in `docs/api.md`.
#[test]
fn the_samples_of_the_documentation_print_what_it_says() {
    let page = include_str!("../../../docs/api.md");
    let rows = page.split_once("| template | values | English | German |").unwrap().1;
    let rows: Vec<_> = rows.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 7, "{rows:?}");
    for row in rows {
        let cells: Vec<_> =
            row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let [html, values, english, german] = cells[..] else { panic!("{row}") };
        for (language, expected) in [("en", english), ("de", german)] {
            let mut values: serde_json::Value = serde_json::from_str(values).unwrap();
            values["language"] = language.into();
            assert_eq!(shown(html, values).replace('~', " "), expected, "{row}");
        }
    }
}
