//! Bulk actions: what is drafted is what is done, each mail once, whatever comes in between.

use std::time::Duration;

use postroom::{
    app::App,
    config::Config,
    jobs::{Job, Outcome, RunBulkAction},
    mail::{ActionId, ActionKind, ActionResult, ActionState, ActionWish},
    store::{ActionMoved, ActionRecord, NewAction},
};
use serde_json::{Value, json};

use super::support::{Backends, Cluster, Credential, Hook, Scene, Shop, addresses, eventually, send, within};

const ACTION_TIMEOUT: Duration = Duration::from_secs(90);
/// How many mails are retried at once.
const DEAD_LETTERS: usize = 2_000;
/// How often each recipient's mail was refused for good.
const REFUSALS: &str = "SELECT recipient, COUNT(*) FROM mails JOIN attempts ON attempts.mail_id = mails.id
    WHERE outcome = 'permanent' GROUP BY recipient";
const STATES: &str = "SELECT state, COUNT(*) FROM mails GROUP BY state";
const RESULTS: &str = "SELECT result, COUNT(*) FROM bulk_action_results GROUP BY result";
const ACTIONS: &str = "SELECT state, COUNT(*) FROM bulk_actions GROUP BY state";

/// The components, and nobody who runs jobs.
async fn app_of(scene: &Scene) -> std::sync::Arc<App> {
    App::open(Config::load(Some(&scene.backends.config()), []).unwrap()).await.unwrap()
}

async fn drafted(app: &App, kind: ActionKind, query: &str, by: &str) -> ActionRecord {
    let new = NewAction::new(None, kind, query, by).unwrap();
    let selected = app.store.select_for_action(&new).await.unwrap();
    app.store.draft_action(&new, selected.count).await.unwrap()
}

async fn action(app: &App, id: ActionId) -> ActionRecord {
    app.store.action(None, id).await.unwrap().unwrap()
}

/// Confirms an action and runs it to its end, without a queue.
async fn carried_out(app: &App, action: &ActionRecord) -> (u64, u64) {
    let moved =
        app.store.move_action(None, action.id, ActionWish::Confirm, &action.drafted_by).await.unwrap();
    assert!(matches!(moved, ActionMoved::Now(_)), "{moved:?}");
    let job = RunBulkAction { action: action.id };
    while job.run(app).await.unwrap() == Outcome::Done {}
    let end = self::action(app, action.id).await;
    assert_eq!(end.state, ActionState::Done);
    (end.done, end.skipped)
}

/// Mails that a relay refused for good.
async fn refused(scene: &Scene, word: &str, count: usize) -> Vec<String> {
    let users = addresses(word, count);
    scene.shop.enrol_all(&users).await;
    scene.shop.send_all(&users).await;
    let failed = async || scene.backends.tally(STATES).await.get("failed").copied().unwrap_or(0);
    let before = failed().await;
    within(ACTION_TIMEOUT, "all are refused", async || failed().await >= before + count as i64).await;
    users
}

fn draft_of(shop: &Shop, kind: &str, q: &str) -> impl Future<Output = Value> {
    let (shop, body) = (shop.clone(), json!({"kind": kind, "q": q}));
    async move { shop.post("/api/v1/actions", &body).await.expect(201).json() }
}

