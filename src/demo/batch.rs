//! Follows a batch: what its request was answered, how far its mails are, its webhook, and where the link in it leads.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    api::{Answer, BatchStory},
    bar::Bar,
    play::{Play, Tally},
    scene::get,
    step::Tone,
    watch::MAIL_TIMEOUT,
};
use crate::mail::{BatchState, MailState};

/// Between two looks at a batch.
const POLL_INTERVAL: Duration = Duration::from_millis(40);

impl Play<'_> {
    /// Follows a batch of so many mails to its end.
    pub(super) async fn batch(
        &mut self,
        answer: &Answer,
        mails: u64,
        tally: &mut Tally,
    ) -> anyhow::Result<Result<(), String>> {
        let id = answer.body["data"]["batch_id"].as_str().context("the answer has no batch_id")?;
        let listed = |name: &str| answer.body["data"][name].as_array().map_or(0, Vec::len);
        let (queued, not_found) = (listed("queued"), listed("not_found"));
        let note = format!("{queued} queued, {not_found} not found");
        self.terminal.remark("answered", Tone::Plain, &note)?;
        self.terminal.remark("batch", Tone::Plain, id)?;

        let caught_before = self.catcher.count();
        let mut bar = Bar::of(mails);
        let followed = self.follow_batch(id, &mut bar).await;
        bar.end(self.terminal)?;
        let batch = followed?;
        let sent = batch.in_state(MailState::Sent);
        if batch.state != BatchState::Finished || sent != mails {
            return Ok(Err(format!(
                "announced {mails} sent, but {sent} are and the batch is {}",
                batch.state
            )));
        }
        tally.delivered += usize::try_from(sent)?;
        // Each was in the catcher before the daemon knew that it was sent.
        let caught = self.catcher.count();
        if caught < caught_before + mails {
            return Ok(Err(format!("the catcher has only {} of {mails}", caught - caught_before)));
        }
        let note = format!("{mails} mails, up to {}/mails/{caught}", self.addresses.catcher_page);
        self.terminal.remark("caught", Tone::Plain, &note)?;
        match self.batch_webhook(id, tally).await? {
            Ok(link) => self.results(&link, mails).await,
            Err(missing) => Ok(Err(missing)),
        }
    }

    /// Looks again and again until the batch is over, or nothing of it moves any more.
    async fn follow_batch(&mut self, id: &str, bar: &mut Bar) -> anyhow::Result<BatchStory> {
        let (mut moved_at, mut settled_before) = (Instant::now(), 0);
        loop {
            let batch = self.api.batch(id).await?;
            let settled = batch.settled();
            bar.show(self.terminal, settled)?;
            if settled != settled_before {
                (moved_at, settled_before) = (Instant::now(), settled);
            }
            if !batch.state.is_open() || moved_at.elapsed() > MAIL_TIMEOUT {
                return Ok(batch);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits for the webhook of a batch that succeeded, and returns the link in it.
    async fn batch_webhook(&mut self, id: &str, tally: &mut Tally) -> anyhow::Result<Result<String, String>> {
        let webhook = match self.receiver.next().await {
            Ok(webhook) => webhook,
            Err(missing) => return Ok(Err(missing.to_string())),
        };
        let Some(body) = webhook.body(&self.addresses.secret) else {
            return Ok(Err("the signature of the batch's webhook is wrong".to_owned()));
        };
        let (Some("success"), Some(of), Some(link)) =
            (body["status"].as_str(), body["batch_id"].as_str(), body["link"].as_str())
        else {
            return Ok(Err(format!("announced a success, the webhook says {body}")));
        };
        if of != id {
            return Ok(Err(format!("the webhook is of another batch: {of}")));
        }
        let note = format!("success, and the signature is right ({})", webhook.id());
        self.terminal.remark("webhook", Tone::Good, &note)?;
        self.terminal.remark("of batch", Tone::Plain, of)?;
        tally.told += 1;
        Ok(Ok(link.to_owned()))
    }

    /// Goes where the webhook's link leads.
    async fn results(&mut self, link: &str, mails: u64) -> anyhow::Result<Result<(), String>> {
        let Some(path) = self.api.path_of(link) else {
            return Ok(Err(format!("the webhook's link leads elsewhere: {link}")));
        };
        self.terminal.comment("Where the link in the webhook leads: what became of each mail")?;
        let request = get(path);
        let answer = self.api.send(&request).await?;
        self.terminal.request(request.method.as_str(), path, answer.status, "")?;
        let results = &answer.body["data"];
        let listed = results["mails"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_sent = |mail: &&Value| mail["mailing_status"] == MailState::Sent.as_str();
        let sent = listed.iter().filter(is_sent).count();
        let status = results["status"].as_str().unwrap_or("nothing");
        let said = format!("{status}, {} mails, {sent} of them sent", listed.len());
        if status != BatchState::Finished.as_str() || u64::try_from(sent)? != mails {
            return Ok(Err(format!("announced {mails} sent, the results say {said}")));
        }
        self.terminal.remark("says", Tone::Plain, &said)?;
        Ok(Ok(()))
    }
}
