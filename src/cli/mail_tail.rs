//! `postroom mail tail`: shows mails as they come, and each change of their state, until it is stopped.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    context::{Context, check_merchant},
    output::write_out,
    screen::{Screen, clean},
    table::{Tone, cut},
};
use crate::{
    clock,
    mail::{MailEvent, MailId, MailState, MerchantId, Timestamp},
    store::{MailRecord, Store},
};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A mail may be committed so much later than its id was made.
const STRAGGLERS: Duration = Duration::from_secs(10);
/// The most mails that come between two looks, and that are followed until they are settled.
const MOST: u32 = 2_000;
const FOLLOWED: usize = 2_000;

/// Which mails are followed.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only mails of this merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// Only changes to this state.
    #[arg(long)]
    state: Option<MailState>,
    /// How many of the newest mails to begin with.
    #[arg(long, default_value_t = 10)]
    lines: u32,
}

/// What was shown of a mail.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    state: MailState,
    attempt: u32,
    recorded_at: Timestamp,
}

impl Shown {
    fn of(mail: &MailRecord) -> Self {
        Self { state: mail.state, attempt: mail.attempt, recorded_at: mail.recorded_at }
    }

    /// Whether it may come into another state: a mail that failed may be retried.
    fn may_change(&self) -> bool {
        !self.state.is_settled() || self.state.after(MailEvent::Retried).is_some()
    }

    fn is_as(&self, mail: &MailRecord) -> bool {
        // A claim changes the number of the attempt, its end the state.
        self.state == mail.state && (self.attempt == mail.attempt || mail.state == MailState::Sending)
    }
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let store = context.store().await?;
    check_merchant(&store, arguments.merchant.as_ref()).await?;
    let mut tail =
        Tail { json: context.json, screen: Screen::of_standard_output(), seen: BTreeMap::new(), arguments };
    tail.begin(&store).await?;
    loop {
        sleep(POLL_INTERVAL).await;
        tail.look(&store).await?;
    }
}

struct Tail {
    arguments: Arguments,
    json: bool,
    screen: Screen,
    seen: BTreeMap<MailId, Shown>,
}

impl Tail {
    async fn begin(&mut self, store: &Store) -> anyhow::Result<()> {
        // Those that are on their way already are followed too.
        let merchant = self.arguments.merchant.clone();
        let newest = store.newest_mails(merchant.as_ref(), MOST).await?;
        for (place, mail) in newest.iter().enumerate().rev() {
            self.seen.insert(mail.id, Shown::of(mail));
            if place < self.arguments.lines as usize {
                self.show(mail)?;
            }
        }
        Ok(())
    }

    async fn look(&mut self, store: &Store) -> anyhow::Result<()> {
        let old = clock::now() - STRAGGLERS;
        let after = self.seen.iter().rev().find(|(_, shown)| shown.recorded_at < old).map(|(id, _)| *id);
        let merchant = self.arguments.merchant.clone();
        let came = store.mails_after(merchant.as_ref(), after, MOST).await?;
        let open = self.seen.iter().rev().filter(|(_, shown)| shown.may_change());
        let open: Vec<_> = open.take(FOLLOWED).map(|(id, _)| *id).collect();
        let followed = if open.is_empty() { Vec::new() } else { store.mails_with_ids(&open).await? };
        for mail in followed.into_iter().chain(came) {
            let is_known = self.seen.get(&mail.id).is_some_and(|shown| shown.is_as(&mail));
            if !is_known {
                self.seen.insert(mail.id, Shown::of(&mail));
                self.show(&mail)?;
            }
        }
        self.forget(old);
        Ok(())
    }

    /// Forgets mails that are old and change no more, except for the last: the next look begins with it.
    fn forget(&mut self, old: Timestamp) {
        let last_old = self.seen.iter().rev().find(|(_, shown)| shown.recorded_at < old).map(|(id, _)| *id);
        self.seen.retain(|id, shown| Some(*id) == last_old || shown.recorded_at >= old || shown.may_change());
        while self.seen.len() > FOLLOWED + MOST as usize {
            self.seen.pop_first();
        }
    }

