//! Somebody who looks at the dashboard: signs in, opens pages, and sends their forms as a browser without a script does.

use reqwest::{Client, Method, RequestBuilder, redirect::Policy};

use super::{Answer, CommandLine, Daemon, send};

/// An operator and the cookie of the session.
pub struct Operator {
    /// The operator's name.
    pub name: String,
    /// The password.
    pub password: String,
    /// The session's cookie, as it is sent.
    pub cookie: String,
    url: String,
    http: Client,
}

impl Operator {
    /// Creates an operator, of this merchant where one is given, and signs in.
    pub async fn sign_in(
        daemon: &Daemon,
        commands: &CommandLine,
        name: &str,
        role: &str,
        merchant: Option<&str>,
    ) -> Self {
        let mut words = vec!["operator", "create", "--name", name, "--role", role, "--json"];
        words.extend(merchant.into_iter().flat_map(|merchant| ["--merchant", merchant]));
        let made = commands.run(&words).expect(0).json();
        let password = made["password"].as_str().unwrap().to_owned();
        let mut operator = Self::nobody(daemon);
        (operator.name, operator.password) = (name.to_owned(), password);
        operator.sign_in_again().await;
        operator
    }

    /// Somebody who is not signed in.
    pub fn nobody(daemon: &Daemon) -> Self {
        super::shop::client(); // sets TLS up
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let (name, password, cookie) = Default::default();
        Self { name, password, cookie, url: daemon.admin_url(), http }
    }

    /// Signs in and keeps the cookie.
    pub async fn sign_in_again(&mut self) {
        let answer = self.try_password(&self.name, &self.password).await.expect(303);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }

    /// Tries a name and a password.
    pub async fn try_password(&self, name: &str, password: &str) -> Answer {
        let fields = [("name", name), ("password", password), ("next", "/mails")];
        send(self.form("/login", &fields)).await
    }

    /// A request with the session's cookie, to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.cookie.is_empty() { request } else { request.header("cookie", &self.cookie) }
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let content_type = "application/x-www-form-urlencoded";
        self.request(Method::POST, path).header("content-type", content_type).body(body)
    }

    /// Opens a page.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// The page's text, whose status must be 200.
    pub async fn page(&self, path: &str) -> String {
        self.get(path).await.expect(200).body
    }

    /// The token that forms of this session have.
    pub async fn token(&self) -> String {
        let page = self.page("/sessions").await;
        page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    /// Sends a form of this session.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token().await;
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", token.as_str())]).collect();
        self.post_as_it_is(path, &fields).await
    }

    /// Sends fields and nothing else.
    pub async fn post_as_it_is(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        send(self.form(path, fields)).await
    }

    /// Sends a form of this session as a browser does from that origin.
    pub async fn post_from(&self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token().await;
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", token.as_str())]).collect();
        send(self.form(path, &fields).header("origin", origin)).await
    }
}
