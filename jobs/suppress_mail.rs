//! Keeps a claimed mail back whose recipient was suppressed after it was recorded: asked with the claim, right before the
//! mail would go.
//!
//! `send_mail` calls it. It settles the mail, or gives the claim back when the database does not take that now.

use std::time::Duration;

use super::job::Outcome;
use crate::{
    app::App,
    mail::{Mail, SuppressionReason},
    store::{Settled, StoreError},
    telemetry::{METRICS, metrics::MailLabels},
    worker::AtWork,
};

/// A mail whose suppression could not be recorded is looked at again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Settles a mail that is kept back, without an attempt.
pub(super) async fn keep_back(
    app: &App,
    mail: &Mail,
    reason: SuppressionReason,
    at_work: &AtWork<'_>,
) -> anyhow::Result<Outcome> {
    let settled = app.store.suppress_mail(mail, reason, app.worker.id).await.inspect_err(|error| {
        if StoreError::may_pass(error) {
            at_work.puts_off(AGAIN);
        }
    })?;
    at_work.is_over();
    match settled {
        Settled::Now(state) => {
            let labels = MailLabels { lane: mail.lane.as_str(), state: state.as_str() };
            METRICS.settled.get_or_create(&labels).inc();
            tracing::info!(mail = %mail.id, merchant = %mail.merchant, %reason, "suppressed");
        }
        Settled::TooLate => drop(METRICS.settled_too_late.inc()),
    }
    Ok(Outcome::Done)
}
