use std::time::Duration;

use super::{lines::line_of_rate, *};
use crate::{
    clock,
    limits::{Ask, LimitSettings},
    mail::{Lane, PauseScope},
    queue::{FetchBudget, Line, MemoryQueue, Queue, QueuedJob, SetAside},
    store::PauseRecord,
};

/// Admission with one route, and a worker that is heard.
fn admission(rate: &str, connections: usize, limits: &str) -> (Admission, Arc<Worker>) {
    admission_to(&[("main", &format!("connections = {connections}"))], rate, limits)
}

/// Admission with these routes.
pub(super) fn admission_to(routes: &[(&str, &str)], rate: &str, limits: &str) -> (Admission, Arc<Worker>) {
    let route = |(name, more): &(&str, &str)| {
        let port = if more.contains("port = ") { "" } else { "port = 1\n" };
        let text = format!("name = \"{name}\"\nhost = \"127.0.0.1\"\n{port}tls = \"none\"\n{more}");
        toml::from_str(&text).unwrap()
    };
    let routes = Routes::new(&routes.iter().map(route).collect::<Vec<_>>()).unwrap();
    let (worker, _) = Worker::new(Duration::from_secs(10), Arc::clone(routes.freed()));
    let worker = Arc::new(worker);
    let rates = rate.parse::<Rate>().ok().map(|rate| ("main".to_owned(), rate));
    let mut table: toml::Table = "mails = \"\"\nper_merchant = \"\"\ndomains = []".parse().unwrap();
    table.extend(limits.parse::<toml::Table>().unwrap());
    let limits = MailLimits::new(&table.try_into::<LimitSettings>().unwrap()).unwrap();
    (Admission::new(routes, rates, limits, Limiter::local(), Arc::clone(&worker)), worker)
}

fn heard(rate: &str, connections: usize, limits: &str) -> Admission {
    let (admission, worker) = admission(rate, connections, limits);
    worker.note_heartbeat(clock::now(), Instant::now());
    admission
}

fn reason(admission: &Admission) -> Option<WaitReason> {
    admission.wait().map(|wait| wait.reason)
}

/// Mails of these merchants and domains, as they are fetched.
pub(super) async fn leases(mails: &[(&str, &str)]) -> Vec<Lease> {
    let queue = MemoryQueue::new(Duration::from_secs(10));
    for (number, (merchant, domain)) in mails.iter().enumerate() {
        let job = QueuedJob::new(format!("{number:03}"), Lane::Transactional, merchant.parse().unwrap());
        queue.enqueue(&[job.with_domains("shop.example", domain)]).await.unwrap();
    }
    let mut leases = queue.fetch(FetchBudget::for_any(100)).await.unwrap().leases;
    leases.sort_by_key(|lease| lease.job.id.clone());
    leases
}

/// The same, as they come from a line.
async fn in_line(name: &str, mails: &[(&str, &str)]) -> Vec<Lease> {
    let queue = MemoryQueue::new(Duration::from_secs(10));
    for (number, (merchant, domain)) in mails.iter().enumerate() {
        let job = QueuedJob::new(format!("{number:03}"), Lane::Transactional, merchant.parse().unwrap());
        queue.enqueue(&[job.with_domains("shop.example", domain)]).await.unwrap();
    }
    let leases = queue.fetch(FetchBudget::for_any(100)).await.unwrap().leases;
    let (name, reason, after) = (name.to_owned(), WaitReason::Rate, Some(Duration::ZERO));
    let line = Line { name, reason, after, at_most: 100 };
    queue.set_aside(&[SetAside { line, leases }]).await.unwrap();
    queue.fetch(FetchBudget::for_any(100)).await.unwrap().leases
}

/// What is paused, until it is resumed.
fn paused(scope: &str) -> PauseRecord {
    let (kind, name) = scope.split_once(':').unwrap();
    let scope = PauseScope::parse(kind, name).unwrap();
    let (reason, actor) = ("tried".to_owned(), "cli:ann".to_owned());
    PauseRecord { scope, reason, actor, at: clock::now(), ends_at: None, is_suspension: false }
}

/// What becomes of these mails: `now`, or the line that each waits in.
async fn decided(admission: &Admission, mails: &[Lease]) -> Vec<String> {
    let (_, reserved) = admission.reserve(mails.len());
    let decisions = admission.decide(reserved, mails).await;
    let told = decisions.into_iter().map(|decision| match decision {
        Decision::Now(permit) => {
            permit.spend();
            "now".to_owned()
        }
        Decision::Later(line) => format!("{} {}", line.reason, line.name),
        Decision::NotHere => "not here".to_owned(),
    });
    told.collect()
}

