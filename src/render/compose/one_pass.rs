//! A message without files, written from its first byte to its last as it goes over the wire. It is what lettre makes of it,
//! byte for byte.

use lettre::message::Body;

use super::{
    body::{LONGEST_LINE, body, without_controls},
    encoded_words::{mailbox, subject},
    headers::Headers,
    quoted_printable,
};
use crate::{
    mail::{Message, MessageWriter},
    render::Content,
};

/// About how many bytes headers and boundaries take.
const HEAD: usize = 1_024;
/// The longest name of a header.
const LONGEST_NAME: usize = 76;
/// The headers that every message may have.
const OURS: [&str; 11] = [
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
];

/// Writes the message; `None` when its own headers are not plain ones beside ours.
pub(super) fn compose(headers: &Headers<'_>, content: &Content) -> Option<Message> {
    if !are_plain(headers.more) {
        return None;
    }
    let bodies = content.text.len() + content.html.len();
    let mut out = MessageWriter::with_capacity(HEAD + bodies + bodies / 16);
    write_headers(&mut out, headers, &content.subject);
    let boundary = headers.boundary();
    all(
        &mut out,
        &[
            "MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary=\"",
            &boundary,
            "\"\r\n\r\n",
        ],
    );
    for (kind, text) in [("plain", &content.text), ("html", &content.html)] {
        all(&mut out, &["--", &boundary, "\r\nContent-Type: text/", kind, "; charset=utf-8\r\n"]);
        write_body(&mut out, text);
        out.ready("\r\n");
    }
    all(&mut out, &["--", &boundary, "--\r\n"]);
    Some(out.finish())
}

fn write_headers(out: &mut MessageWriter, headers: &Headers<'_>, of_subject: &str) {
    for (field, of) in headers.mailboxes() {
        all(out, &[field, ": ", &mailbox(field, of), "\r\n"]);
    }
    all(out, &["Subject: ", &subject(of_subject), "\r\n"]);
    all(out, &["Date: ", &headers.date.to_rfc5322(), "\r\n"]);
    all(out, &["Message-ID: <", headers.message_id, ">\r\n"]);
    // Nobody wrote it by hand, so no answering machine answers it (RFC 3834, section 5).
    out.ready("Auto-Submitted: auto-generated\r\n");
    if let Some(link) = headers.list_unsubscribe {
        all(
            out,
            &["List-Unsubscribe: <", link, ">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"],
        );
    }
    for (name, value) in headers.more {
        all(out, &[name, ": ", value, "\r\n"]);
    }
}

/// Writes the rest of a part: how its body is encoded, and the body.
fn write_body(out: &mut MessageWriter, text: &str) {
    const ENCODING: &str = "Content-Transfer-Encoding: ";
    let text = without_controls(text);
    if text.is_ascii() {
        let start = out.mark();
        all(out, &[ENCODING, "7bit\r\n\r\n"]);
        if out.lines_of_at_most(LONGEST_LINE, text.as_bytes()) {
            return;
        }
        out.back_to(start);
    }
    if quoted_printable::suits(&text) {
        all(out, &[ENCODING, "quoted-printable\r\n\r\n"]);
        out.lines(&quoted_printable::encode(&text));
    } else {
        let body = Body::new(body(&text));
        all(out, &[ENCODING, &body.encoding().to_string(), "\r\n\r\n"]);
        out.lines(body.as_ref());
    }
}

fn all(out: &mut MessageWriter, texts: &[&str]) {
    texts.iter().for_each(|text| out.ready(text));
}

