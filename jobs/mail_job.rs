//! The jobs that mails are queued as: one that sends a mail, or hands it to the sandbox.

use super::{job::job_id, send_mail::SendMail, send_test_mail::SendTestMail};
use crate::{
    mail::{Lane, MailId, MailLane, MerchantId, NewMail},
    queue::QueuedJob,
};

/// The job that sends a mail.
pub fn send_mail_job(mail: &NewMail) -> QueuedJob {
    let (sender, recipient) = (mail.sender.email.domain(), mail.recipient.email.domain());
    job_for(mail.id, mail.is_test, mail.lane, mail.merchant.clone()).with_domains(sender, recipient)
}

/// The id of the job that sends a mail, or hands it to the sandbox.
pub fn send_mail_id(mail: MailId, is_test: bool) -> String {
    if is_test { job_id::<SendTestMail>(mail) } else { job_id::<SendMail>(mail) }
}

/// The job that sends a mail. One for the sandbox travels with the callbacks: it waits for no route and no rate.
pub(super) fn job_for(mail: MailId, is_test: bool, lane: MailLane, merchant: MerchantId) -> QueuedJob {
    let lane = if is_test { Lane::Callback } else { lane.into() };
    QueuedJob::new(send_mail_id(mail, is_test), lane, merchant)
}
