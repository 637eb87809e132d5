//! Claims that were offered to nobody are given back, whatever ended their jobs.

use super::{at_work::BROKEN, *};
use crate::smtp::Fence;

fn worker(silence: Duration) -> (Arc<Worker>, UnofferedClaims) {
    let (worker, claims) = Worker::new(silence, Arc::default());
    (Arc::new(worker), claims)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "nothing else moves the monotonic clock")]
fn a_worker_is_heard_only_while_both_clocks_say_so() {
    let silence = Duration::from_secs(10);
    let (worker, _claims) = worker(silence);
    assert!(!worker.is_heard(), "never heard");
    let (wall, monotonic) = (clock::now(), Instant::now());
    worker.note_heartbeat(wall, monotonic);
    assert!(worker.is_heard());
    worker.note_heartbeat(wall - silence, monotonic);
    assert!(!worker.is_heard(), "the wall clock is late");
    worker.note_heartbeat(wall + silence, worker.started);
    assert!(worker.is_heard(), "a clock that is set back does not silence");
    std::thread::sleep(Duration::from_millis(30));
    let (hasty, _claims) = Worker::new(Duration::from_millis(30), Arc::default());
    hasty.note_heartbeat(clock::now(), hasty.started);
    std::thread::sleep(Duration::from_millis(30));
    hasty.note_heartbeat(clock::now() + silence, hasty.started);
    assert!(!hasty.is_heard(), "a clock that is set back does not keep a worker alive");
}

#[test]
fn only_what_was_claimed_and_not_offered_is_given_back() {
    let (worker, mut claims) = worker(Duration::from_secs(10));
    worker.note_heartbeat(clock::now(), Instant::now());
    let row = Uuid::now_v7();
    let end = |claims: &mut UnofferedClaims, act: &dyn Fn(&AtWork)| {
        let at_work = worker.begin(row, MailLane::Transactional).unwrap();
        assert!(worker.begin(row, MailLane::Transactional).is_none());
        act(&at_work);
        drop(at_work);
        let unoffered = claims.0.try_recv().ok();
        assert_eq!(worker.is_at_work_on(row), unoffered.is_some(), "it stays at work until it is given back");
        if unoffered.is_some() {
            worker.forget_given_back(&[MailId(row)]);
        }
        unoffered.map(|unoffered| (unoffered.is_unanswered, unoffered.pause))
    };
    assert_eq!(end(&mut claims, &|_| {}), None);
    assert_eq!(end(&mut claims, &|at_work| at_work.note_claim_asked()), Some((true, RETRY_AFTER)));
    assert_eq!(end(&mut claims, &|at_work| at_work.note_claimed()), Some((false, BROKEN)));
    let offered = |at_work: &AtWork| {
        at_work.note_claimed();
        assert!(at_work.may_begin() && at_work.may_offer());
    };
    assert_eq!(end(&mut claims, &offered), None);
    worker.stopping.cancel();
    let stopped = |at_work: &AtWork| {
        at_work.note_claimed();
        assert!(!at_work.may_begin() && !at_work.is_offered());
    };
    assert_eq!(end(&mut claims, &stopped), Some((false, Duration::ZERO)));
}

#[test]
fn a_mail_claimed_before_a_silence_is_not_offered_after_it() {
    let silence = Duration::from_secs(10);
    let (worker, _claims) = worker(silence);
    let is_heard = |since: Duration| worker.note_heartbeat(clock::now() - since, Instant::now());
    is_heard(Duration::ZERO);
    let (lost, row) = (worker.begin(Uuid::now_v7(), MailLane::Transactional).unwrap(), Uuid::now_v7());
    lost.note_claim_asked();
    lost.note_claimed();
    is_heard(silence / 10);
    assert!(lost.may_begin(), "it was heard all the while");
    // The next heartbeat comes so late that the others have taken what it had.
    is_heard(silence);
    is_heard(Duration::ZERO);
    assert!(worker.is_heard() && !lost.may_begin() && !lost.may_offer() && !lost.is_offered());
    let claimed_again = worker.begin(row, MailLane::Transactional).unwrap();
    claimed_again.note_claim_asked();
    claimed_again.note_claimed();
    assert!(claimed_again.may_begin() && claimed_again.may_offer());
}

#[tokio::test]
async fn a_panic_between_claim_and_offer_gives_the_claim_back() {
    let (worker, mut claims) = worker(Duration::from_secs(10));
    let row = Uuid::now_v7();
    let job = std::panic::AssertUnwindSafe(async {
        let at_work = worker.begin(row, MailLane::Transactional);
        at_work.iter().for_each(AtWork::note_claimed);
        panic!("a job breaks");
    });
    assert!(futures_util::FutureExt::catch_unwind(job).await.is_err());
    assert_eq!(claims.0.try_recv().unwrap().mail, MailId(row));
    let waiting = tokio::time::timeout(Duration::from_millis(20), worker.all_given_back()).await;
    assert!(waiting.is_err() && worker.is_at_work_on(row));
    worker.forget_given_back(&[MailId(row)]);
    worker.all_given_back().await;
    assert!(!worker.is_at_work_on(row));
}
