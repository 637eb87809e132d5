//! Several relays: which of them gets a mail, what happens when one is away or drained, and what a slow domain slows down.

use std::{net::SocketAddr, time::Duration};

use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use toml::Table;

use super::support::{Backends, Daemon, Relay, Shop, eventually, welcome, within};

/// A route, with more of its settings as in `weight = 3`.
fn route(name: &str, address: SocketAddr, more: &str) -> Table {
    let text =
        format!("name = \"{name}\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = {}\n{more}", address.port());
    toml::from_str(&text).unwrap()
}

async fn catcher() -> Catcher {
    Catcher::start(CatcherOptions::default()).await.unwrap()
}

/// An address at which nobody listens.
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn open(backends: &Backends) -> (Daemon, Shop) {
    let daemon = Daemon::start(backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    (daemon, shop)
}

async fn send_many(shop: &Shop, number: usize) {
    let recipients: Vec<_> = (0..number).map(|number| format!("ok-{number:03}@example.net")).collect();
    shop.enrol_all(&recipients).await;
    for recipient in &recipients {
        shop.post("/mail", &welcome(recipient)).await.expect(200);
    }
}

/// How many attempts went over each route, and came to what.
async fn attempts(backends: &Backends) -> Vec<(String, i64)> {
    let tally = backends
        .tally("SELECT route || ' ' || outcome, COUNT(*) FROM attempts GROUP BY route, outcome")
        .await;
    let mut tally: Vec<_> = tally.into_iter().collect();
    tally.sort();
    tally
}

async fn routes_of(daemon: &Daemon) -> serde_json::Value {
    let ready = daemon.admin("/readyz").await.json();
    ready["dependencies"].as_array().unwrap().iter().find(|each| each["name"] == "routes").unwrap().clone()
}

on_both! {
    async fn a_relay_that_is_dead_costs_no_attempt_while_another_takes_the_mail(backends: Backends) {
        let reserve = catcher().await;
        let routes = vec![route("reserve", reserve.smtp_addr(), "priority = 20"), route("first", dead().await, "")];
        let backends = backends.with("smtp.routes", routes);
        let (_daemon, shop) = open(&backends).await;
        send_many(&shop, 20).await;
        within(Duration::from_secs(40), "all came", async || reserve.count() == 20).await;
        eventually("all are recorded", async || attempts(&backends).await == [("reserve accepted".to_owned(), 20)]).await;
    }

    async fn mails_that_were_tried_expire_while_their_relay_is_away_and_those_that_were_not_wait_on(backends: Backends) {
        let backends = backends.with("smtp.routes", vec![route("main", dead().await, "")]).with("retry.first", "1h");
        let (_daemon, shop) = open(&backends).await;
        send_many(&shop, 20).await;
        let states = async || backends.tally("SELECT state || ' ' || attempt, COUNT(*) FROM mails GROUP BY state, attempt").await;
        let tried = async |state: &str| states().await.get(&format!("{state} 1")).copied().unwrap_or(0);
        eventually("some were tried", async || tried("deferred").await >= 3).await;
        // Three days pass in which all were due. The relay is tried again now and then, by one mail.
        backends.execute("UPDATE mails SET recorded_at = recorded_at - 259200000, due_at = 1, wake_at = 1").await;
        eventually("they expire", async || tried("deferred").await == 0 && tried("expired").await >= 2).await;
        let waiting = states().await.get("queued 0").copied().unwrap_or(0);
        assert!(waiting >= 10, "what was never tried waits on: {:?}", states().await);
    }

    async fn a_relay_that_takes_connections_and_no_mail_costs_no_attempt_while_another_takes_the_mail(backends: Backends) {
        let (hangs, reserve) = (Relay::start("MAIL").await, catcher().await);
        let first = route("first", hangs.address, "connections = 4\ntimeout = \"1s\"");
        let routes = vec![route("reserve", reserve.smtp_addr(), "priority = 20"), first];
        let backends = backends.with("smtp.routes", routes);
        let (daemon, shop) = open(&backends).await;
        send_many(&shop, 20).await;
        within(Duration::from_secs(40), "all came", async || reserve.count() == 20).await;
        eventually("all are recorded", async || attempts(&backends).await == [("reserve accepted".to_owned(), 20)]).await;
        assert!(daemon.log_text().contains("the relay takes connections and no mail"));
        assert!(hangs.reached() < 20, "{} mails waited for it", hangs.reached());
    }

    async fn a_relay_that_gets_too_much_is_left_alone(backends: Backends) {
        let (relay, _tasks) = strict_relay("MAIL", "", "450 4.2.1 Peak SMTP relay limit exceeded for this customer\r\n").await;
        let backends = backends.with("smtp.routes", vec![route("main", relay, "")]).with("retry.first", "1s");
        let (_daemon, shop) = open(&backends).await;
        let refused = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&refused, "deferred").await;
        assert_eq!(story["attempts"][0]["class"], "rate_limited", "{story}");
        let waits = shop.send_to("other@example.net").await;
        eventually("it waits for the route", async || {
            let waiting = &shop.mail(&waits).await["waiting"];
            (&waiting["reason"], &waiting["scope"], &waiting["name"]) == (&json!("route_away"), &json!("route"), &json!("main"))
        }).await;
        assert_eq!(shop.mail(&waits).await["attempts"], json!([]));
    }

    async fn the_route_with_the_lowest_priority_takes_all_until_it_is_drained(backends: Backends) {
        let (first, second) = (catcher().await, catcher().await);
        let routes = vec![route("second", second.smtp_addr(), "priority = 2"), route("first", first.smtp_addr(), "priority = 1")];
        let backends = backends.with("smtp.routes", routes);
        let (daemon, shop) = open(&backends).await;
        let commands = backends.command_line();
        shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
        assert_eq!((first.count(), second.count()), (1, 0));

        commands.run(&["route", "drain", "first"]).expect(0);
        commands.run(&["route", "drain", "first"]).expect(1);
        commands.run(&["route", "drain", "third"]).expect(1);
        commands.run(&["route", "drain"]).expect(2);
        let listed = commands.run(&["--json", "route", "list"]).expect(0).json();
        assert_eq!((&listed["routes"][0]["name"], &listed["routes"][0]["drained"]), (&json!("first"), &json!(true)));
        eventually("it is drained", async || {
            daemon.admin("/metrics").await.body.contains("postroom_route_drained{route=\"first\"} 1")
        }).await;
        shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
        assert_eq!((first.count(), second.count()), (1, 1));
        let said = routes_of(&daemon).await;
        assert_eq!((&said["ok"], &said["detail"]), (&json!(true), &json!("drained: `first`")));

        commands.run(&["route", "drain", "second"]).expect(0);
        eventually("both are drained", async || routes_of(&daemon).await["ok"] == false && {
            daemon.admin("/metrics").await.body.contains("postroom_route_drained{route=\"second\"} 1")
        }).await;
        let id = shop.send_to("ok@example.net").await;
        eventually("we know why it waits", async || shop.mail(&id).await["waiting"]["reason"] == "no_route").await;
        commands.run(&["route", "undrain", "first"]).expect(0);
        commands.run(&["route", "undrain", "first"]).expect(1);
        shop.wait_until(&id, "sent").await;
        assert_eq!((first.count(), second.count()), (2, 1));

        commands.run(&["queue", "pause", "--route", "first", "--reason", "maintenance"]).expect(0);
        let said = routes_of(&daemon).await;
        let detail = "every route is drained or paused: mails wait; drained: `second`; paused: `first`";
        assert_eq!((&said["ok"], &said["detail"]), (&json!(false), &json!(detail)));
        let listed = commands.run(&["--json", "route", "list"]).expect(0).json();
        let states = |name: &str| listed["routes"].as_array().unwrap().iter().map(|route| route[name].clone()).collect::<Vec<_>>();
        assert_eq!((states("drained"), states("paused")), (vec![json!(false), json!(true)], vec![json!(true), json!(false)]));
    }

    async fn routes_take_only_the_mails_that_they_are_for(backends: Backends) {
        let (tea, bulk) = (catcher().await, catcher().await);
        let routes = vec![
            route("tea", tea.smtp_addr(), "merchants = [\"tea-co\"]\nsender_domains = [\"Tea.example\"]"),
            route("bulk", bulk.smtp_addr(), "priority = 1\nlanes = [\"bulk\"]"),
        ];
        let backends = backends.with("smtp.routes", routes);
        let (daemon, shop) = open(&backends).await;
        shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
        assert_eq!((tea.count(), bulk.count()), (1, 0));
        let said = routes_of(&daemon).await;
        assert_eq!(said["ok"], true);
        assert!(said["detail"].as_str().unwrap().contains("no route takes all transactional mails"), "{said}");
        assert!(daemon.log_text().contains("no route takes all mails of this lane"));

        let other = Shop::open(&daemon, &backends.command_line(), "other-co");
        other.fill_shelves().await;
        let id = other.send_to("ok@example.net").await;
        eventually("it waits for a route", async || other.mail(&id).await["waiting"]["reason"] == "no_route").await;
        shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
        assert_eq!((tea.count(), bulk.count()), (2, 0));
    }

    async fn routes_of_the_same_priority_share_by_weight(backends: Backends) {
        let (one, three) = (catcher().await, catcher().await);
        let routes = vec![route("one", one.smtp_addr(), "weight = 1"), route("three", three.smtp_addr(), "weight = 3")];
        let backends = backends.with("smtp.routes", routes);
        let (_daemon, shop) = open(&backends).await;
        send_many(&shop, 40).await;
        within(Duration::from_secs(40), "all came", async || one.count() + three.count() == 40).await;
        assert!((7..=13).contains(&one.count()), "{} and {}", one.count(), three.count());
    }

    // Each finds that one of the two relays has no open connection; it must not lose its turn over that.
    async fn routes_share_by_weight_also_what_comes_one_by_one(backends: Backends) {
        let (one, three) = (catcher().await, catcher().await);
        let routes = vec![route("one", one.smtp_addr(), "weight = 1"), route("three", three.smtp_addr(), "weight = 3")];
        let backends = backends.with("smtp.routes", routes);
        let (_daemon, shop) = open(&backends).await;
        for _ in 0..16 {
            shop.wait_until(&shop.send_to("ok@example.net").await, "sent").await;
        }
        assert!((3..=5).contains(&one.count()), "{} and {}", one.count(), three.count());
    }

    async fn a_domain_that_gets_too_much_is_slowed_down_and_no_other(backends: Backends) {
        let (relay, _tasks) = strict_relay("RCPT", "@busy.example", "451 4.7.1 Rate limit exceeded for this domain\r\n").await;
        let backends = backends.with("smtp.routes", vec![route("main", relay, "")]).with("retry.first", "1s");
        let (_daemon, shop) = open(&backends).await;
        let refused = shop.send_to("ok@busy.example").await;
        let story = shop.wait_until(&refused, "deferred").await;
        assert_eq!(story["attempts"][0]["class"], "rate_limited", "{story}");
        let waits = shop.send_to("other@busy.example").await;
        eventually("it waits for its domain", async || {
            let waiting = &shop.mail(&waits).await["waiting"];
            (&waiting["reason"], &waiting["scope"], &waiting["name"]) == (&json!("rate"), &json!("domain"), &json!("busy.example"))
        }).await;
        shop.wait_until(&shop.send_to("ok@calm.example").await, "sent").await;
        assert_eq!(shop.mail(&waits).await["attempts"], json!([]));
    }
}

/// A relay that says this to a command with this in it.
async fn strict_relay(
    command: &'static str,
    part: &'static str,
    says: &'static str,
) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.spawn(converse(socket, command, part, says));
        }
    });
    (address, tasks)
}

async fn converse(socket: TcpStream, command: &str, part: &str, says: &str) -> Option<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 hi\r\n").await.ok()?;
    let (mut line, mut is_in_message) = (String::new(), false);
    loop {
        line.clear();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = if is_in_message {
            if line != ".\r\n" {
                continue;
            }
            is_in_message = false;
            "250 ok\r\n"
        } else if line.starts_with(command) && line.contains(part) {
            says
        } else if line.starts_with("DATA") {
            is_in_message = true;
            "354 go on\r\n"
        } else {
            "250 ok\r\n"
        };
        socket.write_all(answer.as_bytes()).await.ok()?;
    }
}
