//! Mails that must wait: for a connection, a rate, or a relay that says nothing. They hold no claim and no place, others
//! pass them by, and a stop leaves them as they were.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::Instant,
};

use super::support::{Backends, Daemon, Hook, Shop, eventually, times_caught, welcome, within};

/// How soon a callback comes when nothing keeps it back, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

impl Backends {
    /// The same with one route, to which `more` is added as in `rate = "1/s"`.
    fn with_limited_route(mut self, address: SocketAddr, more: &str) -> Self {
        self.limit_route(address, more);
        self
    }

    fn limit_route(&mut self, address: SocketAddr, more: &str) {
        let text = format!(
            "name = \"main\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = {}\n{more}",
            address.port()
        );
        self.set("smtp.routes", vec![toml::from_str::<toml::Table>(&text).unwrap()]);
    }
}

async fn catcher() -> Catcher {
    Catcher::start(CatcherOptions::default()).await.unwrap()
}

/// A merchant whose template says that a mail whose outcome is unknown is held.
async fn cautious_shop(daemon: &Daemon, backends: &Backends) -> Shop {
    let shop = Shop::open(daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let template =
        json!({"brand_id": "tea", "title": "t", "subject": "s", "html": "<p>h</p>", "on_crash": "hold"});
    shop.put("/api/v1/templates/welcome", &template).await.expect(200);
    shop
}

async fn send_many(shop: &Shop, recipients: &[String]) {
    shop.enrol_all(recipients).await;
    for recipient in recipients {
        shop.post("/mail", &welcome(recipient)).await.expect(200);
    }
}

fn recipients(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{word}-{number:03}@example.net")).collect()
}

/// How many mails are in each state, and how many attempts there were, as `attempts`.
async fn tally(backends: &Backends) -> HashMap<String, i64> {
    backends
        .tally(
            "SELECT state, COUNT(*) FROM mails GROUP BY state
             UNION ALL SELECT 'attempts', COUNT(*) FROM attempts
             UNION ALL SELECT 'counted', CAST(SUM(attempt) AS BIGINT) FROM mails",
        )
        .await
}

/// Stops the daemon while mails wait; none of them is touched, and the next start sends each once.
async fn a_stop_touches_nothing_that_waits(backends: Backends, word: &str, limit: &str) {
    const MAILS: usize = 40;
    let sink = catcher().await;
    let mut backends = backends.with_limited_route(sink.smtp_addr(), limit);
    let mut daemon = Daemon::start(&backends).await;
    let shop = cautious_shop(&daemon, &backends).await;
    let recipients = recipients(word, MAILS);
    send_many(&shop, &recipients).await;
    assert!(sink.wait_for(1, Duration::from_secs(20)).await);

    assert_eq!(daemon.stop().await, 0);
    let mails = tally(&backends).await;
    let sent = mails["sent"];
    assert!(sent < 30, "the limit holds: {mails:?}");
    let waiting = mails.get("queued").copied().unwrap_or_default();
    assert_eq!(
        (waiting + sent, mails["attempts"], mails["counted"]),
        (MAILS as i64, sent, sent),
        "{mails:?}"
    );

    backends.limit_route(sink.smtp_addr(), "");
    daemon.start_again().await;
    within(Duration::from_secs(60), "all are sent", async || {
        tally(&backends).await.get("sent").copied() == Some(MAILS as i64)
    })
    .await;
    let caught = times_caught(&sink);
    assert!(caught.len() == MAILS && caught.values().all(|times| *times == 1), "{caught:?}");
    assert_eq!(tally(&backends).await["attempts"], MAILS as i64);
}

on_both! {
    async fn a_stop_holds_no_mail_that_waits_for_a_rate(backends: Backends) {
        a_stop_touches_nothing_that_waits(backends, "ok", "rate = \"2/s\"").await;
    }

    async fn a_stop_holds_no_mail_that_waits_for_a_connection(backends: Backends) {
        a_stop_touches_nothing_that_waits(backends, "slow-700", "connections = 1").await;
    }
}

/// A relay that takes connections and says nothing.
async fn silent_relay() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    (address, tasks)
}

/// Mails of one merchant wait; another merchant's callbacks come soon all the same.
async fn callbacks_pass_waiting_mails(
    backends: Backends,
    relay: SocketAddr,
    limit: &str,
) -> (Daemon, Backends) {
    let backends = backends.with_limited_route(relay, limit).allowing_hooks();
    let daemon = Daemon::start(&backends).await;
    let shop = cautious_shop(&daemon, &backends).await;
    send_many(&shop, &recipients("ok", 200)).await;

    let other = Shop::open(&daemon, &backends.command_line(), "other-co");
    let mut hook = Hook::listen().await;
    let endpoint =
        other.post("/webhooks", &json!({"url": hook.url, "events": ["*"]})).await.expect(201).json();
    let id = endpoint["data"]["id"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        let asked = Instant::now();
        other.post(&format!("/webhooks/{id}/test"), &json!({})).await.expect(200);
        hook.next(&other).await;
        assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
    }
    (daemon, backends)
}

