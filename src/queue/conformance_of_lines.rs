//! What every queue promises about jobs that are set aside, run on both.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    FetchBudget, Fetched, Group, Lease, Line, Queue, QueuedJob, SHARE, SetAside, Whereabouts,
    conformance::{Kind, LONG, Opened, counts, job, jobs, on_both_queues},
    joined,
    redis_server::eventually,
};
use crate::mail::{
    Lane::{self, Bulk, Callback, Transactional},
    WaitReason,
};

const SHORT: Duration = Duration::from_millis(300);
const SECOND: Duration = Duration::from_secs(1);
const SOON: Option<Duration> = Some(SECOND);
const LATE: Option<Duration> = Some(Duration::from_secs(3_600));

fn line(name: &str, after: Option<Duration>, at_most: usize) -> Line {
    Line { name: name.to_owned(), reason: WaitReason::Rate, after, at_most }
}

async fn fetch(queue: &Arc<dyn Queue>, room: usize) -> Fetched {
    queue.fetch(FetchBudget::for_any(room)).await.unwrap()
}

async fn set_aside(queue: &Arc<dyn Queue>, line: Line, leases: Vec<Lease>) -> usize {
    queue.set_aside(&[SetAside { line, leases }]).await.unwrap()
}

/// Enqueues the jobs and sets them all aside.
async fn all_aside(queue: &Arc<dyn Queue>, jobs: &[QueuedJob], line: Line) {
    queue.enqueue(jobs).await.unwrap();
    let fetched = fetch(queue, jobs.len()).await.leases;
    assert_eq!(set_aside(queue, line, fetched).await, jobs.len());
}

/// What a line whose time has come gives.
async fn fetch_due(queue: &Arc<dyn Queue>, room: usize) -> Vec<Lease> {
    let mut leases = Vec::new();
    eventually(async || {
        leases = fetch(queue, room).await.leases;
        !leases.is_empty()
    })
    .await;
    leases
}

fn ids(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.job.id.as_str()).collect()
}

fn of(merchant: &str, lane: Lane, id: &str) -> QueuedJob {
    QueuedJob { lane, merchant: merchant.parse().unwrap(), ..job(id) }
}

on_both_queues! {
    a_merchant_that_crowds_a_lane_is_told_from_the_others_and_jobs_set_aside_do_not_count
    a_job_that_is_set_aside_waits_for_the_time_of_its_line_and_others_pass_it_by
    a_line_gives_as_many_as_were_said_and_then_waits_for_an_answer
    a_line_keeps_lanes_turns_and_order_and_what_comes_back_comes_first
    jobs_from_elsewhere_make_a_line_at_most_earlier
    a_line_gives_its_share_of_each_lane_and_takes_no_turn_of_callbacks
    a_job_that_is_set_aside_is_not_enqueued_twice_and_is_found_where_it_is
    of_a_worker_that_dies_before_it_sets_jobs_aside_the_leases_expire
    of_a_worker_that_dies_after_it_fetched_from_a_line_the_line_goes_on
    a_late_worker_sets_nothing_aside
    a_line_without_a_time_waits_until_it_is_woken
    a_line_that_waits_for_several_things_is_woken_with_each_of_them
    a_line_of_a_paused_lane_gives_nothing_and_does_not_stop_other_lines
    a_worker_without_room_leaves_due_lines_to_another
    a_job_that_was_released_keeps_its_turn_in_a_line
    a_job_from_another_line_comes_before_its_merchants_others_and_takes_no_other_merchants_turn
    domains_come_back_as_they_were_given
    a_fetch_says_whether_it_leaves_single_mails
    twenty_thousand_set_aside_over_many_lines_cost_a_fetch_nothing
}

async fn a_merchant_that_crowds_a_lane_is_told_from_the_others_and_jobs_set_aside_do_not_count(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&jobs(SHARE + 1)).await.unwrap();
    let in_bulk: Vec<_> = (0..=SHARE).map(|n| of("bulky", Bulk, &format!("bulk{n}"))).collect();
    queue.enqueue(&in_bulk).await.unwrap();
    queue.enqueue(&[of("small", Transactional, "late")]).await.unwrap();
    let crowding = async |lane| queue.crowding(lane).await.unwrap();
    assert_eq!(crowding(Transactional).await, ["acme".parse().unwrap()]);
    let fetched = fetch(&queue, 2).await.leases;
    assert!(ids(&fetched).contains(&"late"), "merchants take turns");
    set_aside(&queue, line("rate", LATE, 1), fetched).await;
    assert_eq!(crowding(Transactional).await, []);
    assert_eq!(crowding(Bulk).await, ["bulky".parse().unwrap()]);
    assert_eq!(crowding(Callback).await, []);
}

