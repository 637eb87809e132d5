//! What inlining writes, by examples.

use super::*;
use crate::shop::{
    builtin_mails::{self, BuiltinMail},
    language::Language,
};

fn inlined(html: &str) -> String {
    inline(html).unwrap()
}

#[test]
fn rows_of_a_loop_stay_in_their_table() {
    let html =
        "<style>td { color: red }</style><table>{{#each rows}}<tr><td>{{name}}</td></tr>{{/each}}</table>";
    assert_eq!(
        inlined(html),
        "<style>td { color: red }</style><table>{{#each rows}}<tr><td style=\"color: red\">{{name}}</td></tr>{{/each}}</table>"
    );
}

#[test]
fn a_template_without_style_is_left_byte_for_byte() {
    for html in ["<P CLASS=a>{{x}}<br></p>\r\n", "", "no markup", "<table>{{#each a}}<tr>{{/each}}"] {
        assert_eq!(inlined(html), html);
    }
}

#[test]
fn a_tags_own_style_comes_last() {
    let css = "<style>p{margin:0;font-family:\"A B\"}</style>";
    for (tag, expected) in [
        (
            "<p style=\"color:{{c}};{{#if w}}width:1px{{/if}}\">",
            "<p style=\"margin: 0;font-family: 'A B'; color:{{c}};{{#if w}}width:1px{{/if}}\">",
        ),
        ("<p style='a:b'>", "<p style='margin: 0;font-family: &#39;A B&#39;; a:b'>"),
        ("<p style=a:b>", "<p style=\"margin: 0;font-family: 'A B'; a:b\">"),
        (
            "<p {{#if x}}id=\"a\"{{/if}} {{y}}>",
            "<p style=\"margin: 0;font-family: 'A B'\" {{#if x}}id=\"a\"{{/if}} {{y}}>",
        ),
    ] {
        assert_eq!(inlined(&format!("{css}{tag}")), format!("{css}{expected}"));
    }
}

#[test]
fn placeholders_survive_wherever_they_stand() {
    let css = "<style>.a { color: {{brand.color}}; width: {{w}}px } .{{b}} { color: red }</style>";
    let body = "<a class=\"a\" style=\"{{#if p}}b{{/if}}\" href={{url}}>{{lookup m \"<p>\"}}</a><!-- {{c}} --><p class=\"a\">{{{d}}}";
    let style = "style=\"color: {{@root.brand.color}};width: {{@root.w}}px";
    let expected =
        body.replace("style=\"", &format!("{style}; ")).replace("<p class", &format!("<p {style}\" class"));
    assert_eq!(inlined(&format!("{css}{body}")), format!("{css}{expected}"));
}

#[test]
fn any_value_survives_in_an_attribute_and_both_backgrounds_go_there() {
    for (css, style) in [
        (
            "font-family:\"Bob's Font\",serif;color:red",
            "font-family: &quot;Bob's Font&quot;,serif;color: red",
        ),
        (
            "background:#1d6357;background:linear-gradient(#1d6357,#fff)",
            "background: #1d6357;background: linear-gradient(#1d6357,#fff)",
        ),
        ("background:url(\"a.png?b=1&c=2\")", "background: url('a.png?b=1&amp;c=2')"),
        ("width:{{w}}px;width:calc({{w}}px - 1px)", "width: {{@root.w}}px;width: calc({{@root.w}}px - 1px)"),
        ("content:'\"}'", "content: '&quot;}'"),
    ] {
        let html = format!("<style>p{{{css}}}</style><p>a</p>");
        assert_eq!(inlined(&html), html.replace("<p>", &format!("<p style=\"{style}\">")), "{css}");
    }
}

#[test]
fn the_cascade_decides_between_rules() {
    let html = "<style>p{color:red;margin:0}.a{color:blue}p{color:green !important}@layer x{p{margin:9px}}</style><p class=a style='top:1px'>";
    assert!(
        inlined(html).ends_with("<p class=a style='margin: 0;color: green !important; top:1px'>"),
        "{}",
        inlined(html)
    );
}

#[test]
fn an_element_or_a_sheet_can_opt_out() {
    for html in [
        "<style data-css-inline=\"ignore\">p{color:red}</style><p>a</p>",
        "<style>p{color:red}</style><p data-css-inline=\"ignore\">a</p>",
    ] {
        assert_eq!(inlined(html), html);
    }
}