on_both! {
    async fn dead_letters_are_retried_once_each_though_more_arrive_and_the_daemon_is_killed(backends: Backends) {
        let backends = backends.with("worker.silence", "2s").with("queue.lease", "2s");
        let mut scene = Scene::open(backends).await;
        let users = refused(&scene, "reject-old", DEAD_LETTERS).await;
        scene.daemon.stop().await;
        let app = app_of(&scene).await;
        let draft = drafted(&app, ActionKind::Retry, "state:failed class:bad_address", "cli:ann").await;
        assert_eq!((draft.matched.count, draft.matched.more), (DEAD_LETTERS as u64, false));

        // A step, and a stop before the next one.
        app.store.move_action(None, draft.id, ActionWish::Confirm, "cli:ann").await.unwrap();
        let job = RunBulkAction { action: draft.id };
        assert_eq!(job.run(&app).await.unwrap(), Outcome::Done);
        assert!(matches!(app.store.move_action(None, draft.id, ActionWish::Stop, "cli:bob").await.unwrap(), ActionMoved::Now(_)));
        assert_eq!(job.run(&app).await.unwrap(), Outcome::NothingToDo);
        let stopped = action(&app, draft.id).await;
        assert_eq!((stopped.state, stopped.done, stopped.skipped), (ActionState::Stopped, 500, 0));

        // More arrive, and the daemon is killed while it goes on.
        scene.daemon.start_again().await;
        let late = refused(&scene, "reject-late", 40).await;
        app.store.move_action(None, draft.id, ActionWish::Resume, "cli:bob").await.unwrap();
        within(ACTION_TIMEOUT, "it goes on", async || action(&app, draft.id).await.done >= 1_000).await;
        scene.daemon.kill_9();
        scene.daemon.start_again().await;
        within(ACTION_TIMEOUT, "it is done", async || action(&app, draft.id).await.state == ActionState::Done).await;
        let end = action(&app, draft.id).await;
        assert_eq!((end.done, end.skipped), (DEAD_LETTERS as u64, 0));
        assert_eq!(scene.backends.tally(RESULTS).await, [("done".to_owned(), DEAD_LETTERS as i64)].into());

        let all = [("failed".to_owned(), DEAD_LETTERS as i64 + 40)].into();
        within(ACTION_TIMEOUT, "all are refused again", async || scene.backends.tally(STATES).await == all).await;
        let refusals = scene.backends.tally(REFUSALS).await;
        assert!(users.iter().all(|user| refusals[user] == 2), "each is tried once more");
        assert!(late.iter().all(|user| refusals[user] == 1), "what came later is left alone");
    }

    async fn two_workers_at_once_take_each_step_once(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        refused(&scene, "reject", 1_200).await;
        scene.daemon.stop().await;
        let (one, other) = (app_of(&scene).await, app_of(&scene).await);
        let draft = drafted(&one, ActionKind::Retry, "state:failed", "cli:ann").await;
        one.store.move_action(None, draft.id, ActionWish::Confirm, "cli:ann").await.unwrap();
        let job = || RunBulkAction { action: draft.id };
        while action(&one, draft.id).await.state == ActionState::Running {
            let (first, second) = (job(), job());
            let (first, second) = tokio::join!(first.run(&one), second.run(&other));
            assert!([first, second].iter().any(|outcome| matches!(outcome, Ok(Outcome::Done))));
        }
        let end = action(&one, draft.id).await;
        assert_eq!((end.done, end.skipped), (1_200, 0));
        assert_eq!(scene.backends.tally(STATES).await, [("queued".to_owned(), 1_200)].into());
    }

    async fn a_mail_that_moved_after_the_draft_is_skipped_or_not_found(backends: Backends) {
        let mut scene = Scene::open(backends.with("retry.first", "1h")).await;
        let (gone, failed) = (scene.shop.send_to("defer-1@example.net").await, scene.shop.send_to("defer-2@example.net").await);
        let fits = scene.shop.send_to("defer-3@example.net").await;
        for id in [&gone, &failed, &fits] {
            scene.shop.wait_until(id, "deferred").await;
        }
        scene.daemon.stop().await;
        let app = app_of(&scene).await;
        let draft = drafted(&app, ActionKind::Retry, "to:@example.net", "cli:ann").await;
        assert_eq!(draft.matched.count, 3);
        scene.backends.command_line().run(&["mail", "cancel", &gone]).expect(0);
        scene.backends.execute(
            "UPDATE mails SET state = 'failed', wake_at = NULL, settled_at = 9000000000000 WHERE recipient LIKE 'defer-2@%'",
        ).await;
        assert_eq!(carried_out(&app, &draft).await, (1, 1));
        let results = app.store.action_results(draft.id, None, 10).await.unwrap();
        let why = |id: &str| results.iter().find(|result| result.mail.to_string() == id).map(|result| (result.result, result.why.clone()));
        assert_eq!(why(&fits), Some((ActionResult::Done, None)));
        assert_eq!(why(&failed), Some((ActionResult::Skipped, Some("it became failed after the action was drafted".to_owned()))));
        assert_eq!(why(&gone), None);
    }

    async fn held_mails_are_released_or_discarded_and_waiting_ones_cancelled(backends: Backends) {
        let mut scene = Scene::open(backends.with("retry.first", "1h")).await;
        for number in 0..3 {
            let id = scene.shop.send_to(&format!("defer-{number}@example.net")).await;
            scene.shop.wait_until(&id, "deferred").await;
        }
        scene.daemon.stop().await;
        let app = app_of(&scene).await;
        scene.backends.execute(
            "UPDATE mails SET state = 'held', wake_at = NULL, settled_at = 1
             WHERE recipient LIKE 'defer-0@%' OR recipient LIKE 'defer-1@%'",
        ).await;
        let release = drafted(&app, ActionKind::Release, "to:defer-0@example.net", "cli:ann").await;
        let discard = drafted(&app, ActionKind::Discard, "to:@example.net -to:defer-0@example.net", "cli:ann").await;
        let cancel = drafted(&app, ActionKind::Cancel, "to:@example.net", "cli:ann").await;
        assert_eq!([release.matched.count, discard.matched.count, cancel.matched.count], [1, 1, 1]);
        for draft in [&cancel, &discard, &release] {
            assert_eq!(carried_out(&app, draft).await, (1, 0));
        }
        let states = scene.backends.tally(STATES).await;
        assert_eq!(states, [("queued".to_owned(), 1), ("cancelled".to_owned(), 2)].into());
    }

    async fn callbacks_about_the_mails_that_are_found_are_sent_again(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.sent"]})).await.expect(201);
        let id = scene.shop.send_to("ok@example.net").await;
        let (first, body) = hook.next_unchecked().await;
        let other = scene.shop.send_to("ok@example.com").await;
        let (_, of_other) = hook.next_unchecked().await;
        assert!(body.contains(&id) && of_other.contains(&other));
        eventually("both are delivered", async || {
            scene.backends.tally("SELECT state, COUNT(*) FROM deliveries GROUP BY state").await == [("delivered".to_owned(), 2)].into()
        }).await;
        let draft = draft_of(&scene.shop, "replay", "to:@example.net").await;
        assert_eq!(draft["matched"], json!({"count": 1, "more": false}));
        let path = format!("/api/v1/actions/{}", draft["id"].as_str().unwrap());
        scene.shop.post(&format!("{path}/confirm"), &json!({})).await.expect(200);
        let (again, replayed) = hook.next_unchecked().await;
        assert_eq!((&first["webhook-id"], body), (&again["webhook-id"], replayed));
        eventually("it is done", async || scene.shop.get(&path).await.json()["state"] == "done").await;
        assert!(hook.is_quiet(), "the other mail's callback came again");
        assert_eq!(scene.shop.get(&path).await.json()["done"], 1);
    }

    async fn a_merchant_drafts_confirms_and_follows_an_action_on_its_own_mails(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "oak-co");
        other.fill_shelves().await;
        let (ours, theirs) = (scene.shop.send_to("defer@example.net").await, other.send_to("defer@example.net").await);
        scene.shop.wait_until(&ours, "deferred").await;
        other.wait_until(&theirs, "deferred").await;

        let draft = draft_of(&scene.shop, "cancel", "state:deferred").await;
        assert_eq!((&draft["state"], &draft["matched"]["count"], &draft["sample"][0]["id"]), (&json!("draft"), &json!(1), &json!(ours)));
        assert!(draft["consequence"].as_str().unwrap().contains("cancelled"), "{draft}");
        let path = format!("/api/v1/actions/{}", draft["id"].as_str().unwrap());
        // Another merchant does not see it, and another credential of this one cannot confirm it.
        for (method, end) in [("GET", ""), ("GET", "/results"), ("POST", "/confirm"), ("POST", "/stop"), ("POST", "/resume")] {
            let request = other.request(method.parse().unwrap(), &format!("{path}{end}"));
            send(request.json(&json!({}))).await.expect(404);
        }
        assert_eq!(other.get("/api/v1/actions").await.expect(200).json()["data"], json!([]));
        let colleague = scene.shop.with(Credential::Bearer(scene.shop.new_token("*")));
        let refused = colleague.post(&format!("{path}/confirm"), &json!({})).await.expect(409).json();
        assert_eq!(refused["code"], "drafted_by_another");
        let refused = scene.shop.post(&format!("{path}/stop"), &json!({})).await.expect(409).json();
        assert_eq!(refused["code"], "wrong_state");

        scene.shop.post(&format!("{path}/confirm"), &json!({})).await.expect(200);
        let again = scene.shop.post(&format!("{path}/confirm"), &json!({})).await.expect(409).json();
        assert_eq!(again["code"], "wrong_state", "{again}");
        eventually("it is done", async || scene.shop.get(&path).await.json()["state"] == "done").await;
        let results = scene.shop.get(&format!("{path}/results")).await.expect(200).json();
        assert_eq!(results, json!({"data": [{"mail": ours, "result": "done", "why": null}], "has_more": false}));
        scene.shop.wait_until(&ours, "cancelled").await;
        assert_eq!(other.mail(&theirs).await["state"], "deferred");
        let list = scene.shop.get("/api/v1/actions").await.expect(200).json();
        assert_eq!((&list["data"][0]["id"], list["data"].as_array().unwrap().len()), (&draft["id"], 1));
    }

    async fn an_action_that_says_not_which_mails_or_finds_none_is_refused(backends: Backends) {
        let scene = Scene::open(backends).await;
        for (body, status, code) in [
            (json!({"kind": "retry", "q": ""}), 400, "invalid_query"),
            (json!({"kind": "retry", "q": "ordr:1"}), 400, "invalid_query"),
            (json!({"kind": "retry", "q": "state:sent"}), 400, "invalid_query"),
            (json!({"kind": "retry", "q": "merchant:oak-co state:failed"}), 400, "invalid_query"),
            (json!({"kind": "retry", "q": "state:failed"}), 422, "nothing_fits"),
            (json!({"kind": "forget", "q": "state:failed"}), 422, "invalid"),
            (json!({"kind": "retry", "q": "state:failed", "force": true}), 422, "invalid"),
        ] {
            let answer = scene.shop.post("/api/v1/actions", &body).await.expect(status).json();
            assert_eq!(answer["code"], code, "{body}: {answer}");
        }
        let reader = scene.shop.with(Credential::Bearer(scene.shop.new_token("mails.read")));
        reader.post("/api/v1/actions", &json!({"kind": "retry", "q": "state:failed"})).await.expect(403);
        let manager = scene.shop.with(Credential::Bearer(scene.shop.new_token("mails.manage")));
        manager.post("/api/v1/actions", &json!({"kind": "replay", "q": "since:1d"})).await.expect(403);
        assert_eq!(scene.backends.tally(ACTIONS).await, [].into());

        let commands = scene.backends.command_line();
        for (words, status, says) in [
            (&["retry"][..], 2, "since:2h\n"),
            (&["retry"], 2, "needs a filter"),
            (&["retry", "--merchant", "tea-co"], 2, "needs a filter"),
            (&["retry", "state:sent"], 2, "retry is not for mails that are sent"),
            (&["retry", "--sate", "failed"], 2, "unexpected argument '--sate'"),
            (&["cancel", "since:yesterday-ish"], 2, "a duration such as 2h"),
            (&["retry", "--merchant", "nobody", "--state", "failed"], 1, "there is no merchant `nobody`"),
            (&["retry", "--state", "failed"], 1, "no mail fits"),
            (&["retry", "0192f000-no-id"], 1, "no mail fits"),
            (&["cancel", "0192f000-no-id", "--yes"], 1, "no mail fits"),
            (&["replay", "order:1001"], 1, "no mail fits"),
            (&["discard", "../../etc/passwd"], 1, "no mail fits"),
            (&["discard", "../../etc/passwd", "--dry-run"], 0, "No mail fits"),
        ] {
            let ended = commands.run(&[&["mail"], words].concat()).expect(status);
            assert!(ended.err.contains(says), "{words:?}: {ended:?}");
        }
        commands.run(&["action", "confirm", "0192f000-0000-7000-8000-000000000000"]).expect(1);
        assert!(commands.run(&["action", "show", "nope"]).expect(2).err.contains("is not the id of an action: a UUID"));
        assert!(commands.run(&["action", "list"]).expect(0).err.contains("no bulk actions"));
    }

    async fn the_command_line_drafts_shows_and_does_what_is_confirmed(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let commands = scene.backends.command_line();
        let id = scene.shop.send_to("defer@example.net").await;
        scene.shop.wait_until(&id, "deferred").await;
        // What is only looked at leaves nothing.
        let looked = commands.run(&["mail", "cancel", "to:defer@example.net", "--dry-run"]).expect(0);
        for says in ["cancel: 1 mail for", "Each is cancelled", &id] {
            assert!(looked.out.contains(says), "{looked:?}");
        }
        assert_eq!(scene.backends.tally(ACTIONS).await, [].into());

        let draft = commands.run(&["mail", "cancel", "--recipient", "defer@example.net", "--json"]).expect(0).json();
        assert_eq!((&draft["state"], &draft["sample"][0]["id"]), (&json!("draft"), &json!(id)));
        let action = draft["id"].as_str().unwrap();
        assert_eq!(scene.shop.mail(&id).await["state"], "deferred");
        commands.run(&["action", "stop", action]).expect(1);
        let app = app_of(&scene).await;
        let moved = app.store.move_action(None, action.parse().unwrap(), ActionWish::Confirm, "operator:bob").await.unwrap();
        assert!(matches!(&moved, ActionMoved::NotYours(by) if by.starts_with("cli:")), "{moved:?}");
        commands.run(&["action", "confirm", action]).expect(0);
        let again = commands.run(&["action", "confirm", action]).expect(1);
        assert!(again.err.contains("cannot be confirmed"), "{again:?}");
        scene.shop.wait_until(&id, "cancelled").await;
        eventually("it is done", async || commands.run(&["action", "show", action, "--json"]).json()["state"] == "done").await;
        assert!(commands.run(&["action", "show", action, "--results"]).expect(0).out.contains(&format!("{id}\tdone")));
        assert!(commands.run(&["action", "list"]).expect(0).out.contains("\tdone\t1\t0\t1 mail"));

        // A mail that is named by its id alone is moved at once.
        commands.run(&["mail", "retry", &id]).expect(0);
        scene.shop.wait_until(&id, "deferred").await;
        let done = commands.run(&["mail", "retry", "state:deferred", "--yes", "--json"]).expect(0).json();
        assert_eq!(done["state"], "running");
        eventually("it is tried again", async || scene.shop.mail(&id).await["attempts_made"] == 3).await;
    }

    async fn results_are_bounded_and_old_actions_are_forgotten(backends: Backends) {
        let mut scene = Scene::open(backends.with("actions.keep_results", 3)).await;
        refused(&scene, "reject", 5).await;
        scene.daemon.stop().await;
        let app = app_of(&scene).await;
        let draft = drafted(&app, ActionKind::Retry, "state:failed", "cli:ann").await;
        assert_eq!(carried_out(&app, &draft).await, (5, 0));
        assert_eq!(scene.backends.tally(RESULTS).await, [("done".to_owned(), 3)].into());
        let unconfirmed = drafted(&app, ActionKind::Cancel, "to:@example.net", "cli:ann").await;
        let day = Duration::from_secs(86_400);
        assert_eq!(app.store.forget_old_actions(day, day).await.unwrap(), 0);
        scene.backends.execute("UPDATE bulk_actions SET finished_at = 1 WHERE state = 'done'").await;
        assert_eq!(app.store.forget_old_actions(day, day).await.unwrap(), 1);
        assert_eq!(scene.backends.tally(RESULTS).await, [].into());
        assert_eq!(action(&app, unconfirmed.id).await.state, ActionState::Draft);
        scene.backends.execute("UPDATE bulk_actions SET drafted_at = 1").await;
        assert_eq!(app.store.forget_old_actions(day, day).await.unwrap(), 1);
        assert_eq!(scene.backends.tally(ACTIONS).await, [].into());

        // However many there are.
        for _ in 0..101 {
            drafted(&app, ActionKind::Cancel, "to:@example.net", "cli:ann").await;
        }
        scene.backends.execute("UPDATE bulk_actions SET drafted_at = 1").await;
        assert_eq!(app.store.forget_old_actions(day, day).await.unwrap(), 101);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_whose_database_goes_away_is_done_when_that_is_back() {
    let mut cluster = Cluster::start();
    let mut scene = Scene::open(Backends::on(cluster.new_database().await).await).await;
    let users = refused(&scene, "reject", 1_200).await;
    scene.daemon.stop().await;
    let app = app_of(&scene).await;
    let draft = drafted(&app, ActionKind::Retry, "state:failed", "cli:ann").await;
    app.store.move_action(None, draft.id, ActionWish::Confirm, "cli:ann").await.unwrap();
    scene.daemon.start_again().await;
    within(ACTION_TIMEOUT, "it has begun", async || action(&app, draft.id).await.done >= 500).await;
    cluster.stop_server();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.start_server();
    let is_done = async || {
        app.store.action(None, draft.id).await.ok().flatten().is_some_and(|it| it.state == ActionState::Done)
    };
    within(ACTION_TIMEOUT, "it is done", is_done).await;
    let end = action(&app, draft.id).await;
    assert_eq!((end.done, end.skipped), (1_200, 0));
    assert_eq!(scene.backends.tally(RESULTS).await, [("done".to_owned(), 1_200)].into());
    let all = [("failed".to_owned(), 1_200)].into();
    within(ACTION_TIMEOUT, "all are refused again", async || scene.backends.tally(STATES).await == all).await;
    // An attempt whose answer could not be recorded has an unknown outcome, and is made again.
    let refusals = scene.backends.tally(REFUSALS).await;
    assert!(users.iter().all(|user| refusals[user] == 2), "each is tried once more");
}
