//! `Idempotency-Key`: the same request made again gets the first answer again.

use axum::{
    http::{HeaderValue, StatusCode, request::Parts},
    response::Response,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    auth::{Caller, to_hex},
    error::{Family, Refusal, respond},
    frame::RequestId,
};
use crate::{
    app::App,
    store::{Answer, KeyHolder, Reservation},
};

/// What a request says about being made again.
pub struct Once {
    key: Option<Result<String, Refusal>>,
    path: String,
    request_id: RequestId,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Once {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let key = parts.headers.get("idempotency-key").map(|value| match value.as_bytes() {
            bytes if (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) => {
                Ok(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "idempotency_key_invalid",
                "Idempotency-Key must be 1 to 255 visible ASCII characters.",
            )),
        });
        let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or(RequestId("".into()));
        Ok(Self { key, path: parts.uri.path().to_owned(), request_id })
    }
}

impl Once {
    /// Does `work` unless it was done before under this key. `work` gets the holder of the key, to record its answer
    /// together with what it does; a refusal below 500 is kept here.
    ///
    /// # Errors
    /// What `work` refuses, a key used for another body (422), or the same request still under way (409).
    pub async fn run(
        self,
        app: &App,
        caller: &Caller,
        body: &[u8],
        work: impl AsyncFnOnce(Option<KeyHolder>) -> Result<Answer, Refusal>,
    ) -> Result<Response, Refusal> {
        if self.key.is_none() {
            return work(None).await.map(respond);
        }
        self.run_for(app, caller, to_hex(&Sha256::digest(body)), work).await
    }

    /// The same for a body whose SHA-256, in hex, is known.
    ///
    /// # Errors
    /// As [`Once::run`].
    pub async fn run_for(
        self,
        app: &App,
        caller: &Caller,
        fingerprint: String,
        work: impl AsyncFnOnce(Option<KeyHolder>) -> Result<Answer, Refusal>,
    ) -> Result<Response, Refusal> {
        let Some(key) = self.key.transpose()? else { return work(None).await.map(respond) };
        let holder = KeyHolder {
            merchant: caller.merchant.id.clone(),
            path: self.path.clone(),
            key,
            request: Uuid::now_v7(),
        };
        match app.store.reserve_key(holder.clone(), fingerprint).await? {
            Reservation::Granted => {}
            Reservation::Answered(answer) => return Ok(replayed(answer)),
            Reservation::Reused => {
                let message = "idempotency_key_reused: this Idempotency-Key was used for another request.";
                return Err(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key_reused",
                    message,
                ));
            }
            Reservation::Running(wait) => {
                let message = "The first request with this Idempotency-Key is still under way.";
                return Err(Refusal {
                    retry_after: Some(wait.as_secs().clamp(1, 5)),
                    ..Refusal::new(StatusCode::CONFLICT, "idempotency_key_in_use", message)
                });
            }
        }
        let result = work(Some(holder.clone())).await;
        if let Err(refusal) = &result {
            if refusal.status.is_server_error() {
                app.store.release_key(&holder).await?;
            } else {
                let answer = refusal.answer(Family::of(&self.path), &self.request_id.0);
                app.store.keep_answer(&holder, &answer).await?;
            }
        }
        result.map(respond)
    }
}

fn replayed(answer: Answer) -> Response {
    let mut response = respond(answer);
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}
