//! What a subject may be.

use serde_json::json;

use super::message::{source, version};
use crate::render::{Part, RenderError, RenderLimits, Renderer, check};

#[test]
fn a_subject_is_one_line_of_at_most_1020_bytes() {
    let renderer = Renderer::new(RenderLimits::default());
    let version = version("A{{#if x}}\n {{x}}{{/if}}", "h", Some("t"));
    let subject = |x: &str| renderer.render(&version, &json!({"x": x}).into()).map(|content| content.subject);
    assert_eq!(subject("b\r\nBcc: c\u{0}d\u{2028}e").unwrap(), "A b Bcc: c d e");
    assert_eq!(subject(&"x".repeat(1_018)).unwrap().len(), 1_020);
    assert!(matches!(subject(&"x".repeat(1_019)), Err(RenderError::TooLarge { part: Part::Subject, .. })));
}

#[test]
fn a_subject_that_cannot_be_sent_is_refused_when_it_is_asked_for() {
    let renderer = Renderer::new(RenderLimits::default());
    for subject in ["Hello {{x}}", "{{#if x}}Hello {{x}}{{/if}}", "{{lookup o \"x\"}} {{x}}"] {
        let version = version(subject, "h", Some("t"));
        let missing = |length: usize| {
            let x = "x".repeat(length);
            renderer.missing(&version, &json!({"x": x, "o": {"x": ""}}).into())
        };
        assert_eq!(missing(900).unwrap(), Vec::<String>::new(), "{subject}");
        for too_long in [1_021, 20_000] {
            let error = missing(too_long).unwrap_err();
            assert!(matches!(error, RenderError::TooLarge { part: Part::Subject, limit: 1_020 }), "{error}");
        }
    }
    // White space is one space: this is 1,020 bytes on its line.
    let values = json!({"x": format!("{}{}", "x".repeat(1_014), " ".repeat(500))});
    assert_eq!(
        renderer.missing(&version("Hello {{x}}", "h", None), &values.into()).unwrap(),
        Vec::<String>::new()
    );
    for (subject, is_sound) in [
        ("x".repeat(1_020), true),
        ("x".repeat(1_021), false),
        (format!("{}{{{{a}}}}", "x".repeat(1_021)), false),
        (format!("{{{{#if a}}}}{}{{{{/if}}}}", "x".repeat(2_000)), true),
        (format!("a{}b", " ".repeat(2_000)), true),
    ] {
        assert_eq!(
            check(&source(&subject, "h", None), &RenderLimits::default()).is_ok(),
            is_sound,
            "{subject}"
        );
    }
}

#[test]
fn a_mail_without_a_subject_is_refused() {
    let renderer = Renderer::new(RenderLimits::default());
    for (subject, x, is_blank) in [
        ("{{x}}", json!(""), true),
        ("{{x}}", json!(" \r\n\u{a0}"), true),
        (" {{x}}\n{{x}}", json!(null), true),
        ("{{#if x}}Hello{{/if}}", json!(false), true),
        ("{{lookup o \"x\"}}{{x}}", json!(""), true),
        ("{{x}}", json!(0), false),
        ("{{x}}", json!("Hello"), false),
        ("Hello {{x}}", json!(""), false),
        ("{{#if x}}{{else}}Hello{{/if}}", json!(""), false),
    ] {
        let version = version(subject, "h", None);
        let values = json!({"x": x, "o": {}}).into();
        let rendered = renderer.render(&version, &values).map(drop);
        for seen in [rendered, renderer.missing(&version, &values).map(drop)] {
            let is_refused = matches!(seen, Err(RenderError::BlankSubject));
            assert_eq!((is_refused, seen.is_err()), (is_blank, is_blank), "{subject} {x}");
        }
    }
    let version = version("{{x}}", "{{y}}", None);
    let values = json!({"x": ""}).into();
    assert_eq!(renderer.missing(&version, &values).unwrap(), ["y"], "what is missing comes first");
    assert!(matches!(renderer.render(&version, &values), Err(RenderError::Missing { .. })));
    assert_eq!(renderer.preview(&version.source, None, &values).unwrap().0.subject, "");
}
