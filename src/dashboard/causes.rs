//! Why mails fail and lanes are behind: what a class of replies means, which failures are alike, and what the mails of a lane
//! that is behind wait for.

use std::{collections::HashMap, time::Duration};

use super::words;
use crate::{
    mail::{Lane, MailLane, MerchantId, ReplyClass, Timestamp, WaitReason},
    queue::{self, LineStatus, QueueStatus},
    store::FailedMail,
    telemetry::{METRICS, metrics::LaneLabels},
};

/// A lane is behind when the oldest of its mails is due for longer.
pub(super) const BEHIND: Duration = Duration::from_secs(5 * 60);

/// Mails that failed alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// How many of those that were looked at.
    pub(super) mails: usize,
    pub(super) class: ReplyClass,
    /// What the last reply said, without what differs from mail to mail.
    pub(super) reply: String,
    /// Whose mails they are, where all are of one merchant.
    pub(super) merchant: Option<MerchantId>,
    /// What they are made from, where all are of one template.
    pub(super) template: Option<String>,
    /// Over which route, where all went over one.
    pub(super) route: Option<String>,
}

/// Groups mails that failed since then, the largest group first. A message that is at fault is a matter of its template.
pub(super) fn causes(failed: &[FailedMail], since: Timestamp) -> Vec<Cause> {
    let mut groups: HashMap<_, Cause> = HashMap::new();
    for mail in failed.iter().filter(|mail| mail.settled_at.is_some_and(|at| at >= since)) {
        let class = mail.class.unwrap_or(ReplyClass::Unknown);
        let reply = words::alike(mail.error.as_deref().unwrap_or_default());
        let own = (class == ReplyClass::MessageFault).then_some((&mail.merchant, &mail.template));
        let cause = groups.entry((class, reply.clone(), own)).or_insert_with(|| Cause {
            mails: 0,
            class,
            reply,
            merchant: Some(mail.merchant.clone()),
            template: Some(mail.template.clone()),
            route: mail.route.clone().filter(|route| !route.is_empty()),
        });
        cause.mails += 1;
        keep_if_same(&mut cause.merchant, Some(&mail.merchant));
        keep_if_same(&mut cause.template, Some(&mail.template));
        keep_if_same(&mut cause.route, mail.route.as_ref());
    }
    let mut causes: Vec<_> = groups.into_values().collect();
    causes.sort_by(|a, b| b.mails.cmp(&a.mails).then_with(|| a.reply.cmp(&b.reply)));
    causes
}

fn keep_if_same<T: PartialEq>(kept: &mut Option<T>, next: Option<&T>) {
    if kept.as_ref() != next {
        *kept = None;
    }
}

/// A lane of which mails are due for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneBehind {
    pub(super) lane: Lane,
    /// How long the oldest is due.
    pub(super) due_for: Duration,
    /// What most of the mails that are set aside wait for.
    pub(super) waits_for: Option<String>,
}

/// The lanes of mails that are behind, as the process saw them last.
pub(super) fn lanes_behind(queue: Option<&QueueStatus>) -> Vec<LaneBehind> {
    let behind = MailLane::ALL.iter().filter_map(|lane| {
        let age = METRICS.oldest_due.get(&LaneLabels { lane: lane.as_str() }).map(|age| age.get())?;
        let due_for = Duration::try_from_secs_f64(age).ok().filter(|age| *age > BEHIND)?;
        let lines = queue.map(|queue| queue.lines.as_slice()).unwrap_or_default();
        let waits_for = lines.iter().max_by_key(|line| line.waiting).map(in_words);
        Some(LaneBehind { lane: Lane::from(*lane), due_for, waits_for })
    });
    behind.collect()
}

/// What the jobs of a line wait for.
fn in_words(line: &LineStatus) -> String {
    let name =
        queue::parts(&line.name).map(|part| part.replacen(':', " ", 1)).collect::<Vec<_>>().join(" and ");
    let what = match line.reason {
        WaitReason::Rate => format!("the rate of {name}"),
        WaitReason::NoConnection => format!("a free connection of {name}"),
        reason => format!("{name} ({})", reason.to_string().replace('_', " ")),
    };
    format!("{} wait for {what}", words::number(line.waiting))
}

/// What a class means, and what one does about it; not what becomes of a mail, which its state says.
pub(super) const fn meaning_of(class: ReplyClass) -> &'static str {
    match class {
        ReplyClass::Accepted => "The relay took the mail.",
        ReplyClass::BadAddress => "There is no such mailbox. The merchant should correct the address.",
        ReplyClass::MailboxFull => "The mailbox has no room.",
        ReplyClass::PolicyBlock => {
            "The receiver's rules forbid this mail. Ask the receiver, or change the content."
        }
        ReplyClass::SpamContent => "The content looks like spam. The merchant should change the template.",
        ReplyClass::Reputation => {
            "Our machine or the sender's domain has a bad name. Look at blocklists; slow down."
        }
        ReplyClass::RateLimited => "Too much in too short a time. A lower rate avoids it.",
        ReplyClass::Greylist => "Strangers have to come back later.",
        ReplyClass::AuthFailure => {
            "SPF, DKIM, DMARC or the reverse name of our side. Correct the DNS records."
        }
        ReplyClass::Config => {
            "We are set up wrongly: credentials, relaying, TLS or names. An operator has to act."
        }
        ReplyClass::DomainWide => "The recipient's whole domain takes no mail.",
        ReplyClass::Temporary => "A fault of the relay that passes.",
        ReplyClass::MessageFault => "The message is too large or malformed, or cannot be rendered.",
        ReplyClass::Connection => "No relay said anything: no connection, a time-out, or a broken dialogue.",
        ReplyClass::Unknown => "No rule knows this reply; add one to your replies file.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MailId;

    fn failed(merchant: &str, class: ReplyClass, error: &str, at: i64) -> FailedMail {
        FailedMail {
            id: MailId::new(),
            template: "welcome".to_owned(),
            merchant: merchant.parse().unwrap(),
            recipient: "ann@example.net".to_owned(),
            class: Some(class),
            route: Some("main".to_owned()),
            error: Some(error.to_owned()),
            settled_at: Some(Timestamp(at)),
        }
    }

    #[test]
    fn failures_are_alike_by_class_and_words_and_faults_of_messages_by_template_too() {
        let (block, fault) = (ReplyClass::PolicyBlock, ReplyClass::MessageFault);
        let mails = [
            failed("tea", block, "554 5.7.1 <a@b.example> refused", 10),
            failed("ink", block, "554 5.7.1 <c@d.example> refused", 10),
            failed("ink", block, "554 5.7.1 <e@f.example> refused", 10),
            failed("tea", fault, "a placeholder is unknown", 10),
            failed("ink", fault, "a placeholder is unknown", 10),
            failed("tea", block, "554 5.7.1 <a@b.example> refused", 4),
        ];
        let causes = causes(&mails, Timestamp(5));
        let seen: Vec<_> =
            causes.iter().map(|cause| (cause.mails, cause.class, cause.merchant.is_some())).collect();
        assert_eq!(seen, [(3, block, false), (1, fault, true), (1, fault, true)]);
        assert_eq!(causes[0].reply, "554 5.7.1 <…> refused");
        assert_eq!(causes[0].route.as_deref(), Some("main"));
    }
}