async fn a_fetch_says_whether_it_leaves_single_mails(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let bulk = |n| QueuedJob { lane: Lane::Bulk, ..job(format!("of a batch {n}")) };
    queue.enqueue(&[job("a"), job("b"), bulk(0), bulk(1)]).await.unwrap();
    assert!(fetch(&queue, 0).await.leaves_single_mails, "without room too");
    assert!(fetch(&queue, 1).await.leaves_single_mails);
    let last = fetch(&queue, 1).await;
    assert_eq!((last.leases[0].job.id.as_str(), last.leaves_single_mails), ("b", false));
    queue.release(&last.leases).await.unwrap();
    assert!(fetch(&queue, 0).await.leaves_single_mails, "it comes before others");
    queue.pause(Lane::Transactional).await.unwrap();
    assert!(!fetch(&queue, 1).await.leaves_single_mails, "none of a paused lane");
}

async fn a_job_that_is_set_aside_waits_for_the_time_of_its_line_and_others_pass_it_by(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let started = Instant::now();
    all_aside(&queue, &jobs(3), line("domain:gmail.com", SOON, 10)).await;
    assert_eq!(counts(&queue).await, (3, 0));
    queue.enqueue(&[job("passes by")]).await.unwrap();
    let fetched = fetch(&elsewhere, 10).await;
    assert_eq!(ids(&fetched.leases), ["passes by"]);
    assert!(fetched.due_in.is_some_and(|due_in| due_in <= Duration::from_millis(1_001)), "{fetched:?}");
    let status = queue.status().await.unwrap();
    assert_eq!((status.lanes[0].waiting, status.lanes[0].set_aside, status.lanes[0].leased), (3, 3, 1));
    assert_eq!((status.lines[0].name.as_str(), status.lines[0].waiting), ("domain:gmail.com", 3));
    let due = fetch_due(&elsewhere, 10).await;
    assert!(started.elapsed() >= SECOND);
    assert_eq!(ids(&due), ["send_mail:000000", "send_mail:000001", "send_mail:000002"]);
    assert!(due.iter().all(|lease| lease.line() == Some("domain:gmail.com")));
    assert_eq!(elsewhere.finish(&due).await.unwrap(), 3);
    let status = queue.status().await.unwrap();
    assert_eq!((status.lanes[0].waiting, status.lanes[0].set_aside, status.lines.len()), (0, 0, 0));
    assert_eq!(fetch(&queue, 10).await.due_in, None);
}

async fn a_line_gives_as_many_as_were_said_and_then_waits_for_an_answer(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    all_aside(&queue, &jobs(10), line("all", Some(Duration::ZERO), 2)).await;
    let first = fetch_due(&queue, 10).await;
    assert_eq!(ids(&first), ["send_mail:000000", "send_mail:000001"]);
    let meanwhile = fetch(&elsewhere, 10).await;
    assert!(meanwhile.leases.is_empty() && meanwhile.due_in.is_some(), "{meanwhile:?}");
    // The first went, the second may not yet: it is the next one.
    queue.finish(&first[..1]).await.unwrap();
    set_aside(&queue, line("all", SOON, 3), first[1..].to_vec()).await;
    assert!(fetch(&elsewhere, 10).await.leases.is_empty());
    let second = fetch_due(&elsewhere, 10).await;
    assert_eq!(ids(&second), ["send_mail:000001", "send_mail:000002", "send_mail:000003"]);
    // All went: the line is told to go on.
    queue.finish(&second).await.unwrap();
    set_aside(&queue, line("all", Some(Duration::ZERO), 100), Vec::new()).await;
    assert_eq!(fetch_due(&queue, 10).await.len(), 6);
}

