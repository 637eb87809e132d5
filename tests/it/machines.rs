//! Two machines that take requests and four that send, one with Redis and one with Postgres, each with an address of its own.
//! One that sends is cut off from some of them: packets are dropped, nobody is told.

use std::time::Duration;

use postroom::demo::catcher::{Catcher, CatcherOptions};
use tokio::time::{MissedTickBehavior, interval};

use super::support::{
    Backends, Cluster, Daemon, Machine, Redis, Shop, addresses, in_own_network, times_caught, welcome, within,
};

/// How many mails are asked for in a cut, one each so often: twelve seconds, which is four times as long as a process may be
/// silent here, and as a job is lent out.
const MAILS: usize = 240;
const EACH: Duration = Duration::from_millis(50);
/// Recipients of batches meanwhile, and of one of them.
const IN_BATCHES: usize = 60;
const RECIPIENTS: usize = 5;
/// How long the step of a batch may take whose worker was cut off in it: the 20 s after which Postgres lets go of what a
/// silent session holds, and a while.
const STEP: Duration = Duration::from_secs(45);

/// Asks both machines in turn for mails to these.
async fn ask(shops: &[Shop], users: &[String]) {
    let mut turn = interval(EACH);
    turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for (user, shop) in users.iter().zip(shops.iter().cycle()) {
        turn.tick().await;
        shop.post("/mail", &welcome(user)).await.expect(200);
    }
}

/// Asks for a batch a second, until all of these are in one.
async fn ask_for_batches(shop: &Shop, users: &[String]) {
    let mut turn = interval(Duration::from_secs(1));
    for users in users.chunks(RECIPIENTS) {
        turn.tick().await;
        shop.send_all(users).await;
    }
}

async fn all_came(sink: &Catcher, users: &[String], patience: Duration, what: &str) {
    within(patience, what, async || {
        let caught = times_caught(sink);
        users.iter().all(|user| caught.contains_key(user))
    })
    .await;
}

/// How many mails a process says it has sent.
async fn sent_by(worker: &Daemon) -> u64 {
    let metrics = worker.admin("/metrics").await.body;
    let of_sent =
        |line: &&str| line.starts_with("postroom_mails_settled_total{") && line.contains("state=\"sent\"");
    metrics.lines().filter(of_sent).map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_delays_nobody_for_long_and_comes_back() {
    let name = "machines::a_worker_that_is_cut_off_delays_nobody_for_long_and_comes_back";
    let Some(mut network) = in_own_network(name) else { return };
    let (of_redis, of_postgres) = (network.machine(), network.machine());
    let (redis, postgres, relay) = (of_redis.address, of_postgres.address, network.server(2));
    let options = CatcherOptions { smtp: (relay, 2525).into(), keep: 100_000, ..CatcherOptions::default() };
    let sink = Catcher::start(options).await.unwrap();
    let cluster = Cluster::start_on(&of_postgres);
    let queue = Redis::start_on(&of_redis, "--protected-mode no").await;
    let backends = Backends::of(cluster.new_database().await, queue)
        .with_route_to(&sink)
        .with("worker.silence", "3s")
        .with("queue.lease", "3s")
        .with("retry.first", "1s")
        .with("retry.longest", "5s");
    let mut machines: Vec<(Machine, Daemon)> = Vec::new();
    for role in ["ingress", "ingress", "worker", "worker", "worker", "worker"] {
        let machine = network.machine();
        let daemon = Daemon::start_on(&machine, role, &backends).await;
        machines.push((machine, daemon));
    }
    let (ingresses, workers) = machines.split_at(2);
    let shop = Shop::open(&ingresses[0].1, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let shops = [shop.clone(), shop.speaking_to(ingresses[1].1.url())];

    // How long a mail that was asked for in the cut may take at most.
    let soon = Duration::from_secs(12);
    let cuts = [
        ("redis", vec![redis], soon),
        ("postgres", vec![postgres], soon),
        ("both", vec![redis, postgres], soon),
        // It waits for an answer for 60 s. Mails that it fails to send are tried again after five seconds, by the others or once
        // more by this one.
        ("relay", vec![relay], Duration::from_secs(120)),
    ];
    for ((name, servers, patience), (machine, worker)) in cuts.into_iter().zip(workers) {
        let [in_cut, afterwards] =
            ["in-cut", "afterwards"].map(|when| addresses(&format!("{name}-{when}"), MAILS));
        let in_batches = addresses(&format!("{name}-in-batches"), IN_BATCHES);
        shop.enrol_all(&[&in_cut[..], &afterwards, &in_batches].concat()).await;
        servers.iter().for_each(|&server| machine.cut_off_from(server));
        tokio::join!(ask(&shops, &in_cut), ask_for_batches(&shop, &in_batches));
        let what = format!("the others send while one is cut off from {name}");
        all_came(&sink, &in_cut, patience, &what).await;
        all_came(&sink, &in_batches, patience.max(STEP), &what).await;

        servers.iter().for_each(|&server| machine.heal(server));
        within(soon, &format!("it is ready again after it was cut off from {name}"), async || {
            worker.admin("/readyz").await.status == 200
        })
        .await;
        let before = sent_by(worker).await;
        ask(&shops, &afterwards).await;
        all_came(&sink, &afterwards, Duration::from_secs(60), "all is well again").await;
        let sent = sent_by(worker).await - before;
        assert!(sent > 10, "it sent {sent} of {MAILS} after it was cut off from {name}");
    }
    backends.nobody_got_more_than_is_on_record(&sink).await;
}
