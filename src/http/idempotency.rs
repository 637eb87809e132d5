//! `Idempotency-Key`: the same request made again gets the first answer again.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::header::CONTENT_TYPE,
    http::{HeaderValue, StatusCode, request::Parts},
    response::Response,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    auth::Caller,
    error::{Family, Refusal, respond},
    fingerprint,
    request_id::RequestId,
};
use crate::{
    app::App,
    store::{Answer, KeyHolder, Reservation, Store, StoreError},
};

/// The longest path, in bytes, that is stored as it is. Postgres has no index for values of more than 2,704.
const LONGEST_PATH: usize = 512;
/// How long the answer waits for its key to be given back.
const RELEASED_WITHIN: Duration = Duration::from_millis(500);

/// How the OpenAPI document describes the header that [`Idempotency`] reads.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `Idempotency` reads")]
pub(super) struct IdempotencyKey {
    /// Makes the request safe to repeat: within 24 hours the same key with the same body gets the first answer again, and
    /// nothing is done twice. 1 to 255 visible ASCII characters.
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "order-17"
    )]
    key: Option<String>,
}

/// What a request says about being made again.
pub struct Idempotency {
    key: Option<Result<String, Refusal>>,
    path: String,
    query: String,
    request_id: RequestId,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Idempotency {
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
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        Ok(Self { key, path, query, request_id })
    }
}

impl Idempotency {
    /// Does `work` unless it was done before under this key. `work` gets the holder of the key, to record its answer
    /// together with what it does; a refusal by a rule is kept here.
    ///
    /// # Errors
    /// What `work` refuses. 422 when the key was used for another body: the caller must make a new key. 409 when the same
    /// request is still under way, and 503 when the key could not be reserved: the same request may be made again after
    /// `Retry-After`.
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
        let fingerprint = fingerprint::of(&self.query, body);
        self.run_for(app, caller, fingerprint, work).await
    }

    /// The same where `work` does not record its answer, because what it does cannot be done twice: then the answer is kept after it.
    ///
    /// # Errors
    /// As [`Idempotency::run`].
    pub async fn run_and_keep(
        self,
        app: &App,
        caller: &Caller,
        body: &[u8],
        work: impl AsyncFnOnce() -> Result<Answer, Refusal>,
    ) -> Result<Response, Refusal> {
        self.run(app, caller, body, async |holder| {
            let answer = work().await?;
            if let Some(holder) = holder {
                app.store.keep_answer(&holder, &answer).await?;
            }
            Ok(answer)
        })
        .await
    }

    /// The fingerprint that `of` makes of the query and a body, where there is a key to ask about.
    ///
    /// # Errors
    /// As `of`.
    pub async fn fingerprint(
        &self,
        of: impl AsyncFnOnce(&str) -> Result<String, Refusal>,
    ) -> Result<String, Refusal> {
        if self.key.is_none() { Ok(String::new()) } else { of(&self.query).await }
    }

    /// The same for a body whose fingerprint is known.
    ///
    /// # Errors
    /// As [`Idempotency::run`].
    pub async fn run_for(
        self,
        app: &App,
        caller: &Caller,
        fingerprint: String,
        work: impl AsyncFnOnce(Option<KeyHolder>) -> Result<Answer, Refusal>,
    ) -> Result<Response, Refusal> {
        let Some(key) = self.key.transpose()? else { return work(None).await.map(respond) };
        let path = scope(&self.path, caller.merchant.is_test);
        let holder = KeyHolder { merchant: caller.merchant.id.clone(), path, key, request: Uuid::now_v7() };
        // From here on: also a reservation whose answer did not come is given back.
        let mut held = HeldKey { store: &app.store, holder: Some(holder.clone()), may_come_late: true };
        match app.store.reserve_key(holder.clone(), fingerprint).await.map_err(unrecorded)? {
            Reservation::Granted => held.may_come_late = false,
            Reservation::Answered(answer) => {
                held.keep();
                return Ok(replayed(answer, Family::of(&self.path)));
            }
            Reservation::Reused => {
                held.keep();
                let message = "idempotency_key_reused: this Idempotency-Key was used for another request.";
                return Err(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key_reused",
                    message,
                ));
            }
            Reservation::Running(wait) => {
                held.keep();
                let message = "The first request with this Idempotency-Key is still under way.";
                return Err(Refusal {
                    retry_after: Some(wait.as_secs().clamp(1, 5)),
                    ..Refusal::new(StatusCode::CONFLICT, "idempotency_key_in_use", message)
                });
            }
        }
        let result = work(Some(holder.clone())).await;
        match &result {
            Ok(_) => held.keep(),
            Err(refusal) if !refusal.is_kept() => held.release().await,
            Err(refusal) => {
                let answer = refusal.answer(Family::of(&self.path), &self.request_id.0);
                app.store.keep_answer(&holder, &answer).await?;
                held.keep();
            }
        }
        result.map(respond)
    }
}

/// What a key counts for, beside its merchant: a path, and whether mails go to the sandbox. What was tried out with a key is
/// not the answer to the same request in earnest. A long path is named by its digest, so that it fits into an index.
fn scope(path: &str, is_test: bool) -> String {
    let path = match path.len() {
        0..=LONGEST_PATH => Cow::Borrowed(path),
        _ => Cow::Owned(format!("sha256:{}", base16ct::lower::encode_string(&Sha256::digest(path)))),
    };
    if is_test { format!("test:{path}") } else { path.into_owned() }
}

/// A key that a request holds. Dropped before the request is answered, it is given back: a request that ran out of time,
/// or whose client left, can be made again at once. What was recorded meanwhile keeps its answer all the same.
struct HeldKey<'a> {
    store: &'a Store,
    holder: Option<KeyHolder>,
    /// Nobody knows yet whether the key is reserved.
    may_come_late: bool,
}

impl HeldKey<'_> {
    /// An answer is kept under the key, or it is another request's.
    fn keep(mut self) {
        self.holder = None;
    }

    /// Gives the key back, and waits a little so that the caller finds it free.
    async fn release(mut self) {
        if let Some(holder) = &self.holder
            && let Ok(Ok(_)) = tokio::time::timeout(RELEASED_WITHIN, self.store.release_key(holder)).await
        {
            self.holder = None;
        }
    }
}

impl Drop for HeldKey<'_> {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.take() {
            self.store.release_key_in_background(holder, self.may_come_late);
        }
    }
}

/// Nothing is recorded before the key is reserved, whatever became of the reservation.
fn unrecorded(error: StoreError) -> Refusal {
    match error {
        StoreError::OutcomeUnknown { .. } => Refusal::unavailable(),
        error => error.into(),
    }
}

/// In the media type that it had: a refusal has that of its family.
fn replayed(answer: Answer, family: Family) -> Response {
    let is_refusal = answer.status >= 400;
    let mut response = respond(answer);
    if is_refusal {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(family.content_type()));
    }
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::scope;

    #[test]
    fn a_key_counts_for_one_path_and_what_is_tried_out_has_keys_of_its_own() {
        let [long, longer] = [600, 601].map(|length| format!("/api/v1/mails/{}/retry", "x".repeat(length)));
        let scopes = [
            scope("/mail", false),
            scope("/mail", true),
            scope("/mails", false),
            scope(&long, false),
            scope(&long, true),
            scope(&longer, false),
        ];
        for (at, one) in scopes.iter().enumerate() {
            assert!(one.len() <= 512, "{one}");
            assert!(scopes[at + 1..].iter().all(|other| other != one), "{one}");
        }
        assert_eq!(scope("/mail", false), "/mail");
    }
}
