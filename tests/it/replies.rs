//! Relays that misbehave, and what becomes of mails, on the wire and through the whole daemon.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::support::{Backends, Daemon, Shop, addresses, eventually};

/// What a relay does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Oddity {
    /// Says 530 to MAIL.
    WantsSignIn,
    /// Hangs up when the message comes.
    DiesInData,
    /// Answers RCPT with something that is no reply.
    Garbage,
    /// Says 250 to the message and hangs up.
    ClosesAfter250,
    /// Says 421 to the first, third, … connection.
    BusyEachSecondTime,
    /// Does not greet the second, fourth, … connection.
    SilentEachSecondTime,
    /// Refuses the recipient with ten thousand lines of odd bytes.
    TalksForHours,
    /// Says nothing more once it has got this command, or after the whole message for `.`; at once for the empty text.
    HangsAt(&'static str),
}

/// A relay with an oddity, for as long as that is on.
struct OddRelay {
    port: u16,
    is_on: Arc<AtomicBool>,
    _serving: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl OddRelay {
    async fn start(oddity: Oddity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_on, connections) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
        let switch = Arc::clone(&is_on);
        let serving = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let number = connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, oddity, number, Arc::clone(&switch)));
            }
        });
        Self { port, is_on, _serving: AbortOnDrop(serving) }
    }

    async fn scene(&self, backends: Backends) -> (Daemon, Shop, Backends) {
        let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" timeout = "1s" };
        route.insert("port".to_owned(), i64::from(self.port).into());
        let backends = backends.with("smtp.routes", vec![route]).with("retry.first", "300ms");
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        (daemon, shop, backends)
    }
}

async fn serve(socket: TcpStream, oddity: Oddity, number: usize, switch: Arc<AtomicBool>) {
    let is = |wanted: Oddity| oddity == wanted && switch.load(Ordering::Relaxed);
    let mut socket = BufReader::new(socket);
    let greeting = if is(Oddity::BusyEachSecondTime) && number.is_multiple_of(2) {
        "421 4.3.2 busy\r\n"
    } else {
        "220 hi\r\n"
    };
    if is(Oddity::HangsAt("")) || is(Oddity::SilentEachSecondTime) && !number.is_multiple_of(2) {
        return std::future::pending().await;
    }
    if socket.get_mut().write_all(greeting.as_bytes()).await.is_err() || greeting.starts_with("421") {
        return;
    }
    let mut line = String::new();
    while {
        line.clear();
        socket.read_line(&mut line).await.is_ok_and(|read| read > 0)
    } {
        let command = line.get(..4).unwrap_or_default().to_uppercase();
        if ["EHLO", "MAIL", "RCPT", "DATA"]
            .iter()
            .any(|phase| command == *phase && is(Oddity::HangsAt(phase)))
        {
            return std::future::pending().await;
        }
        let answer: Vec<u8> = match command.as_str() {
            "MAIL" if is(Oddity::WantsSignIn) => b"530 5.7.0 Authentication required\r\n".to_vec(),
            "RCPT" if is(Oddity::Garbage) => b"\x00\xff what?\r\n".to_vec(),
            "RCPT" if is(Oddity::TalksForHours) => {
                let mut lines = b"550-5.1.1 no such \x00 user \xfc\r\n".to_vec();
                (0..10_000).for_each(|_| lines.extend_from_slice(b"550-\xfc\x00 and on\r\n"));
                lines.extend_from_slice(b"550 5.1.1 the end\r\n");
                lines
            }
            "DATA" if is(Oddity::DiesInData) => {
                let _ = socket.get_mut().write_all(b"354 go on\r\n").await;
                let _ = socket.read_line(&mut line).await;
                let _ = socket.get_ref().set_zero_linger();
                return;
            }
            "DATA" => {
                let _ = socket.get_mut().write_all(b"354 go on\r\n").await;
                while {
                    line.clear();
                    socket.read_line(&mut line).await.is_ok_and(|read| read > 0)
                } {
                    if line == ".\r\n" {
                        break;
                    }
                }
                if is(Oddity::HangsAt(".")) {
                    return std::future::pending().await;
                }
                let _ = socket.get_mut().write_all(b"250 2.0.0 Ok: queued as 4F2A1\r\n").await;
                if is(Oddity::ClosesAfter250) {
                    return;
                }
                continue;
            }
            _ => b"250 ok\r\n".to_vec(),
        };
        if socket.get_mut().write_all(&answer).await.is_err() {
            return;
        }
    }
}

