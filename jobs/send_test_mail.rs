//! Renders a recorded mail that is only tried out, hands it to the sandbox and records what that said.
//!
//! Comes in the place of `SendMail`, from the same hands; a mail that is not tried out is given back. It needs no route and
//! keeps no rate: see [`mail::sandbox`](crate::mail::sandbox). Running twice is harmless: whoever cannot claim the mail
//! leaves it alone.

use async_trait::async_trait;

use super::{
    job::{Job, Outcome, Row, until_recorded},
    send_mail,
};
use crate::{
    app::App,
    mail::{MailId, MailLane, sandbox::SandboxFate},
};

/// Sends one mail to the sandbox, once.
pub struct SendTestMail {
    /// Which.
    pub mail: MailId,
}

#[async_trait]
impl Job for SendTestMail {
    const NAME: &'static str = "send_test_mail";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        if !app.worker.may_begin() {
            return Ok(Outcome::Waits);
        }
        let Some(at_work) = app.worker.begin(self.mail.0, MailLane::Bulk) else {
            return Ok(Outcome::NothingToDo);
        };
        let Some(mail) = at_work.claim(&app.store).await? else {
            return Ok(Outcome::NothingToDo);
        };
        let outcome = send_mail::carry_out(app, &mail, None, &at_work).await?;
        if mail.is_test
            && outcome == Outcome::Done
            && SandboxFate::of(&mail.recipient.email) == SandboxFate::Bounced
        {
            // As with a relay: taken first, returned later.
            let (code, enhanced, words) = SandboxFate::BOUNCE;
            let returned = || app.store.return_mail(mail.id, code, enhanced, words);
            until_recorded("a bounce", Row::Mail(mail.id), returned).await?;
        }
        Ok(outcome)
    }
}