async fn a_line_keeps_lanes_turns_and_order_and_what_comes_back_comes_first(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let bulk: Vec<QueuedJob> = (0..5).map(|n| of("acme", Bulk, &format!("bulk{n}"))).collect();
    all_aside(&queue, &bulk, line("all", LATE, 1)).await;
    let later = [of("small", Bulk, "small"), of("acme", Transactional, "somebody waits")];
    all_aside(&queue, &later, line("all", LATE, 1)).await;
    let mut order = Vec::new();
    for round in 0..4 {
        queue.wake(&["all".to_owned()]).await.unwrap();
        let next = fetch_due(&queue, 10).await;
        assert_eq!(next.len(), 1);
        order.push(next[0].job.id.clone());
        if round == 1 {
            set_aside(&queue, line("all", LATE, 1), next).await;
        } else {
            queue.finish(&next).await.unwrap();
        }
    }
    assert_eq!(order, ["somebody waits", "bulk0", "bulk0", "small"]);
}

async fn jobs_from_elsewhere_make_a_line_at_most_earlier(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let until = async |queue: &Arc<dyn Queue>| fetch(queue, 1).await.due_in.unwrap();
    all_aside(&queue, &jobs(1), line("all", Some(Duration::from_secs(60)), 1)).await;
    all_aside(&queue, &[job("later")], line("all", LATE, 1)).await;
    assert!(until(&queue).await <= Duration::from_secs(60));
    all_aside(&queue, &[job("sooner")], line("all", Some(Duration::from_secs(20)), 1)).await;
    assert!(until(&queue).await <= Duration::from_secs(20));
    // Whoever was asked about the line knows.
    set_aside(&queue, line("all", LATE, 1), Vec::new()).await;
    assert!(until(&queue).await > Duration::from_secs(60));
}

async fn a_line_gives_its_share_of_each_lane_and_takes_no_turn_of_callbacks(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let bulk: Vec<QueuedJob> = (0..100).map(|n| of("acme", Bulk, &format!("bulk{n}"))).collect();
    all_aside(&queue, &bulk, line("all", Some(Duration::ZERO), 100)).await;
    queue.enqueue(&jobs(100)).await.unwrap();
    let callbacks: Vec<QueuedJob> = (0..100).map(|n| of("acme", Callback, &format!("callback{n}"))).collect();
    queue.enqueue(&callbacks).await.unwrap();
    let fetched = fetch_due(&queue, 64).await;
    let share = |lane| fetched.iter().filter(|lease| lease.job.lane == lane).count();
    assert!(share(Bulk) < 10 && share(Transactional) > 40 && share(Callback) >= 4, "{fetched:?}");
}

async fn a_job_that_is_set_aside_is_not_enqueued_twice_and_is_found_where_it_is(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let [aside, waiting, leased] = ["aside", "waiting", "leased"].map(job);
    all_aside(&queue, std::slice::from_ref(&aside), line("route:main", LATE, 1)).await;
    assert_eq!(queue.enqueue(&[aside]).await.unwrap(), 0);
    queue.enqueue(&[leased]).await.unwrap();
    assert_eq!(fetch(&queue, 1).await.leases.len(), 1);
    queue.enqueue(&[waiting]).await.unwrap();
    let asked = ["aside", "waiting", "leased", "unknown"].map(str::to_owned);
    let places = elsewhere.where_are(&asked).await.unwrap();
    let Whereabouts::InLine { name, reason, until: Some(until) } = &places[0] else { panic!("{places:?}") };
    assert_eq!((&**name, *reason), ("route:main", WaitReason::Rate));
    let left = until.since(crate::clock::now());
    assert!(left > Duration::from_secs(3_500) && left <= Duration::from_secs(3_600), "{left:?}");
    assert_eq!(places[1..], [Whereabouts::Waiting, Whereabouts::Leased, Whereabouts::Unknown]);
}

async fn of_a_worker_that_dies_before_it_sets_jobs_aside_the_leases_expire(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(SHORT).await;
    all_aside(&queue, &jobs(2), line("all", Some(Duration::ZERO), 1)).await;
    assert_eq!(fetch_due(&queue, 1).await.len(), 1);
    let mut seen = BTreeSet::new();
    eventually(async || {
        seen.extend(fetch(&elsewhere, 10).await.leases.into_iter().map(|lease| lease.job.id));
        seen.len() == 2
    })
    .await;
    assert!(seen.iter().eq(["send_mail:000000", "send_mail:000001"]));
}

