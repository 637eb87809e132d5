//! The pages on a database of their own, with one route and somebody who is signed in, for the tests of what they say.

use std::{fs, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use tower::ServiceExt;

use super::{router, session};
use crate::{
    app::App,
    auth::new_secret,
    clock,
    config::Config,
    mail::MerchantId,
    shop::OperatorRole,
    store::{NewMerchant, NewSession, webhooks_fixture},
};

const ROUTE: &str = "[[smtp.routes]]\nname = \"main\"\nhost = \"127.0.0.1\"\ntls = \"none\"\nport = 2525\n";

/// The pages as the admin `ann` sees them.
pub(super) struct TestBoard {
    pub(super) app: Arc<App>,
    router: Router,
    secret: String,
    _folder: tempfile::TempDir,
}

impl TestBoard {
    /// Opens the pages over a merchant `tea` with a template, and signs `ann` in.
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postroom.toml");
        let url = format!("sqlite:{}", folder.path().join("postroom.db").display());
        fs::write(&file, format!("[database]\nurl = \"{url}\"\n{ROUTE}")).unwrap();
        let app = App::open(Config::load(Some(&file), []).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();
        webhooks_fixture::fill(&app.store, &webhooks_fixture::tea()).await;
        let secret = new_secret();
        app.store.create_operator("ann", OperatorRole::Admin, None, "none").await.unwrap();
        let session = NewSession {
            hash: session::hash(&secret),
            operator: "ann".to_owned(),
            expires_at: clock::now() + session::LENGTH,
            address: None,
        };
        app.store.begin_session(session).await.unwrap();
        Self { router: router(Arc::clone(&app)), app, secret, _folder: folder }
    }

    /// Adds a merchant in test mode.
    pub(super) async fn add_test_merchant(&self, id: &MerchantId) {
        let merchant = NewMerchant {
            id: id.clone(),
            name: "Trial".to_owned(),
            country: "DE".to_owned(),
            language: None,
            sender: None,
            secret: webhooks_fixture::SECRET.to_owned(),
            is_test: true,
        };
        self.app.store.create_merchant(&merchant).await.unwrap();
    }

    /// A page that is shown.
    pub(super) async fn page(&self, path: &str) -> String {
        let (status, page) = self.send(Request::get(path), "").await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    /// Sends a form of the own session; returns the status and the page.
    pub(super) async fn act(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &session::form_token(&self.secret)).extend_pairs(fields);
        self.send(Request::post(path), &form.finish()).await
    }

    async fn send(&self, request: axum::http::request::Builder, body: &str) -> (u16, String) {
        let cookie = session::set_cookie(Some(&self.secret), false);
        let request = request.header(header::COOKIE, cookie).body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}
