//! Styles whose answer depends on the page as it is rendered, judged by css-inline on that page.

use std::collections::BTreeMap;

use css_inline::CSSInliner;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::message::version;
use crate::render::*;

/// The HTML that is sent, and the page as it was rendered, before any style was written into it.
fn sent_and_rendered(html: &str, values: &Value) -> (String, String) {
    let renderer = Renderer::new(RenderLimits::default());
    let rendered = html.replace("<style>", "<style data-css-inline=\"ignore\">");
    let [sent, rendered] = [html, &rendered]
        .map(|html| renderer.render(&version("s", html, Some("t")), &values.clone().into()).unwrap().html);
    (sent, rendered.replace("<style data-css-inline=\"ignore\">", "<style>"))
}

/// The name and the declarations of each tag, in order.
fn styles(html: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let body = &html[html.find("<body").unwrap()..];
    let tags = body.split('<').skip(1).filter(|tag| tag.starts_with(|c: char| c.is_ascii_alphabetic()));
    tags.map(|tag| {
        let name = tag.split([' ', '>']).next().unwrap().to_owned();
        let style = tag.split("style=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let mut declared: BTreeMap<String, String> = BTreeMap::new();
        for declaration in style.split(';').filter(|it| !it.trim().is_empty()) {
            let (name, value) = declaration.split_once(':').unwrap();
            let is_important = |value: &str| value.contains("!important");
            let old = declared.get(name.trim()).is_some_and(|old| is_important(old));
            if !old || is_important(value) {
                declared.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        (name, declared)
    })
    .collect()
}

fn bold(html: &str) -> Vec<bool> {
    styles(html)
        .iter()
        .filter(|(name, _)| name == "td")
        .map(|(_, style)| style.contains_key("font-weight"))
        .collect()
}

#[test]
fn selectors_by_structure_are_decided_for_each_mail() {
    let rows = "<body><table>{{#each r}}<tr><td>{{this}}</td></tr>{{/each}}</table>";
    for (selector, expected) in [
        ("tr:last-child td", [false, false, true]),
        ("tr:nth-child(even) td", [false, true, false]),
        ("tr+tr td", [false, true, true]),
        ("tr:not(:last-child) td", [true, true, false]),
        ("tr:first-of-type>td", [true, false, false]),
    ] {
        let html = format!("<style>{selector}{{font-weight:bold}}</style>{rows}");
        let (sent, _) = sent_and_rendered(&html, &json!({"r": [1, 2, 3]}));
        assert_eq!(bold(&sent), expected, "{selector}: {sent}");
    }
}

#[test]
fn structure_is_decided_in_branches_and_loops_and_by_what_values_make_of_attributes() {
    let rows = "<body><table>\
        {{#each r}}<tr><td class=\"{{this}}\"><a href=\"{{@root.scheme}}://x\">{{this}}</a></td></tr>{{/each}}\
        {{#if more}}<tr><td>more</td></tr>{{else}}<tr><td title=\"none\">none</td></tr>{{/if}}</table>";
    for (selector, values, expected) in [
        ("tr:last-child td", json!({"r": ["a", "b"], "more": true}), vec![false, false, true]),
        ("tr:nth-of-type(odd) td", json!({"r": ["a", "b"]}), vec![true, false, true]),
        ("tr~tr td", json!({"r": ["a"]}), vec![false, true]),
        ("tr:first-child:not(:last-child) td", json!({"r": []}), vec![false]),
        ("tr:only-child td", json!({"r": []}), vec![true]),
        ("tr:nth-last-child(2) td", json!({"r": ["a", "b"], "more": 1}), vec![false, true, false]),
        ("td.b", json!({"r": ["a", "b", "b c"]}), vec![false, true, true, false]),
        ("td[class=b]", json!({"r": ["a", "b", "b c"]}), vec![false, true, false, false]),
        ("td:not([title])", json!({"r": ["a"]}), vec![true, false]),
        (
            "tr:nth-child(-n+2)>td",
            json!({"r": ["a", "b", "c"], "more": true}),
            vec![true, true, false, false],
        ),
    ] {
        let html = format!("<style>{selector}{{font-weight:bold}}</style>{rows}");
        let mut values = values;
        values["scheme"] = "https".into();
        let (sent, _) = sent_and_rendered(&html, &values);
        assert_eq!(bold(&sent), expected, "{selector}: {sent}");
    }
    let html = format!("<style>a[href^=https]{{font-weight:bold}}</style>{rows}");
    for (scheme, is_bold) in [("https", true), ("http", false), ("HTTPS", false)] {
        let (sent, _) = sent_and_rendered(&html, &json!({"r": [1], "scheme": scheme}));
        let links = styles(&sent).into_iter().filter(|(name, _)| name == "a");
        assert!(
            links.into_iter().all(|(_, style)| style.contains_key("font-weight") == is_bold),
            "{scheme}: {sent}"
        );
    }
}

#[test]
fn a_moment_is_enough_for_the_second_mail_with_the_same_structure() {
    let renderer = Renderer::new(RenderLimits::default());
    let html = "<style>td:last-child{color:{{c}}}</style><body><table><tr>{{#each r}}<td>{{this}}</td>{{/each}}</table>";
    let version = version("s", html, None);
    let values = |last: &str| Values::from(json!({"r": ["a", last], "c": last}));
    assert!(renderer.try_render(&version, &values("b")).is_none(), "nothing is known yet");
    let first = renderer.render(&version, &values("red")).unwrap();
    assert!(first.html.contains("<td>a</td><td style=\"color: red\">red</td>"), "{}", first.html);
    let second = renderer.try_render(&version, &values("blue")).unwrap().unwrap();
    assert!(second.html.contains("<td>a</td><td style=\"color: blue\">blue</td>"), "{}", second.html);
    let other = Values::from(json!({"r": ["a", "b", "c"], "c": "red"}));
    assert!(renderer.try_render(&version, &other).is_none(), "three cells are another structure");
}

#[test]
fn a_value_is_not_read_as_a_template_when_its_mail_is_styled() {
    let html = "<style>b:first-child{color:red}</style><body>{{#if a}}<b>{{a}}</b>{{/if}}";
    let (sent, _) = sent_and_rendered(html, &json!({"a": "{{#each x}} </b> {{y"}));
    assert!(sent.ends_with("<body><b style=\"color: red\">{{#each x}} &lt;/b&gt; {{y</b>"), "{sent}");
}

/// A piece of a template, in which `l` is a list of objects with `a` and `b`.
fn piece() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "<p>x</p>",
        "<i class=\"{{a}}\">y</i>",
        "<b class=\"k\">z</b>",
        "<b {{#if b}}class=\"k\"{{/if}}></b>",
        "<i title=\"{{a}}\">t</i>",
        "text {{a}}",
        "<br>",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        let around = prop::sample::select(vec![
            ("<div>", "</div>"),
            ("<div class=\"k\">", "</div>"),
            ("<ul><li>", "</li></ul>"),
            ("<table><tbody><tr><td>", "</td></tr></tbody></table>"),
            ("{{#if b}}", "{{/if}}"),
            ("{{#if b}}<p>1</p>{{else}}", "{{/if}}"),
            ("{{#unless b}}", "{{else}}<i>2</i>{{/unless}}"),
            ("{{#each @root.l}}", "{{/each}}"),
            ("<ul>{{#each @root.l}}<li>{{a}}</li>{{/each}}<li>", "</li></ul>"),
        ]);
        (around, prop::collection::vec(inner, 1..4))
            .prop_map(|((open, close), inside)| format!("{open}{}{close}", inside.concat()))
    })
}

