//! A real app on a database of its own, listening on loopback, for the tests of handlers.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    app::App,
    auth,
    config::Config,
    http,
    mail::{Mail, MailLane},
    render::Content,
    store::{Claim, MailFilter, NewMerchant},
};

/// The secret of every merchant here.
pub(super) const SECRET: &str = "whsec_c2hhbGwtbm90LWJlLXVzZWQtYnktYW55LXNob3A";

/// The app with one merchant, one account and one token that may do everything.
pub(super) struct TestApp {
    pub(super) app: Arc<App>,
    address: String,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// By name, in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) text: String,
}

impl Answered {
    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status and the body, to compare both at once.
    pub(super) fn whole(&self) -> (u16, Value) {
        (self.status, self.json())
    }
}

impl TestApp {
    /// Starts the app with a merchant `tea` of a country, whose account is `tea` / `secret`, and whose token is `all`.
    pub(super) async fn start(country: &str) -> Self {
        Self::start_at("https://post.example.com/mails/", country).await
    }

    /// The same where links lead elsewhere.
    pub(super) async fn start_at(public_url: &str, country: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
        let environment =
            [("POSTROOM_DATABASE__URL", database.as_str()), ("POSTROOM_HTTP__PUBLIC_URL", public_url)];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let app = App::open(Config::load(None, environment).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = http::router(Arc::clone(&app));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let test = Self { app, address, server, _folder: folder };
        test.add_merchant("tea", country).await;
        let id = "tea".parse().unwrap();
        let hash = auth::hash_password(&test.password()).unwrap();
        test.app.store.create_account(&id, "tea", &hash).await.unwrap();
        test
    }

    /// Adds a merchant, whose token has its name.
    pub(super) async fn add_merchant(&self, id: &str, country: &str) {
        let merchant = NewMerchant {
            id: id.parse().unwrap(),
            name: "Tea & Co".to_owned(),
            country: country.to_owned(),
            language: None,
            sender: None,
            secret: SECRET.to_owned(),
            is_test: false,
        };
        self.app.store.create_merchant(&merchant).await.unwrap();
        self.add_token(id, id, "*").await;
    }

    /// Adds a token with some abilities.
    pub(super) async fn add_token(&self, merchant: &str, token: &str, abilities: &str) {
        self.create_token(merchant, token, abilities, false).await;
    }

    /// Adds a token that only tries things out.
    pub(super) async fn add_test_token(&self, merchant: &str, token: &str) {
        self.create_token(merchant, token, "*", true).await;
    }

    async fn create_token(&self, merchant: &str, token: &str, abilities: &str, is_test: bool) {
        let (merchant, hash) = (merchant.parse().unwrap(), auth::hash_token(&self.token(token)));
        self.app.store.create_token(&merchant, &hash, abilities, None, is_test).await.unwrap();
    }

    /// Verified credentials are remembered by the process, so that each app needs its own.
    fn token(&self, name: &str) -> String {
        format!("{name}-{}", self.address)
    }

    fn password(&self) -> String {
        format!("secret-{}", self.address)
    }

    /// An `Authorization` header with a token.
    pub(super) fn bearer(&self, token: &str) -> String {
        format!("authorization: Bearer {}", self.token(token))
    }

    /// An `Authorization` header with the account of the merchant `tea`.
    pub(super) fn basic(&self) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        format!("authorization: Basic {}", BASE64_STANDARD.encode(format!("tea:{}", self.password())))
    }

    /// Makes a request with these header lines and this body, byte for byte.
    pub(super) async fn request(&self, line: &str, headers: &[&str], body: &str) -> Answered {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}",
            self.address
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Answered { status, headers, text: text.to_owned() }
    }

    /// Makes a request with JSON as the merchant `tea`.
    pub(super) async fn json(&self, line: &str, body: &Value) -> Answered {
        self.request(line, &[&self.bearer("tea"), "content-type: application/json"], &body.to_string()).await
    }

    /// Makes a request without a body as the merchant `tea`.
    pub(super) async fn get(&self, path: &str) -> Answered {
        self.request(&format!("GET {path}"), &[&self.bearer("tea")], "").await
    }

    /// Tells postroom of a thing.
    pub(super) async fn put(&self, path: &str, document: Value) {
        let answered = self.json(&format!("PUT /api/v1/{path}"), &document).await;
        assert!(matches!(answered.status, 200 | 201), "{path}: {answered:?}");
    }

    /// All recorded mails as a worker claims and renders them, oldest first.
    pub(super) async fn mails(&self) -> Vec<(Mail, Content)> {
        let mut mails = Vec::new();
        for record in
            self.app.store.mails(&MailFilter { limit: 1_000, ..MailFilter::default() }).await.unwrap()
        {
            let Claim::Granted(mail) = self
                .app
                .store
                .claim_mail(record.id, self.app.worker.id, MailLane::Transactional)
                .await
                .unwrap()
            else {
                panic!("a mail was claimed twice")
            };
            let version = self.app.templates.version(&mail.template_version).await.unwrap().unwrap();
            let values: Value = serde_json::from_str(&mail.values).unwrap();
            let content = self.app.renderer.render(&version, &values.into()).unwrap();
            mails.push((*mail, content));
        }
        mails
    }

    /// How many mails are recorded.
    pub(super) async fn count(&self) -> usize {
        self.app.store.mails(&MailFilter { limit: 1_000, ..MailFilter::default() }).await.unwrap().len()
    }

    /// A brand, a member and a template of it.
    pub(super) async fn put_mailing(&self, template: Value) {
        let brand =
            json!({"name": "Tea", "sender": {"name": "Tea", "email": "hello@tea.example"}, "language": "fr"});
        self.put("brands/tea", brand).await;
        let member =
            json!({"brand_id": "tea", "email": "ann@example.net", "first_name": "Ann", "language": "de-CH"});
        self.put("members/ann", member).await;
        self.put("templates/hello", template).await;
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}