on_both! {
    async fn a_relay_that_wants_a_sign_in_stops_the_route_until_it_takes_us_again(backends: Backends) {
        let relay = OddRelay::start(Oddity::WantsSignIn).await;
        let (daemon, shop, backends) = relay.scene(backends).await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "deferred").await;
        let attempt = &story["attempts"][0];
        assert_eq!((&attempt["class"], &attempt["code"], &attempt["phase"]), (&json!("config"), &json!(530), &json!("mail_from")));
        let ready = daemon.admin("/readyz").await.expect(200).json();
        let routes = ready["dependencies"].as_array().unwrap().iter().find(|each| each["name"] == "routes").unwrap().clone();
        assert_eq!(routes["ok"], false);
        assert!(routes["detail"].as_str().unwrap().contains("a relay refuses us"), "{routes}");
        let metrics = daemon.admin("/metrics").await.expect(200).body;
        assert!(metrics.contains("postroom_route_stops_total{route=\"main\",class=\"config\",scope=\"route\"} 1"), "{metrics}");
        let shown = backends.command_line().run(&["mail", "show", &id, "--transcript"]).expect(0).out;
        assert!(shown.contains("C: MAIL FROM:<hello@tea.example>"), "{shown}");

        relay.is_on.store(false, Ordering::Relaxed);
        let story = shop.wait_until(&id, "sent").await;
        assert_eq!(story["provider_id"], "4F2A1");
        assert_eq!(story["attempts"].as_array().unwrap().last().unwrap()["class"], "accepted");
    }

    async fn a_relay_that_dies_in_the_middle_of_a_message_gets_it_later(backends: Backends) {
        let relay = OddRelay::start(Oddity::DiesInData).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "deferred").await;
        let attempt = &story["attempts"][0];
        // A short message is sent in one write, its final dot included, so that the relay may have it.
        assert!(["content", "final"].contains(&attempt["phase"].as_str().unwrap()), "{story}");
        assert_eq!(attempt["class"], "connection");
        relay.is_on.store(false, Ordering::Relaxed);
        shop.wait_until(&id, "sent").await;
    }

    async fn a_relay_that_answers_garbage_gets_the_mail_later(backends: Backends) {
        let relay = OddRelay::start(Oddity::Garbage).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "deferred").await;
        assert_eq!((&story["attempts"][0]["phase"], &story["attempts"][0]["class"]), (&json!("rcpt_to"), &json!("connection")));
        relay.is_on.store(false, Ordering::Relaxed);
        shop.wait_until(&id, "sent").await;
    }

    async fn a_relay_that_hangs_up_after_its_250_has_taken_each_mail_once(backends: Backends) {
        let relay = OddRelay::start(Oddity::ClosesAfter250).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        for recipient in ["ok-1@example.net", "ok-2@example.net"] {
            let id = shop.send_to(recipient).await;
            let story = shop.wait_until(&id, "sent").await;
            assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story}");
        }
    }

    async fn a_relay_that_is_busy_each_second_time_takes_every_mail(backends: Backends) {
        let relay = OddRelay::start(Oddity::BusyEachSecondTime).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "sent").await;
        assert_eq!(story["attempts"][0]["class"], "temporary", "{story}");
    }

    async fn a_relay_that_greets_each_second_connection_costs_no_mail_an_attempt(backends: Backends) {
        let relay = OddRelay::start(Oddity::SilentEachSecondTime).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        let recipients = addresses("ok", 20);
        let mails = futures_util::future::join_all(recipients.iter().map(|recipient| shop.send_to(recipient))).await;
        for mail in mails {
            let story = shop.wait_until(&mail, "sent").await;
            assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story}");
        }
    }

    async fn a_reply_of_ten_thousand_lines_fails_the_mail_and_harms_nobody(backends: Backends) {
        let relay = OddRelay::start(Oddity::TalksForHours).await;
        let (_daemon, shop, _backends) = relay.scene(backends).await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "failed").await;
        let attempt = &story["attempts"][0];
        assert_eq!((&attempt["class"], &attempt["outcome"]), (&json!("bad_address"), &json!("permanent")));
        assert_eq!(attempt["transcript"], json!(null));
        let told = shop.get(&format!("/api/v1/mails/{id}?transcript=true")).await.expect(200).json();
        let transcript = told["attempts"][0]["transcript"].as_str().unwrap().to_owned();
        assert!(transcript.len() <= 8_192 && transcript.ends_with("S: 550 5.1.1 the end\n"), "{transcript}");
    }
}

