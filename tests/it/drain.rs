//! SIGTERM: what a relay was offered is finished, everything else is given back at once, and the process ends in time, whatever
//! hangs.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::spawn_blocking, time::sleep};

use super::support::{Backends, Daemon, Hook, Operator, Relay, Scene, Shop, eventually, welcome};

/// Where a relay may hang: before its answer to this.
const PHASES: [&str; 6] = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."];

/// One merchant for each relay, with a route of its own.
pub(super) async fn open(
    mut backends: Backends,
    relays: &[(String, Relay)],
) -> (Backends, Daemon, Vec<Shop>) {
    let routes: Vec<_> = relays.iter().map(|(name, relay)| relay.route(name)).collect();
    backends.set("smtp.routes", routes);
    let daemon = Daemon::start(&backends).await;
    let mut shops = Vec::new();
    for (name, _) in relays {
        let shop = Shop::open(&daemon, &backends.command_line(), name);
        shop.fill_shelves().await;
        shops.push(shop);
    }
    (backends, daemon, shops)
}

async fn relays(phases: &[&'static str]) -> Vec<(String, Relay)> {
    let mut relays = Vec::new();
    for phase in phases {
        let place = PHASES.iter().position(|each| each == phase).unwrap();
        relays.push((format!("phase-{place}"), Relay::start(phase).await));
    }
    relays
}

on_both! {
    async fn a_mail_that_no_relay_was_offered_is_given_back_at_once_whatever_its_relay_does(backends: Backends) {
        let relays = relays(&PHASES[..5]).await;
        let (backends, mut daemon, shops) = open(backends, &relays).await;
        let mut mails = Vec::new();
        for shop in &shops {
            mails.push(shop.send_to("ok@example.net").await);
        }
        eventually("each relay hangs", async || relays.iter().all(|(_, relay)| relay.reached() > 0)).await;
        let stopping = Instant::now();
        assert_eq!(daemon.stop().await, 0);
        assert!(stopping.elapsed() < Duration::from_secs(8), "the stop took {:?}", stopping.elapsed());
        let states = backends.tally("SELECT state || ' ' || attempt, COUNT(*) FROM mails GROUP BY state, attempt").await;
        assert_eq!(states, [("queued 0".to_owned(), 5)].into());
        relays.iter().for_each(|(_, relay)| relay.mend());
        daemon.start_again().await;
        for (shop, mail) in shops.iter().zip(&mails) {
            let story = shop.wait_until(mail, "sent").await;
            assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story:#}");
        }
        assert!(relays.iter().all(|(_, relay)| relay.taken() == 1));
    }

    async fn a_relay_that_has_the_message_is_waited_for_and_no_longer_than_allowed(backends: Backends) {
        let relays = relays(&["."]).await;
        let (backends, mut daemon, shops) = open(backends.with("worker.drain", "6s"), &relays).await;
        let mail = shops[0].send_to("ok@example.net").await;
        eventually("it hangs", async || relays[0].1.reached() > 0).await;
        let stopping = Instant::now();
        assert_eq!(daemon.stop().await, 0);
        let took = stopping.elapsed();
        assert!((2_500..6_900).contains(&took.as_millis()), "the stop took {took:?}");
        let states = backends.tally("SELECT state, COUNT(*) FROM mails GROUP BY state").await;
        assert_eq!(states, [("sending".to_owned(), 1)].into(), "{mail}");
    }

    async fn a_second_sigterm_ends_at_once(backends: Backends) {
        let relays = relays(&["."]).await;
        let (_backends, mut daemon, shops) = open(backends, &relays).await;
        shops[0].send_to("ok@example.net").await;
        eventually("it hangs", async || relays[0].1.reached() > 0).await;
        daemon.signal("TERM");
        eventually("it stops", async || daemon.log_text().contains("\"stopping\"")).await;
        let stopping = Instant::now();
        assert_eq!(daemon.stop().await, 1);
        assert!(stopping.elapsed() < Duration::from_secs(4), "the stop took {:?}", stopping.elapsed());
    }

    async fn requests_are_answered_viewers_let_go_and_a_callback_comes_again(backends: Backends) {
        let mut hook = Hook::listen_in_silence().await;
        let backends = backends.allowing_hooks().with("worker.drain", "6s");
        let mut scene = Scene::open(backends).await;
        let endpoint = json!({"url": hook.url, "events": ["email.sent"]});
        scene.shop.post("/webhooks", &endpoint).await.expect(201);
        let viewer = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "operator", None).await;
        let mut watching = viewer.request(reqwest::Method::GET, "/live?page=overview").send().await.unwrap();
        let mail = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&mail, "sent").await;
        let (first, _) = hook.next_unchecked().await;
        scene.shop.enrol("ok-2@example.net").await;
        scene.shop.enrol("ok-3@example.net").await;
        let asking = half_a_request(&scene, "ok-2@example.net");
        let connected = a_part_of_a_request(&scene, "ok-3@example.net", |_| 0);
        sleep(Duration::from_millis(100)).await; // it is accepted
        let stopping = Instant::now();
        scene.daemon.signal("TERM");
        eventually("it stops", async || scene.daemon.log_text().contains("\"stopping\"")).await;
        // The connection on which nothing came yet may be that of a request that is on its way.
        for asking in [spawn_blocking(connected), spawn_blocking(asking)] {
            let answer = asking.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!(scene.daemon.end().await, 0);
        assert!(stopping.elapsed() < Duration::from_secs(7), "the stop took {:?}", stopping.elapsed());
        while let Ok(Some(_)) = watching.chunk().await {}
        hook.speak();
        scene.daemon.start_again().await;
        while hook.next_unchecked().await.0["webhook-id"] != first["webhook-id"] {}
        for user in ["ok-2@example.net", "ok-3@example.net"] {
            eventually("the others are sent", async || scene.caught(user) == 1).await;
        }
    }
}

/// Sends the beginning of a request, and returns what sends the rest and reads the answer.
pub(super) fn half_a_request(scene: &Scene, member: &str) -> impl FnOnce() -> String + Send + 'static {
    a_part_of_a_request(scene, member, |head| head + 10)
}

/// Connects and sends as much of a request as is said of one with a head of so many bytes; returns what sends the rest and
/// reads the answer.
fn a_part_of_a_request(
    scene: &Scene,
    member: &str,
    first: impl FnOnce(usize) -> usize,
) -> impl FnOnce() -> String + Send + 'static {
    let body = welcome(member).to_string();
    let request = scene.shop.request(reqwest::Method::POST, "/mail").build().unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
    let host = request.url().host_str().unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect((host.as_str(), request.url().port().unwrap())).unwrap();
    let head = format!(
        "POST /mail HTTP/1.1\r\nhost: {host}\r\nauthorization: {authorization}\r\ncontent-type: application/json\r\n\
        content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let first = first(head.len());
    let whole = head + &body;
    stream.write_all(&whole.as_bytes()[..first]).unwrap();
    move || {
        stream.write_all(&whole.as_bytes()[first..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
