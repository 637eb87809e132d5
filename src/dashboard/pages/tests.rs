//! What pages say where there is nothing to show or to do, and of what is only tried out.

use crate::{
    dashboard::test_board::TestBoard,
    mail::{AttemptOutcome, BatchId, NewMail, Origin},
    store::{NewBatch, Recording, webhooks_fixture},
};

/// Before every id that was made.
const OLDEST: &str = "01800000-0000-7000-8000-000000000000";
/// After every id that will be made.
const NEWEST: &str = "ff000000-0000-7000-8000-000000000000";

/// Records a batch of one mail.
async fn record_batch(board: &TestBoard, is_test: bool) -> BatchId {
    let batch = NewBatch { is_test, ..webhooks_fixture::new_batch(&webhooks_fixture::tea()) };
    board.app.store.record_batch(&batch, None).await.unwrap();
    batch.id
}

#[tokio::test]
async fn a_pause_is_refused_in_the_words_of_the_command_line() {
    let board = TestBoard::open().await;
    let (lane, long) = ([("kind", "lane"), ("name", "bulk")], "x".repeat(301));
    for (fields, status, said) in [
        ([("kind", "merchant"), ("name", "nope"), ("for", "2h")], 404, "There is no merchant `nope`."),
        ([("kind", "route"), ("name", "nope"), ("for", "2h")], 404, "There is no route `nope`."),
        ([lane[0], lane[1], ("for", "0s")], 400, "The pause must be longer than 0s and at most ten years."),
        (
            [lane[0], lane[1], ("for", "3651d")],
            400,
            "The pause must be longer than 0s and at most ten years.",
        ),
        ([lane[0], lane[1], ("reason", &long)], 400, "The reason must have 1 to 300 characters in one line."),
    ] {
        let (answered, page) = board.act("/queue/pause", &fields).await;
        assert_eq!(answered, status, "{fields:?}: {page}");
        assert!(page.contains(said), "{fields:?}: {page}");
    }
    assert!(board.app.store.pauses().await.unwrap().is_empty());
    for fields in [
        [("kind", "merchant"), ("name", "tea"), ("reason", "")],
        [("kind", "route"), ("name", "main"), ("reason", &long[1..])],
    ] {
        assert_eq!(board.act("/queue/pause", &fields).await.0, 303, "{fields:?}");
    }
    assert_eq!(board.app.store.pauses().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_merchant_that_is_not_there_is_neither_suspended_nor_resumed() {
    let board = TestBoard::open().await;
    for what in ["suspend", "resume", "rate"] {
        let (status, page) = board.act(&format!("/merchants/nope/{what}"), &[]).await;
        assert_eq!(status, 404, "{what}: {page}");
    }
    assert_eq!(board.act("/merchants/tea/resume", &[]).await.0, 303, "nothing is wrong with its id");
}

#[tokio::test]
async fn a_page_beyond_the_end_of_a_list_says_so_and_leads_to_its_beginning() {
    let board = TestBoard::open().await;
    let (store, tea) = (&board.app.store, webhooks_fixture::tea());
    webhooks_fixture::settle_mail(store, &tea, Origin::default(), AttemptOutcome::Permanent).await;
    record_batch(&board, false).await;
    let endpoint = webhooks_fixture::register(store, &tea, "https://tea.example/hook", &["*"]).await.id;
    assert_eq!(board.act("/actions", &[("kind", "retry"), ("q", "state:failed")]).await.0, 303);
    let action = store.actions(None, None, 1).await.unwrap().pop().unwrap().id;
    for (path, beyond) in [
        ("/mails".to_owned(), format!("?after={OLDEST}")),
        ("/mails?q=state%3Afailed".to_owned(), format!("&after={OLDEST}")),
        ("/batches".to_owned(), format!("?after={OLDEST}")),
        ("/merchants".to_owned(), "?after=zzzz".to_owned()),
        ("/actions".to_owned(), format!("?after={OLDEST}")),
        (format!("/actions/{action}"), format!("?after={NEWEST}")),
        ("/callbacks".to_owned(), format!("?after={NEWEST}")),
        ("/callbacks?merchant=tea".to_owned(), format!("&after={NEWEST}")),
        (format!("/callbacks/tea/{endpoint}"), format!("?before={OLDEST}")),
        ("/suppressions?merchant=tea".to_owned(), "&before=0".to_owned()),
        ("/templates?merchant=tea".to_owned(), "&after=zzzz".to_owned()),
        ("/audit?actor=cli&action=&merchant=".to_owned(), "&until=1".to_owned()),
    ] {
        assert!(!board.page(&path).await.contains("No more"), "{path} begins the list");
        let page = board.page(&format!("{path}{beyond}")).await;
        let first = path.replace('&', "&amp;");
        assert!(page.contains(&format!("href=\"{first}\">First page</a>")), "{path}{beyond}: {page}");
        assert!(page.contains("No more"), "{path}{beyond}: {page}");
        for wrong in
            ["Nothing was recorded yet", "No mail fits", " yet</h2>", "No endpoint", "None of its own"]
        {
            assert!(!page.contains(wrong), "{path}{beyond}: {wrong}: {page}");
        }
    }
}

#[tokio::test]
async fn a_test_does_not_look_like_a_real_mail_or_batch() {
    let board = TestBoard::open().await;
    let (tea, trial) = (webhooks_fixture::tea(), "trial".parse().unwrap());
    let live = record_batch(&board, false).await;
    for path in ["/batches".to_owned(), format!("/batches/{live}"), "/merchants".to_owned()] {
        assert!(!board.page(&path).await.contains(">test "), "{path}");
    }
    let origin = Origin { order: Some("1001".to_owned()), ..Origin::default() };
    let mail = NewMail { is_test: true, ..webhooks_fixture::new_mail(&tea, origin) };
    board.app.store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
    for path in ["/mails", "/orders/1001"] {
        assert!(board.page(path).await.contains(">test mail<"), "{path}");
    }
    let tried = record_batch(&board, true).await;
    board.add_test_merchant(&trial).await;
    board.app.store.create_token(&tea, "a hash", "*", None, false).await.unwrap();
    assert!(!board.page("/merchants/tea").await.contains("test token"));
    board.app.store.create_token(&tea, "another hash", "*", None, true).await.unwrap();
    for (path, mark) in [
        ("/batches".to_owned(), "test batch"),
        (format!("/batches/{tried}"), "test batch"),
        ("/merchants".to_owned(), "test merchant"),
        ("/merchants/trial".to_owned(), "test merchant"),
        ("/merchants/tea".to_owned(), "test token"),
    ] {
        let page = board.page(&path).await;
        assert_eq!(page.matches(&format!("{mark}</span>")).count(), 1, "{path}: {page}");
    }
}