on_both! {
    async fn a_relay_that_hangs_at_any_phase_gets_the_mail_once_it_is_back(backends: Backends) {
        let phases = ["", "EHLO", "MAIL", "RCPT", "DATA", "."];
        let relays: Vec<_> = futures_util::future::join_all(phases.map(|phase| OddRelay::start(Oddity::HangsAt(phase)))).await;
        let routes = relays.iter().enumerate().map(|(number, relay)| {
            let mut route = toml::toml! { host = "127.0.0.1" tls = "none" timeout = "1s" };
            route.insert("name".to_owned(), format!("r{number}").into());
            route.insert("port".to_owned(), i64::from(relay.port).into());
            route.insert("merchants".to_owned(), vec![format!("shop-{number}")].into());
            route
        });
        let backends = backends.with("smtp.routes", routes.collect::<Vec<_>>()).with("retry.first", "300ms");
        let daemon = Daemon::start(&backends).await;
        let mut mails = Vec::new();
        for number in 0..phases.len() {
            let shop = Shop::open(&daemon, &backends.command_line(), &format!("shop-{number}"));
            shop.fill_shelves().await;
            mails.push((shop.send_to("ok@example.net").await, shop));
        }
        for ((id, shop), phase) in mails.iter().zip(phases) {
            eventually("an attempt is over", async || shop.mail(id).await["attempts"][0].is_object()).await;
            assert_ne!(shop.mail(id).await["state"], "sent", "{phase:?}");
        }
        relays.iter().for_each(|relay| relay.is_on.store(false, Ordering::Relaxed));
        for ((id, shop), phase) in mails.iter().zip(phases) {
            let mail = shop.wait_until(id, "sent").await;
            let outcomes: Vec<_> = mail["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
            let expected = if phase == "." { "unknown" } else { "transient" };
            assert!(outcomes[..outcomes.len() - 1].iter().all(|outcome| *outcome == expected), "{phase:?}: {outcomes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_classified_without_a_database_and_a_wrong_file_of_rules_is_refused_whole() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let mut backends = Backends::sqlite_memory()
        .with_route_to(&sink)
        .with("database.url", "postgres://nobody@127.0.0.1:1/none");
    let said = backends
        .command_line()
        .run(&["--json", "reply", "classify", "550 5.1.1 User unknown"])
        .expect(0)
        .json();
    assert_eq!(
        (&said["class"], &said["consequence"], &said["mail"]),
        (&json!("bad_address"), &json!("fail+suppress"), &json!("fail"))
    );
    assert_eq!(said["rule"]["file"], "replies.toml");
    let said = backends
        .command_line()
        .run(&["reply", "classify", "451 Greylisted, try again in 300 seconds"])
        .expect(0)
        .out;
    assert!(said.contains("class        greylist") && said.contains("retry after  300 s"), "{said}");
    backends.command_line().run(&["reply", "classify", "what?"]).expect(2);

    let rules = backends.folder().join("own.toml");
    std::fs::write(&rules, "[[rules]]\ncode = \"550\"\ntext = \"user unknown\"\nclass = \"temporary\"\n")
        .unwrap();
    backends.set("smtp.replies_file", rules.display().to_string());
    let said = backends
        .command_line()
        .run(&["--json", "reply", "classify", "550 5.1.1 User unknown"])
        .expect(0)
        .json();
    assert_eq!((&said["class"], &said["consequence"]), (&json!("temporary"), &json!("retry")));

    std::fs::write(&rules, "[[rules]]\ncode = \"250\"\nclass = \"temporary\"\n[[rules]]\ntext = \"((a{300}){300})\"\nclass = \"nice\"\n").unwrap();
    let refused = backends.command_line().run(&["reply", "classify", "550 no"]).expect(2).err;
    for expected in [
        "smtp.replies_file",
        "own.toml:2: ",
        "rule 1: `code`: \"250\" must be",
        "own.toml:5: ",
        "256 KiB",
        "`class`: \"nice\"",
    ] {
        assert!(refused.contains(expected), "{expected} is missing in:\n{refused}");
    }
}
