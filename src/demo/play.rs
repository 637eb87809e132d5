//! Performs the sample shop's scenes: sends each request, follows its mails, and compares with what was announced.

use anyhow::Context;

use super::{
    api::{Answer, Api, Story},
    catcher::Catcher,
    receiver::Receiver,
    scene::{Act, Ending, FoundBy, MailEnding, Scene},
    stage::Addresses,
    step::Tone,
    terminal::Terminal,
    watch,
};
use crate::{
    callback::Secret,
    mail::{AttemptOutcome, MailState},
};

/// What a performance needs.
pub(super) struct Play<'a> {
    pub(super) api: &'a Api,
    pub(super) catcher: &'a Catcher,
    pub(super) receiver: &'a mut Receiver,
    pub(super) addresses: &'a Addresses,
    pub(super) terminal: &'a mut Terminal,
    /// What signs the callbacks to the receiver, once it is registered.
    pub(super) secret: Option<Secret>,
}

/// What came of all the requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) delivered: usize,
    pub(super) told: usize,
    refused: usize,
    not_accepted: usize,
    missing: Vec<String>,
}

impl Play<'_> {
    /// Performs the scenes, one request after the other.
    ///
    /// # Errors
    /// When a request gets no answer. What ends otherwise than announced is in the tally.
    pub(super) async fn perform(&mut self, scenes: Vec<Scene>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for scene in scenes {
            self.terminal.heading(scene.title)?;
            for act in scene.acts {
                if !matches!(act.ending, Ending::Taken) {
                    self.terminal.comment(act.said)?;
                }
                if let Err(differs) = self.act(&act, &mut tally).await? {
                    self.terminal.remark("missing", Tone::Bad, &differs)?;
                    tally.missing.push(format!("{}: {differs}", act.said));
                }
            }
        }
        Ok(tally)
    }

    async fn act(&mut self, act: &Act, tally: &mut Tally) -> anyhow::Result<Result<(), String>> {
        let answer = self.api.send(&act.request).await?;
        let note = if matches!(act.ending, Ending::Taken) { act.said } else { "" };
        let request = &act.request;
        self.terminal.request(request.method.as_str(), &request.path, answer.status, note)?;
        let is_taken = answer.status.is_success();
        match &act.ending {
            Ending::Refused(status) if answer.status == *status => {
                self.terminal.remark(
                    "refused",
                    Tone::Plain,
                    &format!("as announced: {}", message(&answer)),
                )?;
                tally.not_accepted += 1;
                Ok(Ok(()))
            }
            Ending::Refused(status) => Ok(Err(format!("announced {status}, got {}", answer.status))),
            _ if !is_taken => Ok(Err(format!("announced as taken, but: {}", message(&answer)))),
            Ending::Taken => Ok(Ok(())),
            Ending::Replayed if answer.replayed => {
                self.terminal.remark(
                    "replayed",
                    Tone::Plain,
                    "the first answer again, and no second mail",
                )?;
                Ok(Ok(()))
            }
            Ending::Replayed => {
                Ok(Err("announced as the first answer again, but it is a new one".to_owned()))
            }
            Ending::Registered => {
                let secret = answer.body.pointer("/data/secret").and_then(serde_json::Value::as_str);
                self.secret = secret.and_then(Secret::parse);
                Ok(self.secret.as_ref().map(drop).ok_or("the answer has no secret".to_owned()))
            }
            Ending::Batch(mails) => self.batch(&answer, *mails, tally).await,
            Ending::Says(pointer, announced) => self.says(&answer, pointer, announced),
            Ending::Mail(found_by, ending) => self.mails(&answer, found_by, *ending, tally).await,
            Ending::MailAndCallback(found_by, event) => {
                match self.mails(&answer, found_by, MailEnding::Delivered, tally).await? {
                    Ok(()) => self.callback(event, tally).await,
                    missing => Ok(missing),
                }
            }
        }
    }

    async fn mails(
        &mut self,
        answer: &Answer,
        found_by: &FoundBy,
        ending: MailEnding,
        tally: &mut Tally,
    ) -> anyhow::Result<Result<(), String>> {
        let ids = match found_by {
            FoundBy::Answer(pointer) => {
                let id = answer.body.pointer(pointer).and_then(serde_json::Value::as_str);
                vec![id.with_context(|| format!("the answer has no {pointer}"))?.to_owned()]
            }
            FoundBy::Query(query) => {
                if let Some(said) = answer.body["message"].as_str() {
                    self.terminal.remark("answered", Tone::Plain, &format!("\"{said}\""))?;
                }
                self.api.mails(query).await?.into_iter().map(|mail| mail.id).collect()
            }
        };
        if ids.is_empty() {
            return Ok(Err("no mail came of it".to_owned()));
        }
        for id in ids {
            let story = watch::follow(self.terminal, self.api, &id).await?;
            if let Err(differs) = compare(&story, ending) {
                return Ok(Err(differs));
            }
            match ending {
                MailEnding::Refused(code) => {
                    self.terminal.remark(
                        "expected",
                        Tone::Plain,
                        &format!("announced as refused with {code}"),
                    )?;
                    tally.refused += 1;
                }
                MailEnding::TriedOut => {
                    if show_caught(self.terminal, self.catcher, self.addresses, &story)? {
                        return Ok(Err("a mail that is only tried out reached the relay".to_owned()));
                    }
                    let note = "the sandbox took it: the relay heard nothing of it";
                    self.terminal.remark("tried out", Tone::Plain, note)?;
                }
                MailEnding::Delivered | MailEnding::DeliveredLater => {
                    if !show_caught(self.terminal, self.catcher, self.addresses, &story)? {
                        return Ok(Err("the relay took it, but the catcher does not have it".to_owned()));
                    }
                    tally.delivered += 1;
                }
            }
        }
        Ok(Ok(()))
    }
}

