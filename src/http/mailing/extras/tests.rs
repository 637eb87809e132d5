//! What is taken beside the values, and what is refused.

use serde_json::json;

use super::*;

fn read(fields: Value) -> Given {
    serde_json::from_value::<ExtraFields>(fields).unwrap().read()
}

fn paths(fields: Value) -> Vec<String> {
    read(fields).faults.into_iter().map(|fault| fault.path).collect()
}

#[test]
fn extras_that_are_right_are_taken() {
    let given = read(json!({
        "reply_to": "help@tea.example", "tags": ["spring", "spring", "vip"], "metadata": {"invoice": "7"},
        "headers": {"X-Campaign": "spring", "References": "<1@tea.example>"},
        "attachments": [
            {"filename": "Rechnung Nr. 7 – März.pdf", "content": "aGVs\r\nbG8=", "content_type": "application/pdf"},
            {"filename": "logo.png", "content": "aGVsbG8=", "content_type": "image/png", "content_id": "logo"},
        ],
    }));
    assert!(given.faults.is_empty(), "{given:?}");
    assert_eq!(given.extras.tags, ["spring", "vip"]);
    assert_eq!(given.extras.search_tags().collect::<Vec<_>>(), ["spring", "vip", "invoice=7"]);
    assert_eq!(given.extras.attachments[0].size, 5);
    assert_eq!(given.files[0].hash, given.files[1].hash);
    assert!(read(json!({"tags": null, "cc": null, "attachments": null})).extras.is_empty());
}

#[test]
fn an_extra_that_is_wrong_is_named_by_its_path() {
    for (fields, path) in [
        (json!({"cc": "bob@example.net"}), "cc"),
        (json!({"bcc": ["bob@example.net"]}), "bcc"),
        (json!({"reply_to": "nobody"}), "reply_to"),
        (json!({"reply_to": "jörg@a.example"}), "reply_to"),
        (json!({"reply_to": "a@b.example\r\nBcc: c@d.example"}), "reply_to"),
        (json!({"tags": "spring"}), "tags"),
        (json!({"tags": ["ok", 5]}), "tags.1"),
        (json!({"tags": ["a\nb"]}), "tags.0"),
        (json!({"tags": vec!["x"; 11]}), "tags"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"a": 1}}), "metadata.a"),
        (json!({"headers": {"Bcc": "a@b.example"}}), "headers.Bcc"),
        (json!({"headers": {"DKIM-Signature": "x"}}), "headers.DKIM-Signature"),
        (json!({"headers": {"X-A": "b\r\nBcc: c@d.example"}}), "headers.X-A"),
        (json!({"headers": {"X-A\r\nBcc": "b"}}), "headers.X-ABcc"),
        (json!({"headers": {"X-Ä": "b"}}), "headers.X-Ä"),
        (json!({"attachments": [7]}), "attachments.0"),
        (json!({"attachments": [{"content": "aGVsbG8="}]}), "attachments.0.filename"),
        (
            json!({"attachments": [{"filename": "../../etc/passwd", "content": "aGVsbG8="}]}),
            "attachments.0.filename",
        ),
        (
            json!({"attachments": [{"filename": "C:\\a.txt", "content": "aGVsbG8="}]}),
            "attachments.0.filename",
        ),
        (json!({"attachments": [{"filename": "a", "content": "***"}]}), "attachments.0.content"),
        (json!({"attachments": [{"filename": "a"}]}), "attachments.0.content"),
        (
            json!({"attachments": [{"filename": "a", "content": "aGVsbG8=", "content_type": "pdf"}]}),
            "attachments.0.content_type",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "aGVsbG8=", "content_type": "multipart/mixed"}]}),
            "attachments.0.content_type",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "aGVsbG8=", "content_type": "a/b\r\nX: y"}]}),
            "attachments.0.content_type",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "aGVsbG8=", "content_id": "<a>"}]}),
            "attachments.0.content_id",
        ),
        (json!({"attachments": vec![json!({"filename": "a", "content": "aGVsbG8="}); 11]}), "attachments"),
    ] {
        assert_eq!(paths(fields.clone()), [path], "{fields}");
    }
}

#[test]
fn ten_megabytes_are_taken_and_not_a_byte_more() {
    let file = |bytes: usize| json!({"filename": "a", "content": BASE64_STANDARD.encode(vec![7; bytes])});
    assert!(paths(json!({"attachments": [file(MOST_BYTES)]})).is_empty());
    assert_eq!(paths(json!({"attachments": [file(MOST_BYTES + 1)]})), ["attachments"]);
    assert_eq!(
        paths(json!({"attachments": [file(MOST_BYTES / 2), file(MOST_BYTES / 2 + 1)]})),
        ["attachments"]
    );
}
