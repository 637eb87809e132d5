//! What another program reads in our messages: Python's `email` package, which reports every defect.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::message::bytes;
use crate::render::Content;

/// Reads cases as JSON lines; complains about each message that is not what it should be.
const READER: &str = r#"
import base64, email, email.header, email.policy, email.utils, json, sys

def name_of(raw):
    # Not `addresses[0].display_name`: up to Python 3.11 that puts a space between two encoded words of a name.
    unfolded = email.message_from_bytes(raw)["To"].replace("\r\n", "")
    return str(email.header.make_header(email.header.decode_header(email.utils.parseaddr(unfolded)[0])))

policy = email.policy.default.clone(utf8=True)
for line in sys.stdin:
    case = json.loads(line)
    raw = base64.b64decode(case["message"])
    mail = email.message_from_bytes(raw, policy=policy)
    found = list(mail.defects)
    for part in mail.walk():
        found += part.defects
        for value in part.values():
            found += value.defects
    assert not found, (case["name"], found)
    to = mail["To"].addresses[0]
    assert name_of(raw) == case["name"], (name_of(raw), case["name"])
    assert to.addr_spec == case["address"], (to.addr_spec, case["address"])
    assert mail["Subject"] == case["subject"], (mail["Subject"], case["subject"])
    assert mail["Message-ID"] == "<0198c0de@postroom.example>", mail["Message-ID"]
    assert mail["Date"].datetime.isoformat() == "2026-11-21T10:00:00+00:00", mail["Date"]
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    for part, expected in ((text, case["text"]), (html, case["html"])):
        body = part.get_payload(decode=True).decode("utf-8").replace("\r\n", "\n")
        assert body == expected, (case["name"], len(body), len(expected), body[:200])
    print("read")
"#;

fn read_by_python(cases: &[(Option<&str>, &str, Content)]) {
    let mut python = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let lines: String = cases
        .iter()
        .map(|(name, address, content)| {
            let case = json!({
                "name": name.unwrap_or_default(),
                "address": address,
                "subject": content.subject,
                "text": content.text,
                "html": content.html,
                "message": BASE64_STANDARD.encode(bytes(*name, address, content)),
            });
            format!("{case}\n")
        })
        .collect();
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "see the Python traceback above");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), cases.len());
}

fn content(subject: &str, text: &str, html: &str) -> Content {
    Content { subject: subject.to_owned(), html: html.to_owned(), text: text.to_owned() }
}

#[test]
fn python_reads_odd_names_and_addresses_as_we_meant_them() {
    let names = [
        "Ann",
        "Ann Lee",
        "Lee, Ann",
        "Ann \"the \\ cup\" Lee",
        "Jörg Müller",
        "茶 と 本",
        "😀👩‍👩‍👧‍👦 family",
        "=?utf-8?q?x?=",
        "a@b.example",
        "<x@y.example>",
        "Ann (comment) Lee; x: y",
        "Dr. Ann-Marie O'Neil",
        "ends in a backslash \\",
        "a very long name that goes on and on, with a comma, well past the seventy-eighth column of a line",
        "ein sehr langer Name mit Umlauten ä ö ü, der über mehrere Zeilen geht und nicht zerrissen werden darf ß",
        "supercalifragilisticexpialidocioussupercalifragilisticexpialidocioussupercalifragilisticexpialidocious",
    ];
    let mut cases: Vec<_> =
        names.iter().map(|name| (Some(*name), "ann@example.net", content("s", "t", "<p>h"))).collect();
    for address in ["\"ann lee\"@example.net", "o'neil+tea@example.net", "ann@xn--bcher-kva.example"] {
        cases.push((Some("Ann"), address, content("s", "t", "<p>h")));
        cases.push((None, address, content("s", "t", "<p>h")));
    }
    read_by_python(&cases);
}

#[test]
fn python_reads_odd_subjects_and_bodies_as_we_meant_them() {
    let long_word = "x".repeat(1_020);
    let many_words = "many words ".repeat(90);
    let many_words = many_words.trim();
    let emoji = "😀".repeat(255);
    let subjects = [
        "",
        "Hello",
        "two  spaces   and more",
        "=?utf-8?q?not=20encoded?=",
        "Grüße, \"Jörg\" <x>",
        "日本語の件名はこのように長くなることがありますので折り返しが必要です。日本語の件名はこのように長くなることがあります",
        &long_word,
        many_words,
        &emoji,
    ];
    let long_line = "0123456789".repeat(500);
    let megabyte = "A line of text with ümlauts and = signs.   \n".repeat(23_000);
    let newlines = "\n".repeat(1_000_000);
    let bodies = [
        "",
        "\n",
        "text",
        "ends with a newline\n",
        "trailing space \nand tab\t\n\n\n",
        ".\n..\nFrom here\n--\n",
        "Übermäßig 😀 日本語\n",
        &long_line,
        &megabyte,
        &newlines,
    ];
    let of_subjects =
        subjects.iter().map(|subject| (Some("Ann"), "ann@example.net", content(subject, "t", "<p>h")));
    let of_bodies = bodies.iter().map(|body| (Some("Ann"), "ann@example.net", content("s", body, body)));
    read_by_python(&of_subjects.chain(of_bodies).collect::<Vec<_>>());
}
