//! MJML that fits, and MJML that was made to cost too much.

use super::*;

fn html(mjml: &str) -> String {
    to_html(mjml, 1 << 20).unwrap_or_else(|fault| panic!("{fault}: {mjml}"))
}

fn body(inside: &str) -> String {
    html(&format!("<mjml><mj-body>{inside}</mj-body></mjml>"))
}

#[test]
fn mjml_is_known_by_its_first_element() {
    for yes in ["<mjml>", " <mjml lang=\"de\">", "<!-- a -->\n<mjml/>", "\u{feff}<mjml>"] {
        assert!(is_mjml(yes), "{yes}");
    }
    for no in ["<html>", "mjml", "<mjml-x>", "<p><mjml></p>", "<!-- <mjml>", ""] {
        assert!(!is_mjml(no), "{no}");
    }
}

#[test]
fn placeholders_come_through_wherever_they_stand() {
    let made = body(
        "<mj-section background-color=\"{{colour}}\">{{#if vip}}<mj-column>\
             <mj-text color=\"{{ink}}\">Hello <b>{{name}}</b>, {{#if a}}x{{else}}y{{/if}} &amp; {{{raw}}}</mj-text>\
             {{#each items}}<mj-button href=\"{{link}}?a=1&amp;b={{@index}}\">{{lookup ../names \"k\"}}</mj-button>{{/each}}\
             <mj-image src=\"{{picture}}\" alt='{{eq a \"b\"}}' /></mj-column>{{/if}}</mj-section>{{! gone }}",
    );
    for mustache in [
        "{{colour}}",
        "{{#if vip}}",
        "{{ink}}",
        "<b>{{name}}</b>",
        "{{#if a}}x{{else}}y{{/if}}",
        "{{{raw}}}",
        "{{#each items}}",
        "{{link}}?a=1&amp;b={{@index}}",
        "{{lookup ../names \"k\"}}",
        "{{/each}}",
        "{{picture}}",
        "{{eq a \"b\"}}",
    ] {
        assert!(made.contains(mustache), "{mustache}: {made}");
    }
    assert!(made.contains("<table") && !made.contains("<mj-") && !made.contains("pmv"), "{made}");
    syntax::mustaches(Part::Html, &made).unwrap();
}