#[tokio::test]
async fn there_is_room_while_the_worker_is_heard_and_a_connection_is_free() {
    let (admission, worker) = admission("", 2, "");
    assert_eq!((admission.reserve(9).0, reason(&admission)), (0, Some(WaitReason::Queued)));
    worker.note_heartbeat(clock::now(), Instant::now());
    let (number, held) = admission.reserve(9);
    assert_eq!((number, reason(&admission)), (2, Some(WaitReason::NoConnection)));
    assert_eq!(admission.reserve(9).0, 0);
    drop(held);
    assert_eq!((admission.reserve(2).0, reason(&admission)), (2, None));
    let mails = leases(&[("acme", "a.example"); 2]).await;
    let (_, reserved) = admission.reserve(2);
    worker.stopping.cancel();
    let decisions = admission.decide(reserved, &mails).await;
    assert!(decisions.iter().all(|decision| matches!(decision, Decision::NotHere)));
}

/// Else each of them would be claimed and rendered, only to be given back.
#[tokio::test]
async fn mails_of_a_sender_that_a_relay_refused_wait_without_a_claim_and_others_go() {
    let admission = heard("", 10, "");
    let mails = leases(&[("acme", "a.example"); 3]).await;
    let route = Arc::clone(&admission.routes.all()[0]);
    route.refuse_sender("other.example", Duration::from_secs(60));
    assert_eq!(decided(&admission, &mails).await, ["now"; 3]);
    assert!(!admission.waits_for_relays(&mails[0].job));
    route.refuse_sender("shop.example", Duration::from_secs(60));
    assert_eq!(decided(&admission, &mails).await, ["route_away sender:shop.example"; 3]);
    assert!(admission.waits_for_relays(&mails[0].job));
    admission.set_paused(Paused::of(vec![paused("route:main")]));
    assert!(!admission.waits_for_relays(&mails[0].job), "an operator keeps it waiting");
}

/// One that is woken by the connections which it gives back itself would keep its thread, and no time limit would end that.
#[test]
fn a_mail_that_waits_to_be_handed_a_connection_does_not_wake_itself() {
    let (done, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let is_waiting = runtime.block_on(async {
            let single = ("single", "connections = 1\nlanes = [\"transactional\"]");
            let (admission, worker) =
                admission_to(&[single, ("bulk", "connections = 1\nlanes = [\"bulk\"]")], "", "");
            worker.note_heartbeat(clock::now(), Instant::now());
            let _taken =
                admission.routes.all().iter().find(|route| route.name() == "single").unwrap().permit_now();
            let mail = QueuedJob::new("1".to_owned(), Lane::Transactional, "acme".parse().unwrap());
            let mail = mail.with_domains("shop.example", "a.example");
            tokio::time::timeout(Duration::from_millis(50), admission.admit_at_once(mail)).await.is_err()
        });
        done.send(is_waiting)
    });
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(true));
}

#[tokio::test]
async fn a_worker_that_may_not_begin_waits_for_no_time_that_is_over() {
    let (admission, worker) = admission("", 1, "");
    let until = Some(Instant::now());
    *admission.wait.lock().unwrap() = Some(Wait { reason: WaitReason::RouteAway, route: None, until });
    let changes = async || tokio::time::timeout(Duration::from_millis(50), admission.changed()).await.is_ok();
    assert!(!changes().await);
    worker.note_heartbeat(clock::now(), Instant::now());
    assert!(changes().await);
}