async fn of_a_worker_that_dies_after_it_fetched_from_a_line_the_line_goes_on(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    all_aside(&queue, &jobs(2), line("all", Some(Duration::ZERO), 1)).await;
    assert_eq!(fetch_due(&queue, 1).await.len(), 1);
    let died_at = Instant::now();
    assert_eq!(ids(&fetch_due(&elsewhere, 1).await), ["send_mail:000001"]);
    assert!(died_at.elapsed() < LONG / 2, "long before the lease expires");
}

async fn a_late_worker_sets_nothing_aside(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(SHORT).await;
    queue.enqueue(&[job("a")]).await.unwrap();
    let late = fetch(&queue, 1).await.leases;
    let current = fetch_due(&elsewhere, 1).await;
    assert_eq!(set_aside(&queue, line("all", LATE, 1), late).await, 0);
    assert_eq!(counts(&queue).await, (0, 1));
    assert!(queue.status().await.unwrap().lines.is_empty());
    assert_eq!(elsewhere.finish(&current).await.unwrap(), 1);
}

async fn a_line_without_a_time_waits_until_it_is_woken(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    all_aside(&queue, &jobs(1), line("route:main", None, 5)).await;
    all_aside(&queue, &[job("other")], line("route:other", None, 5)).await;
    let waiting = fetch(&queue, 10).await;
    assert!(waiting.leases.is_empty() && waiting.due_in.is_none(), "{waiting:?}");
    assert_eq!(queue.status().await.unwrap().lines[0].until, None);
    let waits = tokio::spawn(async move {
        loop {
            let leases = fetch(&queue, 10).await.leases;
            if !leases.is_empty() {
                return leases;
            }
            queue.wait(Group::Mails, LONG).await.unwrap();
        }
    });
    elsewhere.wake(&["route:other".to_owned(), "route:unknown".to_owned()]).await.unwrap();
    let woken =
        tokio::time::timeout(Duration::from_secs(5), waits).await.expect("a worker is woken").unwrap();
    assert_eq!(ids(&woken), ["other"]);
    elsewhere.wake_all().await.unwrap();
    assert_eq!(ids(&fetch_due(&elsewhere, 10).await), ["send_mail:000000"]);
}

async fn a_line_that_waits_for_several_things_is_woken_with_each_of_them(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let both = joined(["merchant:b", "domain:a.example"]);
    assert_eq!(both, "domain:a.example + merchant:b");
    for (other, woken_with) in [("merchant:bb", "merchant:b"), ("domain:a.exam", "domain:a.example")] {
        all_aside(&queue, &[job("mail")], line(&both, LATE, 5)).await;
        elsewhere.wake(&[other.to_owned()]).await.unwrap();
        assert!(fetch(&queue, 10).await.leases.is_empty(), "{other} is something else");
        elsewhere.wake(&[woken_with.to_owned()]).await.unwrap();
        let woken = fetch_due(&queue, 10).await;
        assert_eq!(ids(&woken), ["mail"]);
        assert_eq!(queue.finish(&woken).await.unwrap(), 1);
    }
}

async fn a_line_of_a_paused_lane_gives_nothing_and_does_not_stop_other_lines(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    all_aside(&queue, &[of("acme", Bulk, "bulk")], line("merchant:acme", Some(Duration::ZERO), 1)).await;
    queue.pause(Bulk).await.unwrap();
    let idle = fetch(&queue, 10).await;
    assert!(idle.leases.is_empty() && idle.due_in.is_some_and(|due_in| !due_in.is_zero()), "{idle:?}");
    all_aside(&queue, &jobs(1), line("all", Some(Duration::ZERO), 1)).await;
    assert_eq!(ids(&fetch_due(&queue, 10).await), ["send_mail:000000"]);
    queue.resume(Bulk).await.unwrap();
    assert_eq!(ids(&fetch_due(&queue, 10).await), ["bulk"]);
}

