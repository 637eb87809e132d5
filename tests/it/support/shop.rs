//! A merchant who uses the daemon: made with the command line, speaking HTTP.

use std::sync::Once;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Answer, CommandLine, Daemon, eventually};

/// A merchant, and with which credential it speaks to which daemon.
#[derive(Clone)]
pub struct Shop {
    /// The merchant's id.
    pub merchant: String,
    url: String,
    credential: Credential,
    commands: CommandLine,
    http: Client,
}

/// How a request says who asks.
#[derive(Clone)]
pub enum Credential {
    /// Not at all.
    Nobody,
    /// HTTP Basic.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

impl Shop {
    /// Makes a merchant with a token that may do everything.
    pub fn open(daemon: &Daemon, commands: &CommandLine, merchant: &str) -> Self {
        commands.run(&["merchant", "create", merchant, "--name", "Tea & Co", "--country", "DE"]).expect(0);
        Self::of(daemon, commands, merchant)
    }

    /// Makes a token that may do everything for a merchant that is there.
    pub fn of(daemon: &Daemon, commands: &CommandLine, merchant: &str) -> Self {
        Self::at(daemon.url(), commands, merchant)
    }

    /// The same, where the daemon is at this URL.
    pub fn at(url: String, commands: &CommandLine, merchant: &str) -> Self {
        let shop = Self {
            merchant: merchant.to_owned(),
            url,
            credential: Credential::Nobody,
            commands: commands.clone(),
            http: client(),
        };
        let token = shop.new_token("*");
        shop.with(Credential::Bearer(token))
    }

    /// The same merchant with another credential.
    pub fn with(&self, credential: Credential) -> Self {
        Self { credential, ..self.clone() }
    }

    /// The same merchant with the same credential, speaking to another process.
    pub fn speaking_to(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    /// Makes a token.
    pub fn new_token(&self, abilities: &str) -> String {
        self.create_token(&["--abilities", abilities])
    }

    /// Makes a token whose mails go to the sandbox.
    pub fn new_test_token(&self) -> Credential {
        Credential::Bearer(self.create_token(&["--abilities", "*", "--test"]))
    }

    fn create_token(&self, more: &[&str]) -> String {
        let words = [&["token", "create", "--merchant", &self.merchant, "--json"], more].concat();
        self.commands.run(&words).expect(0).json()["token"].as_str().unwrap().to_owned()
    }

    /// Makes an account.
    pub fn new_account(&self, username: &str) -> Credential {
        let words = ["account", "create", "--merchant", &self.merchant, "--username", username, "--json"];
        let made = self.commands.run(&words).expect(0).json();
        Credential::Basic(username.to_owned(), made["password"].as_str().unwrap().to_owned())
    }

    /// A request that names the merchant's credential, to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.credential {
            Credential::Nobody => request,
            Credential::Basic(username, password) => request.basic_auth(username, Some(password)),
            Credential::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).json(body)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// `POST` of JSON with an `Idempotency-Key`.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// `POST` of something that need not be JSON.
    pub async fn post_text(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(Method::POST, path).header("content-type", content_type).body(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Tells postroom about a brand `tea` and its template `welcome`.
    pub async fn fill_shelves(&self) {
        self.put("/api/v1/brands/tea", &brand()).await.expect(201);
        self.put("/api/v1/templates/welcome", &template()).await.expect(201);
    }

    /// Tells postroom about a member of `tea`, whose id is the address.
    pub async fn enrol(&self, address: &str) {
        let member = json!({"brand_id": "tea", "email": address, "first_name": "Ann", "last_name": "Lee"});
        let answer = self.put(&format!("/api/v1/members/{address}"), &member).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// Enrols this address and asks for a `welcome` to it; returns the mail's id.
    pub async fn send_to(&self, address: &str) -> String {
        self.enrol(address).await;
        let answer = self.post("/mail", &welcome(address)).await.expect(200);
        answer.json()["data"][address]["transaction_id"].as_str().unwrap().to_owned()
    }

    /// A mail's story.
    pub async fn mail(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/mails/{id}")).await.expect(200).json()
    }

    /// Waits until a mail is in a state and returns its story.
    pub async fn wait_until(&self, id: &str, state: &str) -> Value {
        let mut story = Value::Null;
        eventually(&format!("mail {id} is {state}"), async || {
            story = self.mail(id).await;
            let is_elsewhere = !["queued", "sending", "deferred", state]
                .iter()
                .any(|on_its_way| story["state"] == *on_its_way);
            assert!(!is_elsewhere, "it shall be {state}: {story:#}");
            story["state"] == state
        })
        .await;
        story
    }
}

/// Sends a request and reads the answer.
pub async fn send(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

/// A brand.
pub fn brand() -> Value {
    json!({"name": "Tea & Co", "sender": {"name": "Tea & Co", "email": "hello@tea.example"}})
}

/// A template of the brand `tea`.
pub fn template() -> Value {
    json!({"brand_id": "tea", "title": "Welcome", "subject": "Welcome, {{first_name}}",
        "html": "<p>Dear {{full_name}}, welcome to {{brand_name}}.</p>"})
}

/// A request for a `welcome` to a member.
pub fn welcome(member: &str) -> Value {
    json!({"brand_id": "tea", "template_id": "welcome", "user": {"identifier": member}})
}

/// An HTTP client; it belongs to the test's runtime, so tests do not share one.
pub fn client() -> Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().no_proxy().build().unwrap()
}