#[tokio::test]
async fn a_mail_waits_for_the_first_of_its_scopes_that_is_used_up_and_we_know_which() {
    let limits = "mails = \"4/h burst 4\"\nper_merchant = \"2/h burst 2\"
        [[domains]]\nnames = [\"gmail.com\"]\nrate = \"1/h\"";
    let admission = heard("", 100, limits);
    let mails = leases(&[
        ("acme", "gmail.com"),
        ("acme", "gmail.com"),
        ("acme", "a.example"),
        ("acme", "a.example"),
        ("b", "b.example"),
        ("c", "b.example"),
        ("c", "b.example"),
    ])
    .await;
    let told = decided(&admission, &mails).await;
    let expected = ["now", "rate domain:gmail.com", "now", "rate merchant:acme", "now", "now", "rate all"];
    assert_eq!(told, expected);
    // Who comes now goes behind those who wait, without asking.
    assert_eq!(decided(&admission, &mails[..1]).await, ["rate domain:gmail.com"]);
}

#[tokio::test]
async fn a_mail_that_meets_two_scarce_rates_waits_for_both_at_once_and_goes_to_and_fro_no_more() {
    let joint = "domain:gmail.com + merchant:acme";
    for limits in [("1/h", "1/d"), ("1/d", "1/h")] {
        let (of_merchants, of_gmail) = limits;
        let domains = format!("[[domains]]\nnames = [\"gmail.com\"]\nrate = \"{of_gmail}\"");
        let admission = heard("", 100, &format!("per_merchant = \"{of_merchants}\"\n{domains}"));
        let others = leases(&[("acme", "a.example"), ("b", "gmail.com")]).await;
        assert_eq!(decided(&admission, &others).await, ["now", "now"]);
        let mail = [("acme", "gmail.com"); 2];
        let slower = if of_gmail == "1/d" { "domain:gmail.com" } else { "merchant:acme" };
        let quicker = if of_gmail == "1/d" { "merchant:acme" } else { "domain:gmail.com" };
        let told = |name: &str| [format!("rate {name}"), format!("rate {name}")];
        assert_eq!(decided(&admission, &in_line(slower, &mail).await).await, told(slower));
        assert_eq!(decided(&admission, &in_line(quicker, &mail).await).await, told(joint));
        assert_eq!(decided(&admission, &in_line(joint, &mail).await).await, told(joint));
        // Mails of a line that waits for something else than rates go where their rates say.
        assert_eq!(decided(&admission, &in_line("route", &mail).await).await, told(slower));
    }
}

#[tokio::test]
async fn bulk_mails_that_wait_for_several_rates_ask_before_those_that_wait_for_one() {
    let mut mails = in_line("merchant:acme", &[("acme", "a.example"); 2]).await;
    mails.extend(in_line("domain:gmail.com + merchant:acme", &[("acme", "gmail.com"); 2]).await);
    assert_eq!(lines::order_of_asking(&mails), [0, 1, 2, 3], "urgent mails keep their order");
    mails.iter_mut().skip(1).for_each(|mail| mail.job.lane = Lane::Bulk);
    assert_eq!(lines::order_of_asking(&mails), [0, 2, 3, 1]);
}

#[tokio::test]
async fn lines_that_wait_for_the_same_rate_and_another_take_turns() {
    let domains = "[[domains]]\nnames = [\"*\"]\nrate = \"1/h\"";
    let admission = heard("10/s", 100, domains);
    let ask = |domain: &str| {
        admission.in_force().limits.scopes_of(
            &"acme".parse().unwrap(),
            None,
            domain,
            &"main".into(),
            Some("10/s".parse().unwrap()),
        )
    };
    let wait = Duration::from_millis(5);
    let mut turns = Vec::new();
    for domain in ["a.example", "b.example", "c.example"] {
        let (ask, lease) =
            (ask(domain), in_line(&format!("domain:{domain}"), &[("acme", domain)]).await.remove(0));
        let line = line_of_rate(&admission.in_force().routes[0].scope, &ask, wait);
        admission.rates.exhausted.note_exhausted(admission.in_force().routes[0].scope.clone(), wait, &line);
        let mut bulk = lease.clone();
        bulk.job.lane = Lane::Bulk;
        turns.push(admission.rates.exhausted.join(line.clone(), &ask, &bulk).after.unwrap());
        let urgent = admission.rates.exhausted.join(line, &ask, &lease).after.unwrap();
        assert!(urgent <= wait, "an urgent mail waits for no turn: {urgent:?}");
    }
    assert!(
        turns[0] >= wait - Duration::from_millis(2) && turns.windows(2).all(|two| two[1] > two[0]),
        "{turns:?}"
    );
    assert!(turns[2] <= wait + Duration::from_millis(100), "{turns:?}");
}

/// Of each two that are fetched from the line of a rate one goes, and the other only says when the next may.
#[tokio::test]
async fn weights_hold_while_a_rate_makes_mails_wait() {
    let domains = "[[domains]]\nnames = [\"*\"]\nrate = \"200/s burst 1\"";
    let (admission, worker) = admission_to(&[("main", "weight = 3"), ("side", "weight = 1")], "", domains);
    worker.note_heartbeat(clock::now(), Instant::now());
    let (mut times, routes) = ([0; 2], admission.routes.all());
    while times[0] + times[1] < 40 {
        let mails = in_line("domain:gmail.com", &[("acme", "gmail.com"); 2]).await;
        let (_, reserved) = admission.reserve(2);
        let decisions = admission.decide(reserved, &mails).await;
        (0..2).for_each(|place| times[place] += routes[place].status().busy);
        for decision in decisions {
            if let Decision::Now(permit) = decision {
                permit.spend();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(times, [30, 10]);
}

#[tokio::test]
async fn a_permit_that_is_not_used_leaves_its_connection_and_its_rates_to_another() {
    let admission = heard("1/h", 1, "");
    let mails = leases(&[("acme", "a.example")]).await;
    for _ in 0..3 {
        let (_, reserved) = admission.reserve(1);
        let decision = admission.decide(reserved, &mails).await.pop().unwrap();
        assert!(matches!(decision, Decision::Now(_)));
    }
    assert_eq!(Vec::from_iter(admission.rates.exhausted.take_lines_to_wake()), ["route:main"]);
    assert_eq!(decided(&admission, &mails).await, ["now"]);
    assert_eq!(decided(&admission, &mails).await, ["rate route:main"]);
    assert!(admission.rates.exhausted.take_lines_to_wake().is_empty());
    assert_eq!(admission.reserve(1).0, 1, "a mail that waits holds no connection");
}

#[tokio::test]
async fn tokens_that_have_become_old_are_renewed_before_the_mail_goes() {
    let admission = heard("50/s", 10, "");
    let mails = leases(&[("acme", "a.example"); 2]).await;
    let (_, reserved) = admission.reserve(2);
    let mut tokens = Vec::new();
    for decision in admission.decide(reserved, &mails).await {
        let Decision::Now(permit) = decision else { panic!("a burst of two goes at once") };
        tokens.push(permit.into_token());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Whoever came meanwhile has used the burst up: those that were held up go after it, at the pace of the rate.
    assert_eq!(decided(&admission, &mails).await, ["now", "now"]);
    let started = Instant::now();
    for token in tokens {
        token.wait_and_renew().await.spend();
    }
    assert!(started.elapsed() >= Duration::from_millis(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_paused_mail_waits_and_every_other_goes() {
    let admission = heard("", 100, "");
    let mails = leases(&[("tea-co", "a.example"), ("acme", "gmail.com"), ("acme", "a.example")]).await;
    let pause = |scopes: &[&str]| {
        admission.set_paused(Paused::of(scopes.iter().map(|scope| paused(scope)).collect()));
    };
    pause(&["merchant:tea-co", "domain:gmail.com", "route:other", "lane:bulk"]);
    let expected = ["paused merchant:tea-co", "paused domain:gmail.com", "now"];
    assert_eq!(decided(&admission, &mails).await, expected);
    pause(&["route:main"]);
    assert_eq!(decided(&admission, &mails[2..]).await, ["paused route:main"]);
    pause(&["lane:transactional"]);
    assert_eq!(decided(&admission, &mails[2..]).await, ["paused lane:transactional"]);
    pause(&[]);
    assert_eq!(decided(&admission, &mails[2..]).await, ["now"]);
}

#[tokio::test]
async fn a_merchants_own_rate_replaces_that_of_each_and_a_change_names_its_line() {
    let admission = heard("", 100, "per_merchant = \"1/h\"");
    let mails = leases(&[("acme", "a.example"), ("acme", "a.example")]).await;
    assert_eq!(decided(&admission, &mails).await, ["now", "rate merchant:acme"]);
    let rates = HashMap::from([("acme".parse().unwrap(), "3600/s".parse().unwrap())]);
    assert_eq!(admission.set_own_rates(rates.clone()), ["merchant:acme"]);
    assert!(admission.set_own_rates(rates).is_empty());
    let waiting = in_line("merchant:acme", &[("acme", "a.example"); 2]).await;
    // It begins with its burst spent, which comes back within 50 ms.
    decided(&admission, &waiting).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Who has just come goes behind those that wait.
    assert_eq!(decided(&admission, &mails[..1]).await, ["rate merchant:acme"]);
    assert_eq!(decided(&admission, &waiting).await, ["now", "now"]);
    assert_eq!(admission.set_own_rates(HashMap::new()), ["merchant:acme"]);
}

#[test]
fn a_quick_rate_lets_several_go_together_and_a_slow_one_one_at_a_time() {
    let line = |rate: &str| {
        let scope = Scope::All;
        let ask: Ask = [(scope.clone(), rate.parse().unwrap())].into_iter().collect();
        let line = line_of_rate(&scope, &ask, Duration::from_millis(3));
        (line.after.unwrap().as_micros() / 1_000, line.at_most)
    };
    assert_eq!(line("200/s"), (18, 5));
    assert_eq!(line("10/s"), (3, 2));
    assert_eq!(line("10/d"), (3, 2));
    assert_eq!(line("10000/s"), (22, 201));
}