/// A mail of a shop costs several times as much when its styles are written for it alone.
#[test]
fn the_styles_of_builtin_mails_are_written_once() {
    for &mail in BuiltinMail::ALL {
        for &language in Language::OF_BUILTIN_MAILS {
            let html = inline(&builtin_mails::template(mail, language).html).unwrap();
            assert!(html.matches("padding: 20px 8px 0").count() == 2, "{mail} {language}"); // in its rule and in the tag
            assert!(!depends_on_values(&html), "{mail} {language}");
        }
    }
}

#[test]
fn a_rule_that_depends_on_values_is_left_for_each_mail() {
    for (body, css) in [
        ("{{#each r}}<tr><td>{{this}}</td></tr>{{/each}}", "tr:last-child td{color:red}"),
        ("{{#each r}}<tr>{{/each}}", "tr+tr{color:red}"),
        ("{{#if a}}<p>b</p>{{/if}}<i>c</i>", "p~i{color:red}"),
        ("{{{a}}}<i>c</i>", "i:first-child{color:red}"),
        ("<p class=\"{{c}}\">", ".a{color:red}"),
        ("<p {{#if c}}id=a{{/if}}>", "#a{color:red}"),
        ("<p title=\"{{c}}\">", "[title=a]{color:red}"),
        ("{{#if c}}<div class=a>{{else}}<div>{{/if}}<p>b</p></div>", ".a p{color:red}"),
    ] {
        let html = format!("<style>{css}</style>{body}");
        assert!(depends_on_values(&html), "{html}");
        assert_eq!(inlined(&html), html);
    }
    for (body, css) in [
        ("{{#each r}}<tr><td>{{this}}</td></tr>{{/each}}", "tr td{color:red}"),
        ("{{#each r}}<li>{{this}}{{/each}}", "ul li{color:red}"),
        ("<tr><td>{{a}}</td></tr>", "td:last-child{color:red}"),
        ("<p class=\"a\" style=\"{{c}}\" title=\"{{c}}\">", ".a{color:red}"),
        ("<p class=\"{{c}}\">", "p{color:red}"),
        ("{{#if c}}<div class=a></div>{{else}}<p></p>{{/if}}", "td:hover, .a p{color:red}"),
    ] {
        assert!(!depends_on_values(&format!("<style>{css}</style>{body}")), "{css} {body}");
    }
}

#[test]
fn a_style_sheet_with_conditions_stays_in_style_only() {
    let html = "<style>{{#if x}}p{color:red}{{/if}}</style><style media=print>p{color:blue}</style><p>";
    assert_eq!(inlined(html), html);
}

#[test]
fn media_queries_stay_and_are_not_inlined() {
    let html = "<html><head><style>p{color:red}@media (max-width:600px){p{color:blue !important}}</style></head><body><p>a</p></body></html>";
    assert_eq!(inlined(html), html.replace("<p>a", "<p style=\"color: red\">a"));
}

#[test]
fn a_linked_style_sheet_is_not_loaded() {
    let html = "<link rel=stylesheet href=\"/etc/passwd\"><link rel=stylesheet href=\"http://127.0.0.1:1/\"><style>p{color:red}@import url(http://127.0.0.1:1/);</style><p>";
    assert_eq!(inlined(html), html.replace("<p>", "<p style=\"color: red\">"));
}

#[test]
fn a_document_that_would_take_forever_is_refused() {
    let css = "<style>p{color:red}</style>";
    assert!(inline(&format!("{css}{}", "<div>".repeat(1001))).is_err());
    assert!(inline(&format!("{css}{}", "<b>".repeat(51))).is_err());
    let rules = "p{color:red}".repeat(2000);
    assert!(inline(&format!("<style>{rules}</style>{}", "<p></p>".repeat(2000))).is_err());
    let properties: String = (0..600).map(|number| format!("a{number}:b;")).collect();
    assert!(inline(&format!("<style>p{{{properties}}}</style><p>")).is_err());
    assert!(inline(&format!("{css}{}", "<p>a</p>".repeat(20_000))).is_ok());
}

