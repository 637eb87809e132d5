//! How jobs and what is known about them are spelled in Redis.

use std::{sync::Arc, time::Duration};

use super::{Domains, QueuedJob, Whereabouts};
use crate::{
    clock,
    mail::{Timestamp, WaitReason},
};

/// Spells a domain that a job does not have.
const NONE: &str = "-";

/// A job without its id, as `keys.lua` has it.
pub(super) fn text_of(job: &QueuedJob) -> String {
    let (recipient, sender) = job
        .domains
        .as_ref()
        .map_or((NONE, NONE), |domains| (word(&domains.recipient), word(&domains.sender)));
    format!("{} {} {recipient} {sender}", job.lane, job.merchant)
}

/// Domains have no spaces; one that has is none.
fn word(domain: &str) -> &str {
    let is_word = !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { domain } else { NONE }
}

/// `None` for what is not ours.
pub(super) fn job_of(id: String, text: &str) -> Option<QueuedJob> {
    let mut words = text.split(' ');
    let (lane, merchant) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (recipient, sender) = (words.next()?, words.next()?);
    let job = QueuedJob::new(id, lane, merchant);
    let has_domains = (recipient, sender) != (NONE, NONE);
    let domain = |word: &str| if word == NONE { "".into() } else { word.into() };
    Some(QueuedJob {
        domains: has_domains
            .then(|| Arc::new(Domains { sender: domain(sender), recipient: domain(recipient) })),
        ..job
    })
}

pub(super) fn whereabouts_of((state, line, left, reason): (String, String, i64, String)) -> Whereabouts {
    match state.as_str() {
        "waiting" => Whereabouts::Waiting,
        "leased" => Whereabouts::Leased,
        "line" => Whereabouts::InLine {
            name: line.into(),
            reason: reason.parse().unwrap_or(WaitReason::Queued),
            until: time_in(left),
        },
        _ => Whereabouts::Unknown,
    }
}

/// The time in so many milliseconds; `None` where there is none.
pub(super) fn time_in(left: i64) -> Option<Timestamp> {
    u64::try_from(left).ok().map(|left| clock::now() + Duration::from_millis(left))
}
