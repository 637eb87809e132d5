//! Checks a signature for merchants whose own check fails.

use std::{error::Error, sync::Arc};

use axum::{Json, extract::State};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::view::{Success, ValidView};
use crate::{
    app::App,
    callback::{self, Secret, Signed},
    clock,
    http::{auth::Caller, body::JsonBody, error::Refusal},
    shop::Ability,
};

/// The longest payload whose signature is checked, in bytes: many times what postroom ever sends.
const LONGEST_PAYLOAD: usize = 1 << 20;
/// So many bytes are hashed where the request is answered; more are hashed away from the async threads, one request at
/// a time.
const HASHED_AT_ONCE: usize = 1 << 18;
/// The turn of a request that hashes a lot.
static HASHES: Semaphore = Semaphore::const_new(1);

/// A signature to check, as it came in a callback's headers, and the callback's body.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SignatureRequest {
    /// `webhook-id`.
    id: String,
    /// `webhook-timestamp`: seconds, as text or as a number.
    #[schema(value_type = String)]
    timestamp: Box<RawValue>,
    /// `webhook-signature`.
    signature: String,
    /// The body, byte for byte, as a string; or the JSON itself, exactly as it was received.
    #[schema(value_type = String)]
    payload: Box<RawValue>,
}

#[utoipa::path(post, path = "/webhooks/verify-signature", tag = "webhooks", request_body = SignatureRequest,
    responses((status = 200, body = Success<ValidView>)))]
pub(crate) async fn verify_signature(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Success<ValidView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let request: SignatureRequest = body.parse()?;
    let now = clock::now();
    let endpoints = app.store.endpoints(&caller.merchant.id).await?;
    let mut secrets: Vec<_> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.secrets.in_force(now))
        .filter_map(|secret| Secret::parse(secret.expose_secret()))
        .collect();
    secrets.extend(Secret::parse(&caller.merchant.secret)); // signs batch webhooks
    let signed =
        Signed { id: request.id, timestamp: text_of(&request.timestamp), signature: request.signature };
    let payload = text_of(&request.payload);
    if payload.len() > LONGEST_PAYLOAD {
        return Err(Refusal::field("payload", "The payload must have at most 1 MiB."));
    }
    let tries = secrets.len();
    let verify = move || callback::verify(&signed, payload.as_bytes(), &secrets, now);
    if request.payload.get().len() * tries <= HASHED_AT_ONCE {
        return Ok(Success::of(ValidView { valid: verify() }));
    }
    let failed = |error: &(dyn Error + 'static)| Refusal::failed("a signature could not be checked", error);
    let turn = HASHES.acquire().await.map_err(|error| failed(&error))?;
    // Hashing goes on when the caller has gone, and keeps its turn until its end.
    let verify = move || {
        let _turn = turn;
        verify()
    };
    let valid = tokio::task::spawn_blocking(verify).await.map_err(|error| failed(&error))?;
    Ok(Success::of(ValidView { valid }))
}

/// What a JSON string says; any other JSON as it stands.
fn text_of(json: &RawValue) -> String {
    serde_json::from_str::<String>(json.get()).unwrap_or_else(|_| json.get().to_owned())
}