async fn a_worker_without_room_leaves_due_lines_to_another(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    all_aside(&queue, &jobs(1), line("all", Some(Duration::ZERO), 1)).await;
    // Takes what is left of the signal, as an idle worker would.
    elsewhere.wait(Group::Mails, SHORT).await.unwrap();
    let busy = queue.fetch(FetchBudget::default().with(Group::Callbacks, 1)).await.unwrap();
    assert!(busy.leases.is_empty() && busy.due_in.is_none(), "{busy:?}");
    tokio::time::timeout(Duration::from_secs(5), elsewhere.wait(Group::Mails, LONG)).await.unwrap().unwrap();
    assert_eq!(fetch_due(&elsewhere, 1).await.len(), 1);
}

async fn a_job_that_was_released_keeps_its_turn_in_a_line(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&jobs(6)).await.unwrap();
    let first = fetch(&queue, 2).await.leases;
    let others = fetch(&queue, 10).await.leases;
    set_aside(&queue, line("all", LATE, 10), others).await;
    queue.release(&first).await.unwrap();
    let again = fetch(&queue, 10).await.leases;
    assert_eq!(ids(&again), ids(&first));
    set_aside(&queue, line("all", Some(Duration::ZERO), 10), again).await;
    let due = fetch_due(&queue, 10).await;
    assert_eq!(ids(&due), jobs(6).iter().map(|job| job.id.as_str()).collect::<Vec<_>>());
}

async fn a_job_from_another_line_comes_before_its_merchants_others_and_takes_no_other_merchants_turn(
    kind: Kind,
) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let tea = ["tea 1", "tea 2"].map(|id| of("tea", Bulk, id));
    all_aside(&queue, &tea, line("route:main", Some(SHORT), 10)).await;
    let later = [
        of("ink", Bulk, "ink 1"),
        of("ink", Bulk, "ink 2"),
        of("tea", Bulk, "tea 3"),
        of("tea", Bulk, "tea 4"),
    ];
    all_aside(&queue, &later, line("all", LATE, 10)).await;
    let moved = fetch_due(&queue, 10).await;
    assert_eq!(ids(&moved), ["tea 1", "tea 2"]);
    set_aside(&queue, line("all", LATE, 10), moved).await;
    queue.wake(&["all".to_owned()]).await.unwrap();
    assert_eq!(ids(&fetch_due(&queue, 10).await), ["ink 1", "tea 1", "ink 2", "tea 2", "tea 3", "tea 4"]);
}

async fn domains_come_back_as_they_were_given(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let mail = job("mail").with_domains("shop.example", "xn--bcher-kva.example");
    queue.enqueue(&[mail.clone(), job("no mail")]).await.unwrap();
    let fetched = fetch(&queue, 2).await.leases;
    assert_eq!([&fetched[0].job, &fetched[1].job], [&mail, &job("no mail")]);
    set_aside(&queue, line("all", Some(Duration::ZERO), 2), fetched).await;
    let again = fetch_due(&queue, 2).await;
    assert_eq!(again[0].job, mail);
    queue.release(&again).await.unwrap();
    assert_eq!(fetch(&queue, 2).await.leases[0].job, mail);
}

async fn twenty_thousand_set_aside_over_many_lines_cost_a_fetch_nothing(kind: Kind) {
    let Opened { queue, server, .. } = kind.open(LONG).await;
    for chunk in jobs(20_000).chunks(500) {
        queue.enqueue(chunk).await.unwrap();
        let fetched = fetch(&queue, 500).await.leases;
        let number = |lease: &Lease| lease.job.id[10..].parse::<usize>().unwrap() % 1_000;
        let mut asides: Vec<SetAside> = Vec::new();
        for lease in fetched {
            let name = format!("domain:d{}.example", number(&lease));
            match asides.iter_mut().find(|aside| aside.line.name == name) {
                Some(aside) => aside.leases.push(lease),
                None => asides.push(SetAside { line: line(&name, LATE, 1), leases: vec![lease] }),
            }
        }
        assert_eq!(queue.set_aside(&asides).await.unwrap(), 500);
    }
    let started = Instant::now();
    for _ in 0..100 {
        assert!(fetch(&queue, 10).await.leases.is_empty());
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let status = queue.status().await.unwrap();
    assert_eq!((status.lines.len(), status.lanes[0].set_aside), (100, 20_000));
    if let Some(server) = server {
        let info: String = ::redis::from_redis_value(server.ask(&["INFO", "memory"]).await).unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let used: u64 = used.trim().parse().unwrap();
        assert!(used < 12_000_000, "a fifth of a hundred thousand takes {used} bytes");
    }
}
