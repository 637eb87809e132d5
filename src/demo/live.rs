//! Shows the mails that people send themselves while the demonstration stays up.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use super::{
    api::{Api, ListedMail, PAGE},
    catcher::Catcher,
    play,
    stage::Addresses,
    step::Tone,
    terminal::Terminal,
    watch,
};
use crate::{clock, mail::MailState};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Ids are in the order in which mails were made, not in which they were committed: a later look may find an older id.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// How many mails are followed at a time; the others wait their turn.
const FOLLOWED: usize = 50;

/// The mails that are being followed.
#[derive(Default)]
struct Live {
    /// Every mail up to this id is known.
    after: String,
    /// Known mails with later ids.
    known: BTreeSet<String>,
    /// How many steps were shown of each mail that is not settled.
    open: BTreeMap<String, usize>,
    /// The mail that the last line was about.
    last: String,
}

/// Shows mails until it is dropped.
///
/// # Errors
/// When the daemon does not answer any more or nobody reads the output.
pub(super) async fn show(
    terminal: &mut Terminal,
    api: &Api,
    catcher: &Catcher,
    addresses: &Addresses,
) -> anyhow::Result<Infallible> {
    let mut live = Live::default();
    live.take(&api.mails("").await?);
    live.open.clear();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        live.take(&api.mails(&live.query()).await?);
        let followed: Vec<_> = live.open.keys().take(FOLLOWED).cloned().collect();
        for id in followed {
            live.follow(terminal, api, catcher, addresses, &id).await?;
        }
    }
}

impl Live {
    fn query(&self) -> String {
        if self.after.is_empty() { String::new() } else { format!("after={}", self.after) }
    }

    /// Takes note of mails, and forgets the ids of those that no later look will find again.
    fn take(&mut self, mails: &[ListedMail]) {
        for mail in mails {
            if self.known.insert(mail.id.clone()) {
                self.open.insert(mail.id.clone(), 0);
            }
        }
        let now = clock::now();
        let is_full = mails.len() == PAGE;
        let old = mails.iter().rfind(|mail| is_full || now.since(mail.recorded_at) > STRAGGLERS);
        if let Some(old) = old {
            self.after.clone_from(&old.id);
            self.known.retain(|id| *id > old.id);
        }
    }

    async fn follow(
        &mut self,
        terminal: &mut Terminal,
        api: &Api,
        catcher: &Catcher,
        addresses: &Addresses,
        id: &str,
    ) -> anyhow::Result<()> {
        let story = api.story(id).await?;
        let steps = watch::steps(&story);
        let shown = self.open.get(id).copied().unwrap_or(0);
        if shown < steps.len() && self.last != id {
            terminal.comment(&format!("To {}", story.recipient))?;
            id.clone_into(&mut self.last);
        }
        for step in steps.iter().skip(shown) {
            terminal.step(step)?;
        }
        self.open.insert(id.to_owned(), steps.len().max(shown));
        if story.state.is_settled() {
            self.open.remove(id);
            if story.state == MailState::Sent && !play::show_caught(terminal, catcher, addresses, &story)? {
                terminal.remark("caught", Tone::Plain, "and forgotten since: too many came after it")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(id: &str, age: Duration) -> ListedMail {
        ListedMail { id: id.to_owned(), recorded_at: clock::now() - age }
    }

    #[test]
    fn a_mail_that_was_committed_late_is_still_found_and_each_is_taken_once() {
        let mut live = Live::default();
        live.take(&[mail("a", Duration::from_secs(60)), mail("c", Duration::ZERO)]);
        assert_eq!(live.query(), "after=a");
        live.open.clear();
        live.take(&[mail("b", Duration::ZERO), mail("c", Duration::ZERO)]);
        assert_eq!(live.open.keys().collect::<Vec<_>>(), ["b"]);
    }
}
