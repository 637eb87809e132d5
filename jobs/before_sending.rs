//! What is asked of a claimed mail before anything else: whether it is still to be sent. Whoever says no settles it here,
//! without an attempt.
//!
//! Its facts, and whether its recipient is suppressed, came with the claim, so that asking takes no other round trip; see
//! `store/mails/facts.rs`. The rules are those of its family: see [`shop::reasons`](crate::shop::reasons).

use super::job::{Outcome, Row, until_recorded};
use crate::{
    app::App,
    mail::{Mail, Timestamp},
    shop::reasons,
    store::{Settled, Stop},
    worker::AtWork,
};

/// Why a mail is not sent although its turn has come.
pub(super) fn why_not(mail: &Mail, now: Timestamp) -> Option<Stop> {
    if mail.recipient.email.is_nobodys() {
        return Some(Stop::ToNobody);
    }
    if let Some(reason) = mail.suppressed {
        return Some(Stop::Suppressed(reason));
    }
    if mail.schedule.expires_at.is_some_and(|at| at <= now) {
        return Some(Stop::Expired);
    }
    mail.facts.as_ref().and_then(|facts| reasons::lapsed(facts, now)).map(Stop::Lapsed)
}

/// Settles a mail that is not sent.
pub(super) async fn stop(
    app: &App,
    mail: &Mail,
    why: Stop,
    at_work: &AtWork,
) -> anyhow::Result<(Outcome, Settled)> {
    let stopped = || app.store.stop_mail(mail, app.worker.id, why);
    let settled = until_recorded("the end of a mail that is not sent", Row::Mail(mail.id), stopped).await?;
    at_work.note_settled();
    let (state, reason) = match why {
        Stop::Lapsed(reason) => (why.state(), Some(reason.as_str())),
        Stop::Suppressed(reason) => (why.state(), Some(reason.as_str())),
        Stop::Expired | Stop::ToNobody => (why.state(), None),
    };
    tracing::info!(mail = %mail.id, merchant = %mail.merchant, state = %state, reason, "not sent");
    Ok((Outcome::Done, settled))
}
