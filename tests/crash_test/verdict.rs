//! Compares what callers were promised with what relay and receiver took, and with what postroom has on record.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use postroom::{demo::catcher::CaughtMail, mail::Timestamp};
use serde::Serialize;

use super::{
    fault::{Fault, SECONDS_AHEAD},
    faults::Happened,
    ledger::{Ends, Promise, PromisedBatch, Said},
    receiver::Webhook,
    record::{MailOnRecord, Record},
};

/// How many of a kind of fault are described; all are counted.
const DESCRIBED: usize = 5;
/// How often a mail is sent again although a relay may have it: `retry.rescues`, which the test leaves as it is.
const RESCUES: usize = 5;

/// All that was seen in a run.
pub struct Seen<'a> {
    /// What callers know.
    pub promises: &'a [Promise],
    /// What callers of batches know.
    pub batches: &'a [PromisedBatch],
    /// What the relay took.
    pub caught: Vec<Arc<CaughtMail>>,
    /// What the receiver took, by `webhook-id`.
    pub webhooks: HashMap<String, Webhook>,
    /// What postroom knows.
    pub record: Record,
    /// The faults.
    pub happened: &'a [Happened],
}

/// The figures, and what is wrong with them.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Mails that were promised.
    pub promised: usize,
    /// Promised mails that the relay took.
    pub delivered: usize,
    /// Promised mails that did not end as they may.
    pub lost: usize,
    /// Mails that came more often than the record allows.
    pub doubled: usize,
    /// Mails that came more often, and as often as attempts with an unknown outcome are on record.
    pub doubled_on_record: usize,
    /// Mails that came although their callers were told that they never would.
    pub sent_after_503: usize,
    /// Events that the receiver should have been told of and was not.
    pub webhooks_missing: usize,
    /// Webhooks that came more often than the record allows.
    pub webhooks_doubled: usize,
    /// States that contradict each other or what was seen.
    pub disagreements: usize,
    /// For each fault: what it was, and after how many seconds without a fault all that it delayed was there.
    pub recoveries: Vec<(String, f64)>,
    /// What is wrong, by kind: the first few of each.
    pub broken: BTreeMap<&'static str, Vec<String>>,
}

impl Verdict {
    /// Judges what was seen; a recovery may take `patience`.
    pub fn on(seen: &Seen<'_>, patience: Duration) -> Self {
        let mut verdict = Self::default();
        let mut came: HashMap<&str, Vec<&CaughtMail>> = HashMap::new();
        for mail in &seen.caught {
            came.entry(&mail.recipient).or_default().push(mail);
        }
        let nobody = Vec::new();
        for promise in seen.promises {
            let rows = seen.record.mails.get(&promise.recipient).map_or(&[][..], Vec::as_slice);
            verdict.judge_promise(promise, rows, came.get(promise.recipient.as_str()).unwrap_or(&nobody));
        }
        seen.batches.iter().for_each(|batch| verdict.judge_batch(batch, seen, &came));
        verdict.judge_rows(seen, &came);
        verdict.judge_strangers(seen, &came);
        verdict.judge_webhooks(seen);
        verdict.judge_recoveries(seen, &came, patience);
        verdict
    }

    /// Notes that something is wrong.
    pub fn complain(&mut self, kind: &'static str, what: String) {
        let complaints = self.broken.entry(kind).or_default();
        if complaints.len() < DESCRIBED {
            complaints.push(what);
        }
    }

    fn disagree(&mut self, what: String) {
        self.disagreements += 1;
        self.complain("states disagree", what);
    }

    fn lose(&mut self, what: String) {
        self.lost += 1;
        self.complain("lost", what);
    }

    fn judge_promise(&mut self, promise: &Promise, rows: &[MailOnRecord], came: &[&CaughtMail]) {
        let recipient = &promise.recipient;
        // The mail of an order that was answered 503 because the queue was away stays on record as not sent.
        let live: Vec<_> = rows
            .iter()
            .filter(|row| promise.order.is_none() || !matches!(&*row.state, "failed" | "cancelled"))
            .collect();
        if live.len() > 1 {
            self.doubled += 1;
            self.complain("doubled", format!("{recipient} is on record {} times", live.len()));
        }
        match &promise.said {
            Said::Yes(_) => {
                self.promised += 1;
                self.delivered += usize::from(!came.is_empty());
                match live.first().copied().or(rows.first()) {
                    None => self.lose(format!("{recipient} is not on record")),
                    Some(row) if !promise.ends.allow(&row.state) && !is_spent(row) => {
                        self.lose(format!("{recipient} is {}, not {:?}: {row:?}", row.state, promise.ends));
                    }
                    Some(_) => {}
                }
            }
            Said::No(..) | Said::Never if !came.is_empty() => {
                self.sent_after_503 += 1;
                self.complain("sent after 503", format!("{recipient} came {} times: {rows:?}", came.len()));
            }
            Said::Never if !live.is_empty() => {
                self.disagree(format!("{recipient} was answered 503 and is on record: {rows:?}"));
            }
            _ => {}
        }
        if let Some(early) = promise.not_before.and_then(|at| came.iter().find(|mail| mail.at < at)) {
            self.disagree(format!("{recipient} came at {}, before its time", early.at));
        }
    }

