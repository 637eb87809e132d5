//! Mails over one connection to a relay that is far away, and what becomes of each among others that the relay does not take.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use tokio::time::Instant;

use super::support::{Backends, Daemon, Shop, SlowWay, addresses, times_caught, within};

fn with_one_connection(backends: Backends, address: SocketAddr) -> Backends {
    let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" connections = 1 };
    route.insert("port".to_owned(), i64::from(address.port()).into());
    backends.with("smtp.routes", vec![route])
}

async fn open(backends: &Backends) -> (Daemon, Shop) {
    let daemon = Daemon::start(backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    (daemon, shop)
}

on_both! {
    async fn one_connection_carries_nearly_a_mail_in_each_round_trip(backends: Backends) {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let way = SlowWay::to(sink.smtp_addr(), Duration::from_millis(25)).await;
        let backends = with_one_connection(backends, way.address);
        let (_daemon, shop) = open(&backends).await;
        let users = addresses("ok", 60);
        shop.enrol_all(&users).await;
        shop.send_all(&users).await;
        within(Duration::from_secs(20), "mails arrive", async || sink.mails().len() >= 5).await;
        let (before, began) = (sink.mails().len(), Instant::now());
        let all_arrive = within(Duration::from_secs(20), "all arrive", async || sink.mails().len() == users.len());
        let ((), round_trip) = tokio::join!(all_arrive, way.round_trip());
        let each = began.elapsed().div_f64((users.len() - before) as f64);
        println!("{:.1} mails a second; each took {each:?} at a round trip of {round_trip:?}", 1.0 / each.as_secs_f64());
        assert!(each < round_trip.mul_f64(1.5), "each mail took {each:?} at a round trip of {round_trip:?}");
        assert!(sink.mails().iter().all(|mail| mail.connection == sink.mails()[0].connection));
    }

    async fn each_mail_arrives_once_whatever_the_relay_says_to_those_before_and_after_it(backends: Backends) {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let backends = with_one_connection(backends, sink.smtp_addr());
        let (_daemon, shop) = open(&backends).await;
        let words = ["ok", "reject-data", "ok", "reject", "ok", "defer-data", "ok", "hang-up", "ok"];
        let users: Vec<_> =
            (0..100).map(|number| format!("{}-{number}@example.net", words[number % words.len()])).collect();
        shop.enrol_all(&users).await;
        shop.send_all(&users).await;
        let taken: HashMap<_, _> = users.iter().filter(|user| user.starts_with("ok")).map(|user| (user.clone(), 1)).collect();
        within(Duration::from_secs(30), "all that the relay takes arrive", async || {
            let caught = times_caught(&sink);
            assert!(caught.iter().all(|(user, times)| taken.get(user) == Some(times)), "{caught:?}");
            caught == taken
        })
        .await;
    }
}