impl Play<'_> {
    /// Shows what an answer says at a place, and compares it with what was announced.
    fn says(
        &mut self,
        answer: &Answer,
        pointer: &str,
        announced: &str,
    ) -> anyhow::Result<Result<(), String>> {
        let said = match answer.body.pointer(pointer) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "nothing".to_owned(),
        };
        let name = pointer.rsplit('/').next().unwrap_or_default();
        if said != announced {
            return Ok(Err(format!("announced {name} {announced}, got {said}")));
        }
        self.terminal.remark("says", Tone::Plain, &format!("{name} {said}"))?;
        Ok(Ok(()))
    }

    /// Waits for a callback at the shop's receiver, checks its signature and compares its event with the announced.
    async fn callback(&mut self, announced: &str, tally: &mut Tally) -> anyhow::Result<Result<(), String>> {
        let secret = self.secret.as_ref().context("no receiver is registered")?;
        let callback = match self.receiver.next().await {
            Ok(callback) => callback,
            Err(missing) => return Ok(Err(missing.to_string())),
        };
        match callback.event(secret) {
            Some(event) if event == announced => {
                let note = format!("{event}, and the signature is right ({})", callback.id());
                self.terminal.remark("callback", Tone::Good, &note)?;
                tally.told += 1;
                Ok(Ok(()))
            }
            Some(event) => Ok(Err(format!("announced a callback of {announced}, got {event}"))),
            None => Ok(Err("the signature of the callback is wrong".to_owned())),
        }
    }
}

/// Shows where a mail can be looked at; false when the catcher does not have it.
pub(super) fn show_caught(
    terminal: &mut Terminal,
    catcher: &Catcher,
    addresses: &Addresses,
    story: &Story,
) -> anyhow::Result<bool> {
    let is_it = |caught: &&std::sync::Arc<super::catcher::CaughtMail>| {
        caught.recipient.eq_ignore_ascii_case(&story.recipient)
            && caught.message_id() == Some(story.message_id.as_str())
    };
    let mails = catcher.mails();
    let Some(caught) = mails.iter().rev().find(is_it) else { return Ok(false) };
    let note = format!("\"{}\" {}/mails/{}", caught.subject(), addresses.catcher_page, caught.number);
    terminal.remark("caught", Tone::Plain, &note)?;
    Ok(true)
}

/// Compares what became of a mail with what was announced.
fn compare(story: &Story, announced: MailEnding) -> Result<(), String> {
    let first = story.attempts.first().map(|attempt| attempt.outcome);
    let last_code = story.attempts.last().and_then(|attempt| attempt.code);
    let is_as_announced = match announced {
        MailEnding::Delivered => story.state == MailState::Sent,
        MailEnding::DeliveredLater => {
            story.state == MailState::Sent
                && first == Some(AttemptOutcome::Transient)
                && story.attempts.len() > 1
        }
        MailEnding::Refused(code) => story.state == MailState::Failed && last_code == Some(code),
        MailEnding::TriedOut => story.state == MailState::Sent && story.test,
    };
    if is_as_announced {
        return Ok(());
    }
    let state = story.state;
    let said = if state.is_settled() {
        format!("is {state}")
    } else {
        format!("is still {state} after {} s", watch::MAIL_TIMEOUT.as_secs())
    };
    Err(format!("mail {} {said}; announced: {announced:?}", story.id))
}

/// What an answer says for people, in whichever envelope.
fn message(answer: &Answer) -> String {
    let said = ["/message", "/detail", "/error/message", "/errors/0/title"]
        .into_iter()
        .find_map(|pointer| answer.body.pointer(pointer)?.as_str());
    said.unwrap_or("no message").to_owned()
}

impl Tally {
    /// Shows the sum.
    pub(super) fn show(&self, terminal: &mut Terminal) -> anyhow::Result<()> {
        let Self { delivered, told, refused, not_accepted, missing } = self;
        let sum = format!(
            "{delivered} mails delivered, {refused} refused, {told} callbacks, {not_accepted} bad requests"
        );
        let verdict = match missing.len() {
            0 => "all as announced".to_owned(),
            count => format!("{count} NOT as announced"),
        };
        terminal.heading(&format!("{sum}: {verdict}."))?;
        Ok(())
    }

    /// Whether all came as announced.
    ///
    /// # Errors
    /// What did not.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.missing.is_empty(),
            "not all came as announced:\n  {}",
            self.missing.join("\n  ")
        );
        Ok(())
    }
}