    fn judge_batch(
        &mut self,
        batch: &PromisedBatch,
        seen: &Seen<'_>,
        came: &HashMap<&str, Vec<&CaughtMail>>,
    ) {
        let all = batch.recipients.iter();
        let Some(id) = &batch.id else {
            if let Said::Never = batch.said {
                for recipient in all.filter(|recipient| came.contains_key(recipient.as_str())) {
                    self.sent_after_503 += 1;
                    self.complain("sent after 503", format!("{recipient} of a batch"));
                }
            }
            return;
        };
        for recipient in all {
            self.promised += 1;
            self.delivered += usize::from(came.contains_key(recipient.as_str()));
            let rows = seen.record.mails.get(recipient).map_or(&[][..], Vec::as_slice);
            match rows {
                [row] if row.batch.as_ref() != Some(id) => {
                    self.disagree(format!("{recipient} is of another batch"))
                }
                [row] if row.state == "sent" || is_spent(row) => {}
                [row] if batch.may_be_cancelled && row.state == "cancelled" => {}
                [] if batch.may_be_cancelled => {}
                _ => self.lose(format!("{recipient} of batch {id}: {rows:?}")),
            }
        }
        let told: Vec<_> =
            seen.webhooks.values().filter(|webhook| webhook.body["batch_id"] == **id).collect();
        match told.as_slice() {
            [webhook] if webhook.taken > 0 => {
                let is_right = webhook.body["status"] == "success" || batch.may_be_cancelled;
                if !is_right {
                    self.disagree(format!("batch {id} is said to have failed: {}", webhook.body));
                }
            }
            [] | [_] => {
                self.webhooks_missing += 1;
                self.complain("webhooks missing", format!("the end of batch {id}"));
            }
            _ => {
                self.webhooks_doubled += 1;
                self.complain("webhooks doubled", format!("the end of batch {id}"));
            }
        }
    }

    /// Each row against what came, whoever asked for it.
    fn judge_rows(&mut self, seen: &Seen<'_>, came: &HashMap<&str, Vec<&CaughtMail>>) {
        for (recipient, row) in seen
            .record
            .mails
            .iter()
            .flat_map(|(recipient, rows)| rows.iter().map(move |row| (recipient, row)))
        {
            let of_row = |mail: &&&CaughtMail| mail.message_id().is_some_and(|id| id.starts_with(&row.id));
            let times = came.get(recipient.as_str()).map_or(0, |mails| mails.iter().filter(of_row).count());
            let may_come = row.accepted + row.unknown;
            if row.unknown > RESCUES + 1 {
                self.disagree(format!("{recipient} was sent again too often: {row:?}"));
            }
            if times > may_come || (row.holds && times > 1 && row.unknown < 1) {
                self.doubled += 1;
                self.complain("doubled", format!("{recipient} came {times} times: {row:?}"));
            } else if times > 1 {
                self.doubled_on_record += 1;
            }
            if row.holds && times > 1 {
                self.complain("doubled in spite of hold", format!("{recipient} came {times} times: {row:?}"));
            }
            let is_sent = row.state == "sent";
            if row.accepted != usize::from(is_sent) {
                self.disagree(format!("{recipient}: {row:?}"));
            }
            if is_sent && times == 0 {
                self.lose(format!("{recipient} is on record as sent, and the relay has it not: {row:?}"));
            }
            if row.state == "held" && row.unknown == 0 {
                self.disagree(format!("{recipient} is held, and no attempt is unknown"));
            }
        }
        for (id, state) in &seen.record.wrong_results {
            self.disagree(format!("a bulk action says that it cancelled {id}, which is {state}"));
        }
    }

    fn judge_strangers(&mut self, seen: &Seen<'_>, came: &HashMap<&str, Vec<&CaughtMail>>) {
        let known: HashSet<&str> = seen.record.mails.keys().map(String::as_str).collect();
        for stranger in came.keys().filter(|recipient| !known.contains(**recipient)) {
            self.disagree(format!("{stranger} got a mail, and is not on record"));
        }
    }