#[test]
fn real_style_sheets_are_inlined_as_browsers_read_them() {
    for (css, tag, style) in [
        ("<!-- p{color:red} -->", "<p>", "color: red"),
        (".sm\\:red{color:red}", "<p class=\"sm:red\">", "color: red"),
        (".w-1\\/2,#a\\.b{color:red}", "<p id=\"a.b\">", "color: red"),
        (".\\31 0{color:red}", "<p class=\"10\">", "color: red"),
    ] {
        let html = format!("<style>{css}</style>{tag}");
        let expected = html.replace("<p", &format!("<p style=\"{style}\""));
        assert_eq!(inlined(&html), expected, "{css}");
    }
}

/// Asserts what becomes of a body under a style sheet.
fn assert_styled(cases: &[(&str, &str, &str)]) {
    for (css, body, styled) in cases {
        let sheet = format!("<style>{css}</style>");
        assert_eq!(inlined(&format!("{sheet}{body}")), format!("{sheet}{styled}"), "{css}");
    }
}

#[test]
fn values_that_inliners_are_known_to_break_survive() {
    for (css, style) in [
        (
            "margin:0 auto 4px;font:italic bold .8em/1.2 \"A;B\",serif",
            "margin: 0 auto 4px;font: italic bold .8em/1.2 'A;B',serif",
        ),
        ("color:red !important;color:blue", "color: red !important;color: blue"),
        ("color:blue;color:red!important", "color: blue;color: red!important"),
        ("background:url('a\"b(1).png');top:0", "background: url('a&quot;b(1).png');top: 0"),
        ("background:url(a\\)b.png);top:0", "background: url(a\\)b.png);top: 0"),
        ("background:url(it's.png);top:0", "background: url(it's.png);top: 0"),
        ("background:URL( a[1{.png );top:0", "background: URL( a[1{.png );top: 0"),
        ("background:url(https://x.example/*);top:0", "background: url(https://x.example/*);top: 0"),
        ("background:url( \"a;}b.png\" );top:0", "background: url( 'a;}b.png' );top: 0"),
        (
            "background:url(data:image/svg+xml;utf8,%3Csvg xmlns='http://x'/%3E);top:0",
            "background: url(data:image/svg+xml;utf8,%3Csvg xmlns='http://x'/%3E);top: 0",
        ),
        ("color:/* a;b */red;/* top:1px; */left:0", "color: /* a;b */red;left: 0"),
        ("COLOR:RED;Font-Size:12PX", "color: RED;font-size: 12PX"),
        ("--My-Ink: a b;color:var(--My-Ink,#fff)", "--My-Ink: a b;color: var(--My-Ink,#fff)"),
        ("--empty:;--box:{a:b;c:d};color:red", "--empty: ;--box: {a:b;c:d};color: red"),
        ("color;:red;top 1px;;;color:blue;@x y;left:0;width:", "color: blue;left: 0"),
        (
            "filter:progid:X.Y(a='#1', b='#2');mso-hide:all",
            "filter: progid:X.Y(a='#1', b='#2');mso-hide: all",
        ),
        (
            "top:0;top:-webkit-a(b);top:-moz-a(b);top:-ms-a(b);top:-o-a(b);top:a(b)",
            "top: 0;top: -webkit-a(b);top: -moz-a(b);top: -ms-a(b);top: -o-a(b);top: a(b)",
        ),
        (
            "display:-webkit-box;display:-ms-flexbox;display:flex",
            "display: -webkit-box;display: -ms-flexbox;display: flex",
        ),
        ("content:\"\\201C <b>&amp;\"", "content: '\\201C <b>&amp;amp;'"),
    ] {
        assert_styled(&[(&format!("p{{{css}}}"), "<p>", &format!("<p style=\"{style}\">"))]);
    }
    for css in ["p{width:(1px}", "p{background:url(a.png;color:red}", "p{a:[b}", "p:not(.a{color:red}"] {
        let fault = inline(&format!("<style>{css}</style><p style=\"top:0\">")).unwrap_err().to_string();
        assert!(fault.contains("not closed"), "{css}: {fault}");
    }
}

