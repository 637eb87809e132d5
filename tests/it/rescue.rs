//! Who picks up what waits: the scheduler looks after each lane for itself.

use postroom::{
    app::App,
    clock,
    config::Config,
    mail::{Lane, MailId, MailLane, NewMail},
    queue::{LaneStatus, QueuedJob},
    scheduler,
};

use super::{
    store::{merchant, new_mail, open, record},
    support::Backends,
};

/// Jobs of a lane that nobody takes.
async fn fill(app: &App, lane: Lane, jobs: usize) {
    let jobs: Vec<_> =
        (0..jobs).map(|_| QueuedJob::new(format!("send_mail:{}", MailId::new()), lane, merchant())).collect();
    for jobs in jobs.chunks(500) {
        app.queue.enqueue(jobs).await.unwrap();
    }
}

async fn waiting(app: &App, lane: Lane) -> u64 {
    let lanes = app.queue.status().await.unwrap().lanes;
    let of = |status: &&LaneStatus| status.lane == lane;
    lanes.iter().find(of).unwrap().waiting
}

on_both! {
    async fn a_full_bulk_lane_keeps_no_other_lanes_retries_back(backends: Backends) {
        let store = open(&backends).await;
        let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
        fill(&app, Lane::Bulk, 29_000).await;
        let due = |lane| {
            let a_minute_ago = clock::now() - std::time::Duration::from_secs(60);
            NewMail { lane, due_at: a_minute_ago, ..new_mail() }
        };
        // What a mail looks like that was greylisted a while ago.
        record(&store, due(MailLane::Transactional)).await;
        record(&store, due(MailLane::Bulk)).await;
        assert_eq!(scheduler::enqueue_due(&app).await.unwrap(), 1);
        assert_eq!((waiting(&app, Lane::Transactional).await, waiting(&app, Lane::Bulk).await), (1, 29_000));
    }
}
