//! An application of a test's own, asked as a merchant's system asks.

use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    auth::{hash_token, new_secret},
    config::Config,
    http::router,
    mail::{AttemptOutcome, Mail, MailId, MailLane, Phase, Reply, Verdict, WorkerId},
    store::{Claim, NewMerchant, Settlement},
};

/// An application that listens, and a caller with every ability. No worker runs: a test plays it where it needs one.
pub(super) struct Shop {
    pub(super) app: Arc<App>,
    url: String,
    pub(super) token: String,
    client: reqwest::Client,
    _listening: Listening,
    _folder: tempfile::TempDir,
}

struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shop {
    pub(super) async fn open() -> Self {
        Self::open_with(&[]).await
    }

    pub(super) async fn open_with(settings: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
        let environment =
            [("POSTROOM_DATABASE__URL", database.as_str())].into_iter().chain(settings.iter().copied());
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let app = App::open(Config::load(None, environment).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = router(Arc::clone(&app));
        let listening = Listening(tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }));
        let mut shop = Self {
            app,
            url,
            token: String::new(),
            client: reqwest::Client::new(),
            _listening: listening,
            _folder: folder,
        };
        let merchant = NewMerchant {
            id: "tea".parse().unwrap(),
            name: "Tea & Co".to_owned(),
            country: "DE".to_owned(),
            language: None,
            sender: None,
            secret: new_secret(),
            is_test: false,
        };
        shop.app.store.create_merchant(&merchant).await.unwrap();
        shop.token = shop.new_token("*").await;
        shop
    }

    pub(super) async fn new_token(&self, abilities: &str) -> String {
        self.create_token(abilities, false).await
    }

    /// One whose mails go to the sandbox.
    pub(super) async fn new_test_token(&self) -> String {
        self.create_token("*", true).await
    }

    async fn create_token(&self, abilities: &str, is_test: bool) -> String {
        let (token, merchant) = (new_secret(), "tea".parse().unwrap());
        self.app.store.create_token(&merchant, &hash_token(&token), abilities, None, is_test).await.unwrap();
        token
    }

    pub(super) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token);
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    pub(super) async fn put(&self, path: &str, body: Value) {
        let answer = self.request("PUT", path, Some(&body)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    pub(super) async fn send(&self, body: Value) -> (u16, Value) {
        answer(self.request("POST", SEND, Some(&body))).await
    }

    pub(super) async fn order(&self) -> Value {
        answer(self.request("GET", ORDER, None)).await.1
    }

    /// The id of the order's newest mail.
    pub(super) async fn newest_mail(&self) -> MailId {
        let look_ups = self.app.store.look_ups(&"tea".parse().unwrap(), "order");
        let record = self.app.store.order(&look_ups, "ord_1").await.unwrap().unwrap();
        record.emails.last().unwrap().entry.mail
    }

    /// Does with the newest mail what a worker does that got this reply; returns the mail as it was claimed.
    pub(super) async fn settle(&self, outcome: AttemptOutcome, provider_id: Option<&str>) -> Mail {
        let worker = WorkerId::new();
        let Claim::Granted(mail) = self
            .app
            .store
            .claim_mail(self.newest_mail().await, worker, MailLane::Transactional)
            .await
            .unwrap()
        else {
            panic!("the mail could not be claimed")
        };
        let reply = Reply {
            outcome,
            provider_id: provider_id.map(str::to_owned),
            ..Reply::silent("main", Phase::Final, "as told", std::time::Duration::ZERO)
        };
        let verdict = if outcome == AttemptOutcome::Accepted { Verdict::Sent } else { Verdict::Failed };
        let settlement = Settlement::new(&mail, worker, crate::clock::now(), reply, verdict);
        self.app.store.settle_mail(settlement).await.unwrap();
        *mail
    }
}

pub(super) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