#[test]
fn selectors_that_inliners_are_known_to_break_find_their_elements() {
    assert_styled(&[
        (
            "p:nth-of-type(odd){top:0}",
            "<p></p><i></i><p></p><p></p>",
            "<p style=\"top: 0\"></p><i></i><p></p><p style=\"top: 0\"></p>",
        ),
        (
            "a[href^=\"https\"]{top:0}",
            "<a href='https://x'></a><a href=http://x></a>",
            "<a style=\"top: 0\" href='https://x'></a><a href=http://x></a>",
        ),
        ("h1~p{top:0}", "<h1></h1><i></i><p></p>", "<h1></h1><i></i><p style=\"top: 0\"></p>"),
        (
            "p:first-child:not(.x){top:0}",
            "<div><p></p></div><div><p class=\"x\"></p></div>",
            "<div><p style=\"top: 0\"></p></div><div><p class=\"x\"></p></div>",
        ),
        (
            ".w\\[10px\\]{top:0}.a\\@b{left:0}.\\!c{top:1px}",
            "<p class='w[10px]'><p class=a@b><p class=!c>",
            "<p style=\"top: 0\" class='w[10px]'><p style=\"left: 0\" class=a@b><p style=\"top: 1px\" class=!c>",
        ),
        (
            "p[title=\"a{b;c,d\"]{top:0}i{left:0}",
            "<p title='a{b;c,d'><i>",
            "<p style=\"top: 0\" title='a{b;c,d'><i style=\"left: 0\">",
        ),
        ("/* i{top:1px} */p/* x */.a{top:0}", "<p class=a><i>", "<p style=\"top: 0\" class=a><i>"),
        (
            "p:nth-last-child(-n+2){top:0}",
            "<p></p><p></p><p></p>",
            "<p></p><p style=\"top: 0\"></p><p style=\"top: 0\"></p>",
        ),
        (
            "a:hover{top:1px}a:link{top:0}p::before{top:2px}",
            "<p><a href=x>",
            "<p><a style=\"top: 0\" href=x>",
        ),
        ("#a{top:0}p.b{top:1px}P{top:2px}", "<p id=a class=b>", "<p style=\"top: 0\" id=a class=b>"),
    ]);
}

#[test]
fn sheets_and_tags_of_every_shape_are_read() {
    assert_styled(&[
        (
            "@font-face{font-family:A;src:url(data:font/woff2;base64,d0)}p{top:0}",
            "<p>",
            "<p style=\"top: 0\">",
        ),
        (
            "@import url(\"https://f.example/?f=A:400;700\");@charset \"x\";p{top:0}",
            "<p>",
            "<p style=\"top: 0\">",
        ),
        (
            "@supports (a:b){p{top:1px}}@page{a:b}@keyframes k{from{top:2px}}p{top:0}",
            "<p>",
            "<p style=\"top: 0\">",
        ),
        (
            "@media print{@media screen{p{top:1px}}}@media(a:b){p{top:2px}}p{top:0}",
            "<p>",
            "<p style=\"top: 0\">",
        ),
        ("p{top:0;@media print{top:1px}i{top:2px}left:0}", "<p><i>", "<p style=\"top: 0;left: 0\"><i>"),
        ("p{top:0}</style><style>p{top:1px;left:0}", "<p>", "<p style=\"top: 1px;left: 0\">"),
        ("p{content:\"'\"}", "<p style='top:0'>", "<p style='content: &quot;&#39;&quot;; top:0'>"),
        ("p{top:0}", "<p STYLE = left:0 ><P style>", "<p STYLE = \"top: 0; left:0\" ><P style=\"top: 0; \">"),
        (
            "p{top:0}",
            "<p style=''/><p style=\"\" /><p title='<p>'/>",
            "<p style='top: 0; '/><p style=\"top: 0; \" /><p style=\"top: 0\" title='<p>'/>",
        ),
        (
            "p{top:0}",
            "<!--[if mso]><p><![endif]--><!--[if !mso]><!--><p>",
            "<!--[if mso]><p><![endif]--><!--[if !mso]><!--><p style=\"top: 0\">",
        ),
    ]);
    for (attributes, is_inlined) in [
        ("", true),
        ("media=screen", true),
        ("media=\"print, ALL\"", true),
        ("media='only screen' type='TEXT/css'", true),
        ("media", true),
        ("data-media=print", true),
        ("media='screen and (max-width:600px)'", false),
        ("media='(max-width:600px)'", false),
        ("media='not screen'", false),
        ("media=tv class=all", false),
        ("type=text/less", false),
        ("data-css-inline=ignore media=all", false),
    ] {
        let html = format!("<style {attributes}>p{{top:0}}</style><p>");
        let expected = if is_inlined { html.replace("<p>", "<p style=\"top: 0\">") } else { html.clone() };
        assert_eq!(inlined(&html), expected);
    }
}