/// Whether headers are written as they are, one after the other: each is on one line, and none replaces another.
fn are_plain(more: &[(String, String)]) -> bool {
    more.iter().enumerate().all(|(at, (name, value))| {
        let is_same = |other: &str| other.eq_ignore_ascii_case(name);
        (1..=LONGEST_NAME).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
            && !value.contains(['\r', '\n'])
            && !OURS.into_iter().any(is_same)
            && !more[..at].iter().any(|(before, _)| is_same(before))
    })
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;
    use crate::{
        mail::{Mailbox, Timestamp},
        render::compose::in_parts,
    };

    fn odd_text() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "([.]{0,2}[ -~]{0,80}\r?\n){0,12}",
            2 => "[ -~]{0,200}",
            1 => any::<String>(),
            1 => "[ \t\r\n\u{0}\u{7f}\u{85}\u{2028}a.:é日😀=?\"\\\\,<>@]{0,60}",
            1 => "[.a-z\n]{900,1100}",
            1 => "[ ]{0,5}[a-zé.]{0,90}[ ]{0,90}(=\\?utf-8\\?q\\?x\\?=){0,2}",
            1 => "([.][é.=]{0,90}\n){0,12}",
        ]
    }

    fn mailboxes() -> impl Strategy<Value = Mailbox> {
        let name = prop_oneof![
            Just(None),
            "[A-Z][a-z]{1,9}( [A-Z][a-z]{1,9}){0,9}".prop_map(Some),
            odd_text().prop_map(Some)
        ];
        let email = prop_oneof![Just("ann@example.net".to_owned()), "[a-zé]{1,30}@[a-z]{1,30}[.]example"];
        (name, email).prop_map(|(name, email)| Mailbox { name, email: email.parse().unwrap() })
    }

    fn headers_of_a_request() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop_oneof![
            4 => "X-[A-Za-z]{1,8}", 1 => "[.]?[A-Za-z-]{0,80}", 1 => prop::sample::select(OURS.to_vec()).prop_map(str::to_lowercase),
        ];
        prop::collection::vec((name, "[ -~]{0,90}"), 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_500, rng_seed: RngSeed::Fixed(15), ..ProptestConfig::default() })]

        #[test]
        fn a_message_is_byte_for_byte_what_lettre_makes_of_it(
            (sender, recipient, reply_to) in (mailboxes(), mailboxes(), prop::option::of(mailboxes())),
            (subject, text, html) in (odd_text(), odd_text(), odd_text()),
            (id, link) in ("[a-z0-9.]{1,40}@[a-z]{1,20}", prop::option::of("https://[a-z.]{1,20}/[a-z0-9/?=&]{0,200}")),
            (millis, more) in (0i64..4_000_000_000_000, headers_of_a_request()),
        ) {
            let headers = Headers {
                sender: &sender,
                reply_to: reply_to.as_ref(),
                recipient: &recipient,
                message_id: &id,
                date: Timestamp(millis),
                list_unsubscribe: link.as_deref(),
                more: &more,
            };
            headers.check().unwrap();
            let content = Content { subject, html, text };
            let expected = in_parts::compose(&headers, &content, Vec::new()).unwrap();
            match compose(&headers, &content) {
                Some(message) => {
                    let [message, expected] = [&message, &expected].map(|message| String::from_utf8_lossy(message.wire()));
                    prop_assert_eq!(message, expected);
                }
                None => prop_assert!(!more.is_empty()),
            }
            prop_assert_eq!(compose(&Headers { more: &[], ..headers }, &content).map(|message| message.size()),
                in_parts::compose(&Headers { more: &[], ..headers }, &content, Vec::new()).ok().map(|message| message.size()));
        }
    }

    #[test]
    fn headers_that_replace_ours_or_one_another_are_left_to_lettre() {
        let more = |all: &[(&str, &str)]| {
            are_plain(
                &all.iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect::<Vec<_>>(),
            )
        };
        assert!(more(&[]) && more(&[("X-Campaign", "7"), ("X-Shop", "tea")]));
        for odd in
            [("subject", "x"), ("x-campaign", "8"), ("", "x"), (".X", "x"), ("X:", "x"), ("X-Y", "a\r\nb")]
        {
            assert!(!more(&[("X-Campaign", "7"), odd]), "{odd:?}");
        }
    }
}
