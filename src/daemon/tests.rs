//! What begun work comes to when the daemon ends.

use super::*;
use crate::{
    demo::catcher::{Catcher, CatcherOptions},
    mail::{MailId, MailState, Mailbox, NewMail, Origin},
    store::{Recording, webhooks_fixture as fixture},
};

/// A daemon with a route to this catcher.
async fn start(folder: &tempfile::TempDir, sink: &Catcher) -> Daemon {
    let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
    let port = sink.smtp_addr().port().to_string();
    let environment = [
        ("POSTROOM_DATABASE__URL", database.as_str()),
        ("POSTROOM_HTTP__LISTEN", "127.0.0.1:0"),
        ("POSTROOM_ADMIN__LISTEN", "127.0.0.1:0"),
        ("POSTROOM_SMTP__ROUTES__0__NAME", "main"),
        ("POSTROOM_SMTP__ROUTES__0__HOST", "127.0.0.1"),
        ("POSTROOM_SMTP__ROUTES__0__PORT", port.as_str()),
        ("POSTROOM_SMTP__ROUTES__0__TLS", "none"),
        ("POSTROOM_SMTP__ROUTES__0__CONNECTIONS", "4"),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Daemon::start(Config::load(None, environment).unwrap(), Role::All).await.unwrap()
}

/// A mail that a relay has been offered, which takes three seconds for it.
async fn sending(app: &App) -> MailId {
    fixture::fill(&app.store, &fixture::tea()).await;
    let recipient = Mailbox { name: None, email: "slow-3000@example.net".parse().unwrap() };
    let mail = NewMail { recipient, ..fixture::new_mail(&fixture::tea(), Origin::default()) };
    let id = mail.id;
    app.store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
    let (lane, merchant) = (crate::mail::Lane::Transactional, fixture::tea());
    app.enqueue(queue::QueuedJob::new(jobs::send_mail_id(id, false), lane, merchant));
    while app.store.mail(None, id).await.unwrap().unwrap().state != MailState::Sending {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is claimed; until it is offered, a moment later, it would be given back.
    tokio::time::sleep(Duration::from_secs(1)).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_role_ends_by_itself_the_others_finish_what_they_began() {
    let (folder, sink) =
        (tempfile::tempdir().unwrap(), Catcher::start(CatcherOptions::default()).await.unwrap());
    let mut daemon = start(&folder, &sink).await;
    let id = sending(daemon.app()).await;
    daemon.tasks.spawn(async { Ok("listener") });
    let settings = daemon.app().config.database.clone();

    let ended = daemon.run_until(std::future::pending()).await;
    assert_eq!(ended.unwrap_err().to_string(), "the listener ended");
    let store = crate::store::Store::open(&settings).await.unwrap();
    assert_eq!(store.mail(None, id).await.unwrap().unwrap().state, MailState::Sent);
    assert_eq!(sink.count(), 1);
}
