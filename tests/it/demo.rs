//! `postroom demo` as a newcomer runs it: a real process, told once or until it is stopped.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// The demonstration, with a folder of its own for what it leaves behind, and no configuration but `extra`.
fn demo(temporary: &Path, extra: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.arg("demo").env_clear().env("TMPDIR", temporary).envs(extra.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn told(output: Output) -> String {
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{error}", output.status);
    out
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Asserts that the words are there, in this order, however they are set in columns and lines.
#[track_caller]
fn assert_in_order(told: &str, expected: &[&str]) {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = plain(told);
    let mut rest = words.as_str();
    for expected in expected {
        let wanted = plain(expected);
        let Some(position) = rest.find(&wanted) else {
            panic!("`{expected}` is missing or too early in:\n{told}")
        };
        rest = &rest[position + wanted.len()..];
    }
}

#[test]
fn the_whole_way_of_a_mail_is_told_once_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let told = told(demo(temporary.path(), &[]).arg("--once").output().unwrap());
    assert_in_order(
        &told,
        &[
            "ready after",
            "API       http://127.0.0.1:",
            "Catcher   http://127.0.0.1:",
            "Token     pr_",
            "Account   tea-house-shop",
            "curl http://127.0.0.1:",
            "PUT  /api/v1/orders/ord_1001 -> 201",
            "PUT  /api/v1/templates/voucher -> 201",
            // A cart link, answered in the merchant's language; not for a draft.
            "POST /api/public/v1/subscriptions/sub_1/send_email -> 202",
            "\"Cart-Link-E-Mail erfolgreich gesendet\"",
            "delivered",
            "caught",
            "sub_2/send_email -> 422",
            "Email not allowed for subscription in current status",
            // A receiver of the shop's, but not one that leads inside.
            "POST /webhooks -> 201",
            "POST /webhooks -> 422",
            "must not point to a private, local or otherwise special address",
            // A reminder, and the callback that tells of it.
            "POST /abandoned-carts/cart_1/reminder -> 200",
            "\"Reminder sent successfully\"",
            "\"Your tea is waiting\"",
            "callback",
            "reminder.sent, and the signature is right",
            "POST /abandoned-carts/cart_1/reminder -> 422",
            // An order's mail again; its workflow follows the mail.
            "-> 202",
            "template order_confirmation",
            "caught",
            "order.email.completed, and the signature is right",
            "GET  /ordersv2/ord_1001 -> 200",
            "emailConfirmationStatus COMPLETED",
            "-> 400",
            // Ann's mail is taken at once, and a repeated request is not a second mail.
            "POST /mail -> 200",
            "recorded",
            "rendered",
            "delivered",
            "attempt 1: 250 2.0.0",
            "\"Ann, a voucher for you\"",
            "the first answer again",
            "\"Ann, your first pot is ours\"",
            // Ben's is put off and then taken, Eve's is refused.
            "deferred",
            "attempt 1: 451 4.7.1",
            "attempt 2: 250 2.0.0",
            "refused",
            "attempt 1: 550 5.1.1",
            "announced as refused with 550",
            "POST /mail -> 422",
            // A token in test mode: no relay hears of it.
            "Sandbox",
            "POST /mail -> 200",
            "250 2.0.0 Ok: taken by the sandbox",
            "the sandbox took it",
            // Five hundred by one request: counted until all are sent, told of by a webhook, and listed.
            "POST /api/v1/import -> 200",
            "accepted 500",
            "POST /mails -> 200",
            "500 queued, 1 not found",
            "batch",
            "sent",
            "######################## 500/500",
            "500 mails, up to http://127.0.0.1:",
            "webhook",
            "success, and the signature is right",
            "of batch",
            "GET  /webhooks/mails/",
            "finished, 500 mails, 500 of them sent",
            "506 mails delivered, 1 refused, 3 callbacks, 5 bad requests: all as announced.",
        ],
    );
    assert!(told.lines().any(|line| line.contains("/login/once/")), "the newcomer is signed in:\n{told}");
    let is_plain = told.is_ascii() && told.chars().all(|c| c == '\n' || !c.is_control());
    assert!(is_plain, "a pipe gets plain text:\n{told}");
    let bars = told.lines().filter(|line| line.contains("/500 ")).count();
    assert!((1..=5).contains(&bars), "a pipe gets a few lines of the bar:\n{told}");
    let holds_what_it_must =
        |line: &&str| ["ready after", "Log ", "Bearer"].iter().any(|word| line.contains(word));
    let long: Vec<_> = told.lines().filter(|line| line.len() > 80 && !holds_what_it_must(line)).collect();
    assert!(long.is_empty(), "a terminal of 80 columns breaks {long:#?}");
    assert!(is_empty(temporary.path()));
}

/// `script`, of util-linux, gives the demonstration a terminal of its own.
#[test]
fn on_a_terminal_the_bar_of_a_batch_is_one_line_that_is_drawn_anew() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new("script");
    let demo = format!("'{}' demo --once", env!("CARGO_BIN_EXE_postroom"));
    command.args(["--quiet", "--return", "--command", &demo, "/dev/null"]).stdin(Stdio::null());
    command.env_clear().env("TMPDIR", temporary.path()).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    let told = told(command.output().unwrap());
    let lines: Vec<_> = told.lines().filter(|line| line.contains("/500 ")).collect();
    let [line] = lines[..] else { panic!("the bar takes more than one line: {lines:#?}") };
    let drawn: Vec<_> = line.split('\r').filter(|bar| bar.contains("/500 ")).collect();
    let widths: std::collections::BTreeSet<_> = drawn.iter().map(|bar| width(bar)).collect();
    assert!(widths.len() == 1 && widths.iter().all(|width| *width <= 80), "{widths:?} {drawn:#?}");
    assert!(drawn.len() > 2 && drawn.iter().all(|bar| bar.contains("\x1b[")), "{drawn:#?}");
    let last = drawn.last().unwrap();
    assert!(last.contains("✓ sent") && last.contains("500/500"), "{last}");
}

/// The columns that a line takes, without what a terminal obeys.
fn width(line: &str) -> usize {
    let obeyed = |part: &str| part.find(|c: char| c.is_ascii_alphabetic()).map_or(0, |end| end + 1);
    let mut parts = line.split('\x1b');
    let shown = parts.next().unwrap_or_default().chars().count();
    shown + parts.map(|part| part[obeyed(part)..].chars().count()).sum::<usize>()
}

#[test]
fn a_demonstration_reaches_nothing_that_a_configuration_names() {
    let temporary = tempfile::tempdir().unwrap();
    let database = temporary.path().join("real.db");
    let url = format!("sqlite:{}", database.display());
    let real = [
        ("POSTROOM_DATABASE__URL", url.as_str()),
        ("POSTROOM_QUEUE__URL", "redis://127.0.0.1:1"),
        ("POSTROOM_HTTP__RATE", "1/h"),
    ];
    told(demo(temporary.path(), &real).arg("--once").output().unwrap());
    assert!(!database.exists() && is_empty(temporary.path()));
}

#[test]
fn a_demonstration_stays_up_until_it_is_stopped_and_cleans_up() {
    for signal in ["INT", "TERM", "HUP"] {
        let temporary = tempfile::tempdir().unwrap();
        let mut running = Running(demo(temporary.path(), &[]).spawn().unwrap());
        let process = &mut running.0;
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let is_up = lines.any(|line| line.starts_with("Ctrl-C ends the demonstration"));
        assert!(is_up && !is_empty(temporary.path()), "{signal}");
        let sent =
            Command::new("kill").arg(format!("-{signal}")).arg(process.id().to_string()).status().unwrap();
        assert!(sent.success(), "{signal}");
        assert!(lines.any(|line| line.starts_with("Ended;")), "{signal}");
        assert!(process.wait().unwrap().success() && is_empty(temporary.path()), "{signal}");
    }
}

#[tokio::test]
async fn for_programs_the_story_is_told_in_objects() {
    let temporary = tempfile::tempdir().unwrap();
    // Somebody has the usual port of the API, so another one is said. Another test's demonstration gives it back soon.
    let mut taken = None;
    for _ in 0..600 {
        taken = std::net::TcpListener::bind("127.0.0.1:8025").ok();
        if taken.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = told(demo(temporary.path(), &[]).args(["--once", "--json"]).output().unwrap());
    let events: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |event: &str| events.iter().any(|each| each["event"] == event);
    assert!(has("ready") && has("request") && has("step") && has("progress"), "{told}");
    assert_eq!(events[0]["event"], "ready");
    let said = events
        .iter()
        .any(|each| each["name"] == "Port" && each["value"].as_str().unwrap().contains("8025 is taken"));
    assert!(said, "{told}");
    drop(taken);
}
