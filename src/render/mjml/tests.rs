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
fn inherited_attributes_and_the_rules_of_carousels_are_bounded() {
    let inside = |inside: String| {
        format!("<mjml><mj-body><mj-section><mj-column>{inside}</mj-column></mj-section></mj-body></mjml>")
    };
    let defaults = |attributes: String, count| {
        let texts = "<mj-text>a</mj-text>".repeat(count);
        let head = format!("<mjml><mj-head><mj-attributes>{attributes}</mj-attributes></mj-head>");
        inside(texts).replacen("<mjml>", &head, 1)
    };
    let long = "x".repeat(450_000);
    let pictures = "<mj-carousel-image src=\"a\" />".repeat(65);
    let icons = "<mj-social-element name=\"x\" />".repeat(3_000);
    let links = "<mj-navbar-link href=\"/\">a</mj-navbar-link>".repeat(1_500);
    for mjml in [
        inside(format!("<mj-carousel>{pictures}</mj-carousel>")),
        inside(format!("<mj-social color=\"{long}\">{icons}</mj-social>")),
        inside(format!("<mj-navbar base-url=\"{long}\">{links}</mj-navbar>")),
        defaults(format!("<mj-all css-class=\"{long}\" />"), 1_500),
        defaults(format!("<mj-class name=\"a\" css-class=\"{long}\" />"), 1_500),
    ] {
        let begun = std::time::Instant::now();
        let fault = to_html(&mjml, 1 << 20).unwrap_err().to_string();
        assert!(fault.contains("at most 64 pictures") || fault.contains("says too much"), "{fault}");
        assert!(begun.elapsed().as_secs() < 5, "{fault} after {:?}", begun.elapsed());
    }
    assert!(to_html(&defaults("<mj-all color=\"red\" />".to_owned(), 100), 1 << 20).is_ok());
}