fn rule() -> impl Strategy<Value = String> {
    let simple = prop::sample::select(vec![
        "p",
        "i",
        "b",
        "li",
        "td",
        "div",
        "*",
        ".k",
        ".k1",
        "[title]",
        "[title=k1]",
        "[class~=k]",
        "li:last-child",
        ":first-child",
        "p:nth-child(even)",
        "i:only-child",
        "li:not(:last-child)",
        "div:nth-last-child(2)",
        "b:empty",
        "i:first-of-type",
        ":not(.k)",
    ]);
    let combinator = prop::sample::select(vec![" ", ">", "+", "~"]);
    let declaration = prop::sample::select(vec![
        "color:red",
        "color:blue",
        "color:green !important",
        "font-size:1px",
        "font-size:2px",
        "top:3px",
    ]);
    (simple.clone(), prop::option::of((combinator, simple)), prop::collection::vec(declaration, 1..3))
        .prop_map(|(first, second, declarations)| {
            let second = second.map_or(String::new(), |(combinator, second)| format!("{combinator}{second}"));
            format!("{first}{second}{{{}}}", declarations.join(";"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_mail_has_the_styles_that_inlining_the_rendered_page_gives(
        pieces in prop::collection::vec(piece(), 1..4),
        rules in prop::collection::vec(rule(), 1..6),
        rows in prop::collection::vec((prop::sample::select(vec!["k1", "k", "x"]), any::<bool>()), 0..4),
        (a, b) in (prop::sample::select(vec!["k1", "k"]), any::<bool>()),
    ) {
        let html = format!("<html><head><style>{}</style></head><body>{}</body></html>", rules.concat(), pieces.concat());
        let rows: Vec<_> = rows.into_iter().map(|(a, b)| json!({"a": a, "b": b})).collect();
        let (sent, rendered) = sent_and_rendered(&html, &json!({"a": a, "b": b, "l": rows}));
        let judged = CSSInliner::options().keep_style_tags(true).build().inline(&rendered).unwrap();
        prop_assert_eq!(styles(&sent), styles(&judged), "{}\n{}\n{}", html, sent, judged);
    }
}