on_both! {
    async fn a_relay_that_says_nothing_keeps_no_callback_waiting_and_no_stop(backends: Backends) {
        let (relay, _tasks) = silent_relay().await;
        let (mut daemon, backends) = callbacks_pass_waiting_mails(backends, relay, "").await;
        let stopping = Instant::now();
        assert_eq!(daemon.stop().await, 0);
        assert!(stopping.elapsed() < Duration::from_secs(15), "the stop took {:?}", stopping.elapsed());
        let mails = tally(&backends).await;
        assert_eq!((mails["queued"], mails["attempts"], mails["counted"]), (200, 0, 0), "{mails:?}");
    }

    async fn a_slow_rate_keeps_no_callback_waiting_and_mails_in_their_order(backends: Backends) {
        let sink = catcher().await;
        let (_daemon, _backends) = callbacks_pass_waiting_mails(backends, sink.smtp_addr(), "rate = \"60/m\"").await;
        let started = Instant::now();
        assert!(sink.wait_for(4, Duration::from_secs(20)).await);
        let caught: Vec<_> = sink.mails().iter().map(|mail| mail.recipient.clone()).collect();
        assert_eq!(caught, recipients("ok", caught.len()), "after {:?}", started.elapsed());
        let times: Vec<_> = sink.mails().iter().map(|mail| mail.at).collect();
        let pace = times[times.len() - 1].since(times[0]).as_secs_f64();
        assert!(pace > 0.8 * (times.len() - 1) as f64, "{} mails in {pace} s", times.len());
    }

    async fn receivers_that_hang_keep_no_mail_waiting(backends: Backends) {
        let sink = catcher().await;
        let backends = backends.with_limited_route(sink.smtp_addr(), "").allowing_hooks().with("callbacks.per_endpoint", 64);
        let daemon = Daemon::start(&backends).await;
        let shop = cautious_shop(&daemon, &backends).await;
        let hook = Hook::listen_in_silence().await;
        let endpoint = shop.post("/webhooks", &json!({"url": hook.url, "events": ["*"]})).await.expect(201).json();
        let id = endpoint["data"]["id"].as_str().unwrap().to_owned();
        for _ in 0..200 {
            shop.post(&format!("/webhooks/{id}/test"), &json!({})).await.expect(200);
        }
        send_many(&shop, &recipients("ok", 20)).await;
        assert!(sink.wait_for(20, SOON).await, "{} came", sink.count());
        hook.speak();
    }

    async fn a_failure_between_claim_and_offer_gives_the_claim_back(backends: Backends) {
        let sink = catcher().await;
        let mut backends = backends;
        let mut daemon = Daemon::start(&backends).await;
        let shop = cautious_shop(&daemon, &backends).await;
        let id = shop.send_to("ok@example.net").await;
        daemon.stop().await;
        backends.execute("UPDATE mails SET tags = 'broken'").await;
        backends.limit_route(sink.smtp_addr(), "");
        daemon.start_again().await;
        eventually("the job fails", async || daemon.log().iter().any(|line| line["message"].as_str().is_some_and(|message| message.starts_with("a job failed")))).await;
        eventually("the claim is given back", async || shop.mail(&id).await["state"] == "queued").await;
        let mails = tally(&backends).await;
        assert_eq!((mails["attempts"], mails["counted"]), (0, 0), "{mails:?}");

        backends.execute("UPDATE mails SET tags = '{\"first_name\":\"Ann\"}', wake_at = 0").await;
        let story = shop.wait_until(&id, "sent").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1);
    }
}

/// A relay that lets nobody send a message until it is told to, and counts the messages that it took.
struct HesitantRelay {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    go_on: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl HesitantRelay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (asked, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let go_on = Arc::new(Semaphore::new(0));
        let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
        let (counts, may) = ((asked.clone(), taken.clone()), go_on.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                open.spawn(converse(socket, counts.clone(), may.clone()));
            }
        });
        Self { address, asked, taken, go_on, _tasks: tasks }
    }
}

async fn converse(
    socket: TcpStream,
    (asked, taken): (Arc<AtomicUsize>, Arc<AtomicUsize>),
    go_on: Arc<Semaphore>,
) -> Option<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 hi\r\n").await.ok()?;
    let (mut line, mut is_in_message) = (String::new(), false);
    loop {
        line.clear();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if is_in_message {
            if line != ".\r\n" {
                continue;
            }
            is_in_message = false;
            taken.fetch_add(1, Ordering::SeqCst);
        } else if line.starts_with("DATA") {
            asked.fetch_add(1, Ordering::SeqCst);
            go_on.acquire().await.ok()?.forget();
            is_in_message = true;
            socket.write_all(b"354 go on\r\n").await.ok()?;
            continue;
        }
        socket.write_all(b"250 ok\r\n").await.ok()?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_suspended_does_not_send_what_another_has_sent_meanwhile() {
    let relay = HesitantRelay::start().await;
    let backends =
        Backends::postgres_redis().await.with("worker.silence", "2s").with_limited_route(relay.address, "");
    let ingress = Daemon::start_as("ingress", &backends).await;
    let first = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let id = shop.send_to("ok@example.net").await;
    eventually("the first worker has claimed it", async || relay.asked.load(Ordering::SeqCst) == 1).await;
    first.signal("STOP");

    let second = Daemon::start_as("worker", &backends).await;
    within(Duration::from_secs(60), "the second worker has claimed it", async || {
        relay.asked.load(Ordering::SeqCst) == 2
    })
    .await;
    relay.go_on.add_permits(2);
    shop.wait_until(&id, "sent").await;
    first.signal("CONT");
    eventually("the first worker is heard again", async || {
        first.log_text().contains("this worker is heard again") || first.log_text().contains("given back")
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(relay.taken.load(Ordering::SeqCst), 1, "it came once");
    drop(second);
}
