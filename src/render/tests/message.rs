//! From a template to the bytes of a message, through the public functions.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::mail::{Address, CrashPolicy, Mailbox, Timestamp};
use crate::render::*;
use crate::shop::{TemplateSource, TemplateVersion};

pub(super) fn source(subject: &str, html: &str, text: Option<&str>) -> TemplateSource {
    TemplateSource { subject: subject.to_owned(), html: html.to_owned(), text: text.map(str::to_owned) }
}

pub(super) fn version(subject: &str, html: &str, text: Option<&str>) -> TemplateVersion {
    let source = source(subject, html, text);
    let checked = check(&source, &RenderLimits::default()).unwrap();
    TemplateVersion {
        id: format!("{source:?}"),
        template: "hello".to_owned(),
        source: checked.source,
        tags: checked.tags,
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    }
}

fn html(html: &str, values: Value) -> Result<String, RenderError> {
    let renderer = Renderer::new(RenderLimits::default());
    renderer.render(&version("s", html, Some("t")), &values.into()).map(|content| content.html)
}

fn faults(html: &str) -> Vec<String> {
    let faults = check(&source("s", html, None), &RenderLimits::default()).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

pub(super) fn mailbox(name: Option<&str>, email: &str) -> Mailbox {
    Mailbox { name: name.map(str::to_owned), email: email.parse::<Address>().unwrap() }
}

pub(super) fn bytes(name: Option<&str>, email: &str, content: &Content) -> Vec<u8> {
    let headers = Headers {
        sender: &mailbox(Some("Tea & Co"), "shop@example.net"),
        reply_to: Some(&mailbox(None, "help@example.net")),
        recipient: &mailbox(name, email),
        message_id: "0198c0de@postroom.example",
        date: Timestamp::parse("2026-11-21T10:00:00Z").unwrap(),
        list_unsubscribe: Some("https://shop.example.net/u/1?a=b"),
        more: &[],
    };
    compose(&headers, content).unwrap().unstuffed().into_owned()
}

#[test]
fn every_missing_tag_is_named_once_and_by_its_path() {
    let version = version(
        "{{title}} {{given}}",
        "{{title}}{{name}}{{#each items}}{{price}}{{../shop}}{{/each}}{{@root.top}}",
        Some("{{address.city}} {{name}}"),
    );
    let values = json!({"given": null, "items": [{"price": 1}, {}], "address": {}});
    let renderer = Renderer::new(RenderLimits::default());
    let expected = ["title", "name", "shop", "items.1.price", "top", "address.city"];
    assert_eq!(renderer.missing(&version, &values.clone().into()).unwrap(), expected);
    assert_eq!(renderer.preview(&version.source, None, &values.clone().into()).unwrap().1, expected);
    match renderer.render(&version, &values.clone().into()) {
        Err(RenderError::Missing { tags }) => assert_eq!(tags, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requirements_find_the_same_missing_values_as_filling() {
    let renderer = Renderer::new(RenderLimits::default());
    for (subject, html, text) in [
        ("{{a}} {{b}}", "<p>{{b}} {{{c}}}</p>", Some("{{d}}")),
        ("s", "{{#if a}}{{b}}{{/if}}{{c}}", None),
        ("{{a.b}}", "{{this}} {{d}}", Some("{{c}}")),
        ("s", "{{#if a}}{{b}}{{else if c}}{{d}}{{else}}{{b}}{{/if}}", Some("{{#unless d}}{{c}}{{/unless}}")),
        (
            "s",
            "{{#each l}}{{b}}{{#if a}}{{a}}{{/if}}{{else}}{{c}}{{/each}}",
            Some("{{#each l}}{{b}}{{/each}}"),
        ),
        (
            "s",
            "{{#each l}}{{#unless @first}}, {{/unless}}{{this}}{{#if @last}}{{b}}{{else}}{{a}}{{/if}}{{/each}}",
            Some("{{#each l}}{{this}}{{/each}}"),
        ),
        ("s", "{{#each l}}{{#each m}}{{b}}{{/each}}{{/each}}{{#with a}}{{b}}{{/with}}", None),
        ("s", "{{#each l as |x|}}{{x.b}}{{@index}}{{../c}}{{/each}}{{#if (eq a 1)}}{{b}}{{/if}}", None),
    ] {
        let version = version(subject, html, text);
        for values in [
            json!({}),
            json!({"a": null, "d": 1}),
            json!({"a": {"b": 1}, "b": "x", "c": "y", "d": "z"}),
            json!({"a": 0, "b": "x", "l": []}),
            json!({"a": 1, "c": "y", "l": {"k": {"b": 1}}}),
            json!({"a": "", "c": "", "l": [{"b": 1}, {"b": null, "a": true, "m": [{}]}]}),
            json!({"a": [], "b": "x", "c": false, "d": {}, "l": [{"b": 1}, {}, 3]}),
            json!({"l": ["one", "two", true, 4]}),
            json!({"l": [{"a": 1, "b": 2}, [1, 2], null, ["x"]]}),
        ] {
            let filled =
                renderer.preview(&version.source, None, &values.clone().into()).map(|(_, missing)| missing);
            let [seen, filled] = [renderer.missing(&version, &values.clone().into()), filled]
                .map(|missing| missing.map_err(|error| error.to_string()));
            assert_eq!(seen, filled, "{subject} {html} {values}");
        }
    }
}

#[test]
fn of_very_many_placeholders_some_are_named() {
    let renderer = Renderer::new(RenderLimits::default());
    let many: String = (0..300).map(|number| format!("{{{{a{number}}}}}")).collect();
    let missing = renderer.missing(&version("s", &many, None), &json!({}).into()).unwrap();
    assert_eq!((missing.len(), missing[0].as_str()), (100, "a0"));
}

#[test]
fn the_helper_that_counts_steps_cannot_be_named() {
    assert_eq!(html("{{step}}", json!({"step": "one"})).unwrap(), "one");
    assert_eq!(html("{{#each l}}{{step}}{{/each}}", json!({"l": [{"step": "two"}]})).unwrap(), "two");
}

#[test]
fn a_number_equals_another_that_is_written_differently() {
    let template = "{{#if (eq n 1)}}one{{/if}}{{#if (ne n 1)}}another{{/if}}";
    for (n, expected) in [
        (json!(1), "one"),
        (json!(1.0), "one"),
        (json!(1.5), "another"),
        (json!(2.0), "another"),
        (json!("1"), "another"),
        (json!([1]), "another"),
    ] {
        assert_eq!(html(template, json!({"n": n})).unwrap(), expected, "{n}");
    }
}

#[test]
fn a_condition_takes_a_missing_value_as_false() {
    let template = "{{#if a}}{{a}}{{else}}no a{{/if}},{{#unless b}}no b{{/unless}},{{#each c}}{{x}}{{else}}no c{{/each}},\
        {{#each c}}x{{/each}}{{#with d}}{{e}}{{/with}},{{#if (eq kind \"x\")}}x{{else if (not z)}}not z{{/if}}{{lookup m \"k\"}}";
    assert_eq!(html(template, json!({})).unwrap(), "no a,no b,no c,,not z");
    assert_eq!(html("{{#if a}}{{a}}{{/if}}{{len l}}", json!({"a": "A", "l": [1, 2]})).unwrap(), "A2");
}

#[test]
fn values_are_escaped_in_the_html_and_nowhere_else() {
    let version = version("{{x}}", "{{x}} <i title=\"{{x}}\">{{{x}}}</i>", Some("{{x}} {{{x}}}"));
    let content =
        Renderer::new(RenderLimits::default()).render(&version, &json!({"x": "<b> & \"q\""}).into()).unwrap();
    assert_eq!(content.subject, "<b> & \"q\"");
    assert_eq!(
        content.html,
        "&lt;b&gt; &amp; &quot;q&quot; <i title=\"&lt;b&gt; &amp; &quot;q&quot;\"><b> & \"q\"</i>"
    );
    assert_eq!(content.text, "<b> & \"q\" <b> & \"q\"");
}

#[test]
fn a_value_is_never_read_as_a_template() {
    assert_eq!(html("{{x}}", json!({"x": "{{y}} {{#each z}}"})).unwrap(), "{{y}} {{#each z}}");
}

#[test]
fn a_template_cannot_recurse() {
    for (template, expected) in [
        ("{{> self}}", "there is no partial `self`"),
        ("{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}", "decorators are not supported"),
        ("{{#> a}}{{/a}}", "there is no partial `a`"),
        ("{{> (lookup . \"a\")}}", "called by its name"),
    ] {
        let fault = &faults(template)[0];
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn a_template_that_prints_a_megabyte_is_stopped() {
    let template =
        format!("{{{{#each a}}}}{{{{#each @root.a}}}}{}{{{{/each}}}}{{{{/each}}}}", "x".repeat(1000));
    let result = html(&template, json!({"a": vec![0; 1000]}));
    assert!(
        matches!(result, Err(RenderError::TooLarge { part: Part::Html, limit: 1_048_576 })),
        "{result:?}"
    );
}

#[test]
fn a_loop_that_prints_nothing_is_stopped() {
    let values = json!({"a": vec![0; 10_000]});
    let inner = "{{#each @root.a}}{{#if this}}x{{/if}}{{/each}}";
    for template in [
        "{{#each a}}{{#each @root.a}}{{#each @root.a}}{{/each}}{{/each}}{{/each}}".to_owned(),
        format!("{{{{#each a}}}}{{{{#if this}}}}{{{{else}}}}{inner}{{{{/if}}}}{{{{/each}}}}"),
        format!("{{{{#if no}}}}{{{{else if a}}}}{{{{#each a}}}}{inner}{{{{/each}}}}{{{{/if}}}}"),
        format!("{{{{#each a}}}}{}{{{{/each}}}}", "{{#if this}}x{{/if}}".repeat(200)),
    ] {
        let result = html(&template, values.clone());
        assert!(matches!(result, Err(RenderError::TooLong { part: Part::Html })), "{result:?}");
    }
}

#[test]
fn a_loop_over_nothing_takes_no_steps() {
    let values = json!({"a": vec![0; 1000], "none": []});
    assert_eq!(html("{{#each a}}{{#each @root.none}}x{{/each}}{{/each}}", values).unwrap(), "");
}

#[test]
fn faults_name_part_line_and_column() {
    let broken = source("{{#if a}}", "ok\n  {{/if}}", Some("x\ny {{foo bar}}"));
    let faults = check(&broken, &RenderLimits::default()).unwrap_err();
    let places: Vec<_> = faults.iter().map(|fault| (fault.part, fault.line)).collect();
    assert_eq!(places, [(Part::Subject, Some(1)), (Part::Html, Some(2)), (Part::Text, Some(2))]);
    assert!(faults.iter().all(|fault| fault.column.is_some()), "{faults:?}");
    assert_eq!(faults[2].to_string(), "text, line 2, column 3: there is no helper `foo`");
    let large = source("s", &"x".repeat(512 * 1024 + 1), None);
    assert!(check(&large, &RenderLimits::default()).unwrap_err()[0].message.contains("larger than"));
}

#[test]
fn checking_gives_the_tags_of_all_parts_and_inlined_html() {
    let given = source(
        "{{b}}",
        "<style>p{color:{{c}}}</style><p>{{a.x}}</p>{{#each l}}{{y}}{{/each}}",
        Some("{{t}}{{b}}"),
    );
    let checked = check(&given, &RenderLimits::default()).unwrap();
    assert_eq!(checked.tags, ["b", "c", "a", "l", "t"]);
    assert!(checked.source.html.contains("<p style=\"color: {{@root.c}}\">{{a.x}}</p>{{#each l}}"));
    assert_eq!((checked.source.subject, checked.source.text), (given.subject, given.text));
}

#[test]
fn a_blank_text_part_counts_as_not_given() {
    let renderer = Renderer::new(RenderLimits::default());
    for text in ["", " \r\n\t", "\u{a0}", "\u{3000}\u{2028}", "\u{feff}", "\u{200b}\n\u{ad}"] {
        let version = version("s", "<p>Tea &amp; cups</p>", Some(text));
        let content = renderer.render(&version, &json!({}).into()).unwrap();
        assert_eq!(content.text, "Tea & cups\n");
        let stored = TemplateVersion {
            id: "old".to_owned(),
            source: source("s", "<p>Tea</p>", Some(text)),
            ..version
        };
        assert_eq!(renderer.render(&stored, &json!({}).into()).unwrap().text, "Tea\n");
        renderer.missing(&stored, &json!({}).into()).unwrap();
    }
}

#[test]
fn only_what_html_needs_is_escaped() {
    for (value, escaped) in [
        ("https://shop.example/c?a=1&b=2", "https://shop.example/c?a=1&amp;b=2"),
        ("a=`b`=c", "a=`b`=c"),
        ("O'Neil <b>", "O&#39;Neil &lt;b&gt;"),
        ("x=\"1\"", "x=&quot;1&quot;"),
    ] {
        assert_eq!(
            html("<a href=\"{{x}}\">", json!({"x": value})).unwrap(),
            format!("<a href=\"{escaped}\">")
        );
    }
}

#[test]
fn a_message_is_written_so() {
    let version = version(
        "Your cart at {{shop}}",
        "<h1>Hello {{name}}</h1><p>You left <b>tea</b> &amp; biscuits.</p><p><a href=\"{{link}}\">Open your cart</a></p>",
        None,
    );
    let values =
        json!({"shop": "Bücher & Tee", "name": "Jörg", "link": "https://shop.example.net/c/1?a=1&b=2"});
    let content = Renderer::new(RenderLimits::default()).render(&version, &values.clone().into()).unwrap();
    let message = String::from_utf8(bytes(
        Some("Lee, Jörg"),
        "\"jörg lee\"@example.net".replace('ö', "o").as_str(),
        &content,
    ))
    .unwrap();
    insta::assert_snapshot!("generated_text", message.replace("\r\n", "\n"));
    let plain =
        Content { subject: "Plain".to_owned(), html: "<p>Hi</p>".to_owned(), text: "Hi\n".to_owned() };
    let message = String::from_utf8(bytes(None, "ann@example.net", &plain)).unwrap();
    insta::assert_snapshot!("plain", message.replace("\r\n", "\n"));
}

#[test]
fn a_value_that_cannot_be_a_header_is_refused() {
    let box_ = mailbox(None, "ann@example.net");
    let content = Content { subject: String::new(), html: String::new(), text: String::new() };
    let compose_with = |message_id, list_unsubscribe| {
        let (sender, recipient, reply_to, date, more) = (&box_, &box_, None, Timestamp(0), &[][..]);
        compose(&Headers { sender, reply_to, recipient, message_id, date, list_unsubscribe, more }, &content)
    };
    for id in ["", "a", "a@", "a b@c", "a@b\r\nBcc: x", "<a@b>", "ä@b"] {
        assert!(matches!(compose_with(id, None), Err(RenderError::MessageId)), "{id}");
    }
    for link in ["", "javascript:x", "https://a b", "https://a\r\nBcc: x", "https://a>", "https://ä"] {
        assert!(matches!(compose_with("a@b", Some(link)), Err(RenderError::UnsubscribeLink)), "{link}");
    }
    assert!(compose_with("a@b", Some("https://a/")).is_ok());
}

#[test]
fn only_an_address_that_needs_smtputf8_makes_a_message_that_is_not_ascii() {
    let content = Content { subject: "Grüße".to_owned(), html: "ü".to_owned(), text: "ü".to_owned() };
    let message = String::from_utf8(bytes(Some("Jörg"), "jörg@example.net", &content)).unwrap();
    assert!(message.contains("\r\nTo: =?utf-8?b?SsO2cmc=?= <jörg@example.net>\r\n"), "{message}");
    assert!(message.replace("jörg@", "").is_ascii());
}

/// The names in the header block, in order.
fn header_names(message: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    let block = text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = block.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    lines.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,200}",
        "[ \t\r\n\u{0}\u{85}\u{2028}a:é日😀=?\"\\\\,<>@]{0,60}",
        "[a-z]{0,1200}",
        "[ ]{0,5}[a-zé]{0,90}[ ]{0,90}(=\\?utf-8\\?q\\?x\\?=){0,2}",
    ]
}

proptest! {
    #[test]
    fn no_subject_name_or_value_adds_a_header(name in odd_text(), subject in odd_text(), text in odd_text()) {
        let content = Content { subject, html: format!("<p>{text}"), text };
        let message = bytes(Some(&name), "ann@example.net", &content);
        prop_assert_eq!(header_names(&message), [
            "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type",
        ]);
        prop_assert!(message.is_ascii());
        for line in message.split(|&byte| byte == b'\n') {
            prop_assert!(line.len() <= 999, "a line of {} bytes", line.len());
            prop_assert!(line.is_empty() || line.ends_with(b"\r"), "a line without CR");
            prop_assert!(!line[..line.len().saturating_sub(1)].contains(&b'\r'), "a CR in a line");
            prop_assert!(!line.contains(&0), "a NUL");
        }
        prop_assert_eq!(message, bytes(Some(&name), "ann@example.net", &content));
    }

    #[test]
    fn rendering_twice_gives_the_same(x in any::<String>(), y in any::<String>()) {
        let renderer = Renderer::new(RenderLimits::default());
        let version = version("{{x}}", "<p>{{x}}</p>{{#each l}}<b>{{this}}</b>{{/each}}", None);
        let values = json!({"x": x, "l": [y, x]});
        let render = || renderer.render(&version, &values.clone().into()).ok();
        prop_assert_eq!(render(), render());
    }
}
