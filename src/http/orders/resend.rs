//! Sends a mail of an order again, in the source document's order of work: load, audit, ask the rules, record, dispatch.

use super::{judgement::Decision, loaded::LoadedOrder, request::Resend};
use crate::{
    http::{
        error::{Refusal, json_answer},
        new_mail,
    },
    jobs,
    mail::{MailId, MailLane},
    queue::QueuedJob,
    store::{Answer, KeyHolder, Moved, Precondition, Recorded, Recording},
    telemetry::{METRICS, chain},
};

/// How often the rules are asked when the order changes meanwhile. Of equal requests at once the second answer decides.
const TRIES: usize = 3;

/// A decision that is recorded.
struct Done {
    answer: Answer,
    /// The mail, where the queue has to take it.
    job: Option<(MailId, QueuedJob)>,
}

impl Resend<'_> {
    /// Does what was asked for, once the rules allow it.
    ///
    /// # Errors
    /// What is malformed or refused by the rules, which is audited too; 503 `dispatch_failed` when the queue did not take the
    /// mail, which then is never sent: ask again.
    pub(super) async fn carry_out(&self, holder: Option<&KeyHolder>) -> Result<Answer, Refusal> {
        let found = self.load().await?;
        let Done { answer, job } = match self.decide(found, holder).await {
            Ok(done) => done,
            Err(refusal) => {
                let audited = self.app.store.audit_order(self.audit.clone()).await;
                // What became of the mail matters more than what became of the audit.
                if !refusal.status.is_server_error() {
                    audited?;
                }
                return Err(refusal);
            }
        };
        if let Some((mail, job)) = job {
            self.enqueue(mail, job, holder).await?;
        }
        Ok(answer)
    }

    /// Records what the rules say, with the audit; a refusal is left to be audited.
    async fn decide(&self, mut found: LoadedOrder, holder: Option<&KeyHolder>) -> Result<Done, Refusal> {
        if let Some(malformed) = &self.malformed {
            return Err(malformed.clone());
        }
        for _ in 0..TRIES {
            let decision = self.judge(&found).await?;
            if let Some(done) = self.record(decision, holder).await? {
                return Ok(done);
            }
            let seen = std::mem::replace(&mut found, self.load().await?);
            found.yield_to_rivals(&seen);
        }
        Err(Refusal::unavailable())
    }

    async fn load(&self) -> Result<LoadedOrder, Refusal> {
        LoadedOrder::load(self.app, &self.caller.merchant.id, self.id, "order e-mail").await
    }

    /// Makes a decision true; `None` when the order is not any more what was judged.
    async fn record(&self, decision: Decision, holder: Option<&KeyHolder>) -> Result<Option<Done>, Refusal> {
        let Decision { status, view, step, mail } = decision;
        let answer = json_answer(status, &view);
        let job = mail.as_ref().map(|mail| (mail.id, jobs::send_mail_job(mail)));
        let recording = Recording {
            precondition: step.map(|step| Precondition::Order(Box::new(step))),
            mails: mail.into_iter().collect(),
            audit: Some(self.audit.clone()),
            answer: holder.map(|holder| (holder.clone(), answer.clone())),
            ..Recording::default()
        };
        Ok(match jobs::record_while_queue_answers(self.app, recording).await? {
            recorded @ (Recorded::Committed | Recorded::Claimed(_)) => {
                METRICS.count_recorded(MailLane::Transactional, job.iter().len() as u64);
                Some(Done { answer, job: job.filter(|_| recorded == Recorded::Committed) })
            }
            Recorded::Suppressed => {
                new_mail::count_suppressed(MailLane::Transactional, self.caller.merchant.is_test);
                Some(Done { answer, job: None })
            }
            Recorded::Outdated => None,
            Recorded::KeyLost => return Err(Refusal::key_lost()),
        })
    }

    /// Enqueues the mail. When the queue does not take it in time, the mail fails, unless a worker has it already.
    async fn enqueue(&self, mail: MailId, job: QueuedJob, holder: Option<&KeyHolder>) -> Result<(), Refusal> {
        if self.app.enqueue_in_time(job).await {
            return Ok(());
        }
        tracing::warn!(%mail, "the queue does not take an order's mail");
        let why = "the queue did not take the mail in time";
        let withdrawn = self.app.store.withdraw_order_mail(mail, why, holder).await.map_err(|error| {
            tracing::error!(%mail, error = %chain(&error), "a mail could not be withdrawn");
            Refusal::outcome_unknown() // its rows are committed, and it is sent when the queue is back
        });
        match withdrawn? {
            Moved::Refused(_) | Moved::ToNobody | Moved::Unknown => Ok(()),
            Moved::Now(state) => {
                METRICS.count_settled(MailLane::Transactional, state, self.caller.merchant.is_test, 1);
                let message = "The e-mail could not be dispatched; it failed and will not be sent.";
                Err(Refusal {
                    code: "dispatch_failed",
                    message: message.to_owned(),
                    ..Refusal::unavailable()
                })
            }
        }
    }
}
