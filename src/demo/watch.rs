//! What happened to a mail, as steps for people, and following a mail until it is settled.

use std::time::Duration;

use super::{
    api::{Api, Attempt, Story},
    step::{Step, Tone},
    terminal::Terminal,
};
use crate::mail::{AttemptOutcome, MailState, Timestamp};

/// Between two looks at a mail that is followed.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A mail of the story that takes longer is missing.
pub(super) const MAIL_TIMEOUT: Duration = Duration::from_secs(30);

/// Follows a mail and shows each step when it is known. Ends when the mail is settled, or when it took too long.
pub(super) async fn follow(terminal: &mut Terminal, api: &Api, id: &str) -> anyhow::Result<Story> {
    let deadline = tokio::time::Instant::now() + MAIL_TIMEOUT;
    let mut shown = 0;
    loop {
        let story = api.story(id).await?;
        let steps = steps(&story);
        for step in steps.iter().skip(shown) {
            terminal.step(step)?;
        }
        shown = shown.max(steps.len());
        if story.state.is_settled() || tokio::time::Instant::now() > deadline {
            return Ok(story);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// All that is known of a mail's way so far. As the mail goes on, steps are only added.
pub(super) fn steps(story: &Story) -> Vec<Step> {
    let mut steps = vec![Step {
        stage: "recorded",
        tone: Tone::Plain,
        after: Duration::ZERO,
        note: format!("mail {}", story.id),
    }];
    for attempt in &story.attempts {
        if attempt.number == 1 && attempt.phase.as_deref() != Some("render") {
            steps.push(rendered(story, attempt));
        }
        steps.push(attempted(story, attempt));
    }
    let said_by_attempt = matches!(story.state, MailState::Sent | MailState::Failed | MailState::Held);
    if let (Some(at), false) = (story.settled_at, said_by_attempt) {
        let after = at.since(story.recorded_at);
        steps.push(Step { stage: story.state.as_str(), tone: Tone::Bad, after, note: String::new() });
    }
    steps
}

fn rendered(story: &Story, attempt: &Attempt) -> Step {
    // The attempt began when a worker took the mail up; what was not spent with the relay was spent on rendering.
    let to_the_relay = match story.settled_at {
        Some(settled_at) if story.attempts.len() == 1 => settled_at - Duration::from_millis(attempt.millis),
        _ => attempt.at,
    };
    let after = to_the_relay.max(attempt.at).since(story.recorded_at);
    Step { stage: "rendered", tone: Tone::Plain, after, note: format!("template {}", story.template) }
}

fn attempted(story: &Story, attempt: &Attempt) -> Step {
    let next = story.attempts.iter().find(|next| next.number == attempt.number + 1);
    let is_last = next.is_none();
    let (stage, tone) = match (attempt.outcome, story.state) {
        (AttemptOutcome::Accepted, _) => ("delivered", Tone::Good),
        (AttemptOutcome::Permanent, _) => ("refused", Tone::Bad),
        (_, MailState::Failed) if is_last => ("given up", Tone::Bad),
        (_, MailState::Held) if is_last => ("held", Tone::Bad),
        (AttemptOutcome::Transient | AttemptOutcome::Unknown, _) => ("deferred", Tone::Waiting),
    };
    let ended_at = match story.settled_at {
        Some(settled_at) if is_last => settled_at,
        _ => attempt.at + Duration::from_millis(attempt.millis),
    };
    let mut note = format!("attempt {}: {}", attempt.number, reply(attempt));
    let again_at: Option<Timestamp> = next.map(|next| next.at).or(story.due_at);
    if let (Tone::Waiting, Some(again_at)) = (tone, again_at) {
        note.push_str(&format!("; the next in {} ms", again_at.since(ended_at).as_millis()));
    }
    Step { stage, tone, after: ended_at.since(story.recorded_at), note }
}

/// The relay's words with its codes.
fn reply(attempt: &Attempt) -> String {
    let code = attempt.code.map(|code| format!("{code} ")).unwrap_or_default();
    match &attempt.enhanced_code {
        Some(enhanced) if !attempt.reply.starts_with(enhanced.as_str()) => {
            format!("{code}{enhanced} {}", attempt.reply)
        }
        _ => format!("{code}{}", attempt.reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn attempt(number: u32, millisecond: u32, outcome: &str, code: u16) -> Value {
        json!({"number": number, "at": format!("2026-11-21T10:00:00.{millisecond:03}Z"), "phase": "rcpt_to",
            "outcome": outcome, "code": code, "enhanced_code": "4.7.1", "reply": "Later", "millis": 2})
    }

    fn told(
        state: &str,
        due: Option<&str>,
        settled: Option<&str>,
        attempts: &[Value],
    ) -> Vec<(&'static str, u128)> {
        let story = json!({"id": "m", "state": state, "template": "t", "recipient": "a@example.net",
            "message_id": "m@example.net", "recorded_at": "2026-11-21T10:00:00.000Z", "due_at": due,
            "settled_at": settled, "attempts": attempts});
        let story = serde_json::from_value(story).unwrap();
        steps(&story).iter().map(|step| (step.stage, step.after.as_millis())).collect()
    }

    #[test]
    fn a_mail_that_is_put_off_and_then_taken_only_adds_steps() {
        let first = attempt(1, 3, "transient", 451);
        let second = attempt(2, 500, "accepted", 250);
        let (due, done) = ("2026-11-21T10:00:00.400Z", "2026-11-21T10:00:00.509Z");
        let recorded = told("queued", Some(due), None, &[]);
        let waiting = told("deferred", Some(due), None, std::slice::from_ref(&first));
        let sent = told("sent", None, Some(done), &[first, second]);
        assert_eq!(recorded, [("recorded", 0)]);
        assert_eq!(waiting, [("recorded", 0), ("rendered", 3), ("deferred", 5)]);
        assert_eq!(sent, [("recorded", 0), ("rendered", 3), ("deferred", 5), ("delivered", 509)]);
    }

    #[test]
    fn the_last_attempt_says_how_a_mail_failed() {
        let settled = Some("2026-11-21T10:00:00.010Z");
        let refused = told("failed", None, settled, &[attempt(1, 3, "permanent", 550)]);
        let given_up = told("failed", None, settled, &[attempt(1, 3, "transient", 451)]);
        assert_eq!(refused.last(), Some(&("refused", 10)));
        assert_eq!(given_up.last(), Some(&("given up", 10)));
        assert_eq!(told("cancelled", None, settled, &[]).last(), Some(&("cancelled", 10)));
    }
}