    fn show(&self, mail: &MailRecord) -> anyhow::Result<()> {
        if self.arguments.state.is_some_and(|state| state != mail.state) {
            return Ok(());
        }
        let at = mail.settled_at.or(mail.claimed_at).unwrap_or(mail.recorded_at);
        if self.json {
            return write_out(&format!("{}\n", object(at, mail)));
        }
        if !self.screen.is_terminal {
            return write_out(&format!("{}\n", fields(at, mail).join("\t")));
        }
        let state = format!("{:<9}", mail.state.as_str());
        let line = cut(&format!("{at}  {}  {state}  {}", mail.id, words(mail)), self.screen.width);
        write_out(&format!(
            "{}\n",
            line.replacen(&state, &tone(mail.state).paint(&state, self.screen.colours), 1)
        ))
    }
}

/// A mail for programs.
fn object(at: Timestamp, mail: &MailRecord) -> Value {
    json!({
        "at": at,
        "id": mail.id,
        "merchant": mail.merchant,
        "state": mail.state,
        "lane": mail.lane,
        "template": mail.template,
        "attempt": mail.attempt,
        "route": mail.route,
        "error": mail.error,
        "test": mail.is_test,
    })
}

/// A mail in a pipe. The last is what a list notes of it.
fn fields(at: Timestamp, mail: &MailRecord) -> [String; 8] {
    let test = mail.is_test.then_some("test");
    let note: Vec<_> = [test, mail.error.as_deref()].into_iter().flatten().collect();
    [
        at.to_string(),
        mail.id.to_string(),
        mail.state.to_string(),
        mail.merchant.to_string(),
        mail.lane.to_string(),
        clean(&mail.template),
        clean(mail.route.as_deref().unwrap_or_default()),
        clean(&note.join(": ")),
    ]
}

/// What a terminal shows after a mail's state. The end is cut off where it is narrow, so the mark of a test comes first.
fn words(mail: &MailRecord) -> String {
    let test = mail.is_test.then_some("test");
    let (merchant, template) = (mail.merchant.as_str(), mail.template.as_str());
    let route = mail.route.as_deref().unwrap_or_default();
    let error = mail.error.as_deref().unwrap_or_default();
    let words: Vec<_> = test.into_iter().chain([merchant, template, route, error]).collect();
    clean(words.join("  ").trim_end())
}

/// How a state looks.
pub(super) const fn tone(state: MailState) -> Tone {
    match state {
        MailState::Queued | MailState::Sending => Tone::Plain,
        MailState::Sent => Tone::Good,
        MailState::Deferred | MailState::Held => Tone::Warning,
        MailState::Failed | MailState::Bounced | MailState::Expired => Tone::Bad,
        MailState::Suppressed | MailState::Cancelled => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{NewMail, Origin},
        store::{Recording, webhooks_fixture as fixture},
    };

    #[tokio::test]
    async fn a_mail_that_is_only_tried_out_is_marked_in_every_form() {
        let (store, _folder) = fixture::open().await;
        fixture::fill(&store, &fixture::tea()).await;
        for is_test in [true, false] {
            let mail = NewMail { is_test, ..fixture::new_mail(&fixture::tea(), Origin::default()) };
            let id = mail.id;
            store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
            let mut mail = store.mail(None, id).await.unwrap().unwrap();
            let at = mail.recorded_at;
            assert_eq!(object(at, &mail)["test"], is_test);
            assert_eq!(fields(at, &mail)[7], if is_test { "test" } else { "" });
            mail.error = Some("550 no".to_owned());
            assert_eq!(fields(at, &mail)[7], if is_test { "test: 550 no" } else { "550 no" });
            assert_eq!(words(&mail).starts_with("test  tea  welcome"), is_test, "{}", words(&mail));
        }
    }
}