#[test]
fn a_fault_has_its_place_in_what_was_given() {
    for (mjml, expected) in [
        ("<mjml><mj-body>\n{{a}}<mj-foo></mj-body></mjml>", "html, line "),
        ("<mjml><mj-body>", "ends too early"),
        ("<mjml><mj-body><mj-include path=\"a.mjml\" /></mj-body></mjml>", "use a partial"),
        (
            "<mjml><mj-head><mj-attributes>{{a}}</mj-attributes></mj-head><mj-body></mj-body></mjml>",
            "html, line 1",
        ),
    ] {
        let fault = to_html(mjml, 1 << 20).unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let many = format!("<mjml><mj-body>{}</mj-body></mjml>", "<mj-spacer />".repeat(9_000));
    assert!(to_html(&many, 1 << 20).unwrap_err().to_string().contains("4000 elements"));
    // As deep as it may be: all elements inside each other.
    let deep = format!(
        "<mjml><mj-body><mj-raw>{}{}</mj-raw></mj-body></mjml>",
        "<b>".repeat(3_900),
        "</b>".repeat(3_900)
    );
    assert!(to_html(&deep, 1 << 20).is_ok());
    let wrapped = format!(
        "<mjml><mj-body>{}{}</mj-body></mjml>",
        "<mj-wrapper>".repeat(3_900),
        "</mj-wrapper>".repeat(3_900)
    );
    drop(to_html(&wrapped, 1 << 20)); // whatever it is, it does not end the process
    let large = format!("<mjml><mj-body><mj-raw>{}</mj-raw></mj-body></mjml>", "x".repeat(2_000));
    assert!(to_html(&large, 1_000).unwrap_err().to_string().contains("larger than 1000"));
}

#[test]
fn hostile_mjml_is_answered_soon_and_without_much_memory() {
    let body = |inside: String| format!("<mjml><mj-body>{inside}</mj-body></mjml>");
    let inside = |inside: String| body(format!("<mj-section><mj-column>{inside}</mj-column></mj-section>"));
    let all = |attributes: String, count| {
        let texts = "<mj-text>a</mj-text>".repeat(count);
        let head = format!("<mj-head><mj-attributes>{attributes}</mj-attributes></mj-head>");
        format!(
            "<mjml>{head}<mj-body><mj-section><mj-column>{texts}</mj-column></mj-section></mj-body></mjml>"
        )
    };
    let long = "x".repeat(450_000);
    let many = |count: usize, name: &str| (0..count).map(|n| format!("{name}{n}=\"x\" ")).collect::<String>();
    for (name, mjml, is_refused) in [
        ("1 MB of words", inside(format!("<mj-text>{}</mj-text>", "word ".repeat(200_000))), true),
        ("500 KB of words", inside(format!("<mj-text>{}</mj-text>", "word ".repeat(100_000))), false),
        (
            "many sections",
            body("<mj-section><mj-column><mj-text>a</mj-text></mj-column></mj-section>".repeat(1_300)),
            true,
        ),
        (
            "many columns",
            body(format!("<mj-section>{}</mj-section>", "<mj-column></mj-column>".repeat(3_900))),
            true,
        ),
        ("many attributes", inside(format!("<mj-text {}>a</mj-text>", many(40_000, "a"))), true),
        (
            "many pictures",
            inside(format!("<mj-carousel>{}</mj-carousel>", "<mj-carousel-image src=\"a\" />".repeat(3_800))),
            true,
        ),
        (
            "some pictures",
            inside(format!("<mj-carousel>{}</mj-carousel>", "<mj-carousel-image src=\"a\" />".repeat(64))),
            false,
        ),
        ("long defaults", all(format!("<mj-all css-class=\"{long}\" />"), 3_000), true),
        ("long class", all(format!("<mj-class name=\"a\" css-class=\"{long}\" />"), 3_000), true),
        ("long defaults of two", all(format!("<mj-all color=\"{}\" />", &long[..4_000]), 500), true),
        ("short defaults", all("<mj-all color=\"red\" /><mj-text padding=\"0\" />".to_owned(), 300), false),
        (
            "long parent",
            inside(format!(
                "<mj-social color=\"{long}\">{}</mj-social>",
                "<mj-social-element name=\"x\" />".repeat(3_000)
            )),
            true,
        ),
        (
            "long address",
            inside(format!(
                "<mj-navbar base-url=\"{long}\">{}</mj-navbar>",
                "<mj-navbar-link href=\"/\">a</mj-navbar-link>".repeat(3_000)
            )),
            true,
        ),
        ("many tags in text", inside(format!("<mj-text>{}</mj-text>", "<b>a</b>".repeat(3_000))), false),
        ("many mustaches", inside(format!("<mj-text>{}</mj-text>", "{{a}}".repeat(90_000))), true),
        ("deep", inside(format!("{}a{}", "<mj-wrapper>".repeat(3_900), "</mj-wrapper>".repeat(3_900))), true),
        ("an end without a start", body("</mj-section>".repeat(3_900)), true),
        ("a comment without an end", inside("<!--".repeat(3_900)), true),
    ] {
        let begun = std::time::Instant::now();
        let made = to_html(&mjml, 1 << 20);
        println!("{name}: {:?} {} {:?}", begun.elapsed(), mjml.len(), made.as_ref().map(String::len));
        assert!(begun.elapsed().as_secs() < 10, "{name} takes {:?}", begun.elapsed());
        assert_eq!(made.is_err(), is_refused, "{name}: {:?}", made.map(|html| html.len()));
    }
}