    fn judge_webhooks(&mut self, seen: &Seen<'_>) {
        let mut told: HashMap<(&str, &str), Vec<&Webhook>> = HashMap::new();
        for webhook in seen.webhooks.values().filter(|webhook| webhook.taken > 0) {
            let of = |field: &serde_json::Value| field.as_str().unwrap_or_default().len();
            if of(&webhook.body["type"]) > 0 {
                let (kind, id) = (webhook.body["type"].as_str(), webhook.body["data"]["id"].as_str());
                told.entry((kind.unwrap_or_default(), id.unwrap_or_default())).or_default().push(webhook);
            }
        }
        for promise in seen.promises.iter().filter(|promise| matches!(promise.said, Said::Yes(_))) {
            for row in seen.record.mails.get(&promise.recipient).into_iter().flatten() {
                let event = format!("email.{}", row.state);
                let also = promise.also.filter(|_| row.state == "sent");
                for kind in std::iter::once(event.as_str()).chain(also) {
                    let times = told.get(&(kind, row.id.as_str())).map_or(0, Vec::len);
                    if times == 0 {
                        self.webhooks_missing += 1;
                        self.complain(
                            "webhooks missing",
                            format!("{kind} of {} ({})", promise.recipient, row.id),
                        );
                    } else if times > 1 {
                        self.webhooks_doubled += 1;
                        self.complain(
                            "webhooks doubled",
                            format!("{kind} of {} under {times} ids", promise.recipient),
                        );
                    }
                }
            }
        }
        for (id, webhook) in &seen.webhooks {
            let Some(delivery) = seen.record.deliveries.get(id) else {
                self.disagree(format!("webhook {id} came, and is not on record"));
                continue;
            };
            if webhook.posted > delivery.attempts || webhook.taken > 1 + delivery.unanswered {
                self.webhooks_doubled += 1;
                self.complain("webhooks doubled", format!("{id}: {webhook:?}, {delivery:?}"));
            }
            if !webhook.is_constant || (webhook.taken > 0) != (delivery.state == "delivered") {
                self.disagree(format!("webhook {id}: {webhook:?}, {delivery:?}"));
            }
        }
    }

    /// For each fault, how long the last mail took that had been promised before the fault was healed. Only time without a
    /// fault counts: a mail that the next fault delays as well is not blamed on this one alone.
    fn judge_recoveries(
        &mut self,
        seen: &Seen<'_>,
        came: &HashMap<&str, Vec<&CaughtMail>>,
        patience: Duration,
    ) {
        let arrivals: Vec<(Timestamp, Timestamp, &str)> = seen
            .promises
            .iter()
            .filter(|promise| matches!(promise.said, Said::Yes(_)) && promise.ends == Ends::Sent)
            .filter(|promise| promise.not_before.is_none() && !promise.is_delayed)
            .filter_map(|promise| {
                let recipient = promise.recipient.as_str();
                Some((promise.at, came.get(recipient)?.iter().map(|mail| mail.at).min()?, recipient))
            })
            .filter(|(promised, arrived, _)| {
                let postponed = |one| may_postpone(one, *promised, *arrived, patience);
                !seen.happened.iter().any(postponed)
            })
            .collect();
        for one in seen.happened {
            let delayed = arrivals
                .iter()
                .filter(|(promised, arrived, _)| *promised < one.healed && *arrived > one.healed);
            let waits = delayed.map(|(_, arrived, recipient)| {
                (healthy_time(seen.happened, one.healed, *arrived), *recipient)
            });
            let (longest, recipient) = waits.max().unwrap_or_default();
            if longest > patience {
                let seconds = longest.as_secs_f64();
                self.complain("recovery takes long", format!("{}: {seconds:.1} s, {recipient}", one.fault));
            }
            if let Some(broken) = &one.broken {
                self.complain("fault", broken.clone());
            }
            self.recoveries.push((one.fault.to_string(), longest.as_secs_f64()));
        }
    }
}

/// Whether a mail is held because nobody could learn its outcome, so many times.
fn is_spent(row: &MailOnRecord) -> bool {
    row.state == "held" && row.unknown > RESCUES
}

/// Whether a worker whose clock is ahead may have written a time into the row of a mail that waited then: the mail
/// waits until the others' clocks come to it, and for the minute after which the scheduler enqueues it again.
fn may_postpone(one: &Happened, promised: Timestamp, arrived: Timestamp, patience: Duration) -> bool {
    let margin = Duration::from_secs(5);
    let longest = Duration::from_secs(u64::from(SECONDS_AHEAD) + 60) + patience;
    matches!(one.fault, Fault::ClockIsOff(_))
        && promised <= one.healed + margin
        && one.began - margin <= arrived
        && arrived <= one.healed + longest
}

/// How long no fault was there between two times.
fn healthy_time(happened: &[Happened], from: Timestamp, until: Timestamp) -> Duration {
    let ill: Duration = happened.iter().map(|one| one.healed.min(until).since(one.began.max(from))).sum();
    until.since(from).saturating_sub(ill)
}
