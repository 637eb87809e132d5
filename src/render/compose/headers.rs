//! The headers of a message, and which of them cannot be written.

use sha2::{Digest, Sha256};

use crate::{
    mail::{Mail, Mailbox, Timestamp},
    render::RenderError,
};

/// The headers of a message.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// `From`.
    pub sender: &'a Mailbox,
    /// `Reply-To`.
    pub reply_to: Option<&'a Mailbox>,
    /// `To`.
    pub recipient: &'a Mailbox,
    /// `Message-ID`, without angle brackets.
    pub message_id: &'a str,
    /// `Date`.
    pub date: Timestamp,
    /// `List-Unsubscribe` (RFC 2369): a URL that takes a POST with one click (RFC 8058).
    pub list_unsubscribe: Option<&'a str>,
    /// Those of the request, each with visible ASCII on one line.
    pub more: &'a [(String, String)],
}

impl<'a> Headers<'a> {
    /// Those of a mail that is on record. A mail that is made ahead of its time is of `now`.
    pub fn of(mail: &'a Mail, now: Timestamp) -> Self {
        Self {
            sender: &mail.sender,
            reply_to: mail.reply_to.as_ref(),
            recipient: &mail.recipient,
            message_id: &mail.message_id,
            date: mail.meant_for().min(now),
            list_unsubscribe: None,
            more: mail.extras.as_ref().map_or(&[], |extras| extras.headers.as_slice()),
        }
    }

    /// The same with a link to unsubscribe, where there is one.
    pub const fn with_link(self, link: Option<&'a str>) -> Self {
        Self { list_unsubscribe: link, ..self }
    }

    pub(super) fn check(&self) -> Result<(), RenderError> {
        if !is_message_id(self.message_id) {
            return Err(RenderError::MessageId);
        }
        if self.list_unsubscribe.is_some_and(|link| !is_link(link)) {
            return Err(RenderError::UnsubscribeLink);
        }
        Ok(())
    }

    /// What separates the parts. `=_` occurs neither in quoted-printable nor in base64.
    pub(super) fn boundary(&self) -> String {
        let digest = Sha256::digest(self.message_id);
        format!("=_{}", base16ct::lower::encode_string(&digest[..16]))
    }

    /// The fields with a mailbox, in their order. A `Reply-To` beyond ASCII is left out where neither the sender nor the
    /// recipient is beyond ASCII too: the relay is asked for SMTPUTF8 for their sake alone, and without it no header may have
    /// such characters (RFC 6531, section 3.4). A mail without it is better than none.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = (&'static str, &'a Mailbox)> {
        let has_utf8 = [self.sender, self.recipient].iter().any(|mailbox| mailbox.email.needs_smtputf8());
        let reply_to = self.reply_to.filter(|mailbox| has_utf8 || !mailbox.email.needs_smtputf8());
        [("From", Some(self.sender)), ("To", Some(self.recipient)), ("Reply-To", reply_to)]
            .into_iter()
            .filter_map(|(field, mailbox)| Some((field, mailbox?)))
    }
}

/// Whether it can stand between angle brackets on one line (RFC 5322, section 3.6.4).
fn is_message_id(id: &str) -> bool {
    let is_side = |side: &str| {
        !side.is_empty() && side.bytes().all(|b| b.is_ascii_graphic() && !b"<>@,;:\\\"()".contains(&b))
    };
    id.len() <= 250 && id.split_once('@').is_some_and(|(left, right)| is_side(left) && is_side(right))
}

/// Whether it can stand between angle brackets on one line (RFC 2369, section 2).
fn is_link(link: &str) -> bool {
    link.len() <= 900
        && ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
        && link.bytes().all(|b| b.is_ascii_graphic() && !b"<>,".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mail::{CrashPolicy, MailDraft, MailLane, NewMail, Origin, PinnedTemplate, Schedule};

    fn mail(send_at: Option<Timestamp>) -> Mail {
        let mailbox = || Mailbox { name: None, email: "ann@example.net".parse().unwrap() };
        let (version, name) = ("v1".to_owned(), "hello".to_owned());
        let draft = MailDraft {
            merchant: "tea".parse().unwrap(),
            lane: MailLane::Transactional,
            template: PinnedTemplate { version, name, on_crash: CrashPolicy::Resend },
            sender: mailbox(),
            reply_to: None,
            recipient: mailbox(),
            values: &serde_json::json!({}),
            origin: Origin::default(),
            schedule: Schedule { send_at, expires_at: None },
            is_test: false,
        };
        NewMail::new(draft).as_claimed()
    }

    #[test]
    fn a_mail_is_of_the_time_that_it_was_meant_for_and_of_no_time_to_come() {
        let at_once = mail(None);
        let (recorded_at, later) = (at_once.recorded_at, at_once.recorded_at + Duration::from_secs(60));
        assert_eq!(Headers::of(&at_once, later).date, recorded_at);
        assert_eq!(Headers::of(&mail(Some(recorded_at)), later).date, recorded_at);
        assert_eq!(Headers::of(&mail(Some(later)), recorded_at).date, recorded_at);
    }

    #[test]
    fn a_reply_to_beyond_ascii_goes_only_where_the_relay_is_asked_for_it() {
        let mailbox = |email: &str| Mailbox { name: None, email: email.parse().unwrap() };
        let has_reply_to = |sender: &str, recipient: &str, reply_to: &str| {
            let (sender, recipient, reply_to) = (mailbox(sender), mailbox(recipient), mailbox(reply_to));
            let headers = Headers {
                sender: &sender,
                reply_to: Some(&reply_to),
                recipient: &recipient,
                message_id: "a@b",
                date: Timestamp(0),
                list_unsubscribe: None,
                more: &[],
            };
            headers.mailboxes().any(|(field, _)| field == "Reply-To")
        };
        let (ascii, beyond) = ("ann@a.example", "jörg@a.example");
        assert!(has_reply_to(ascii, ascii, ascii) && has_reply_to(ascii, ascii, "ann@bücher.example"));
        assert!(!has_reply_to(ascii, ascii, beyond));
        assert!(has_reply_to(beyond, ascii, beyond) && has_reply_to(ascii, beyond, beyond));
    }
}
