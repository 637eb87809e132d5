//! What is noted about a request while it is answered, for the one line about it in the log: whose it is, which mail came
//! of it, and the caller's trace.
//!
//! The middleware opens a note around each request; those who learn something write it there, however deep they are.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;

use crate::mail::{BatchId, MailId, MerchantId, TraceParent};

tokio::task_local! {
    static NOTE: RequestNote;
}

/// The note of one request.
#[derive(Clone, Default)]
pub(super) struct RequestNote(Arc<Noted>);

#[derive(Default)]
struct Noted {
    merchant: OnceLock<MerchantId>,
    mail: OnceLock<MailId>,
    batch: OnceLock<BatchId>,
    trace_parent: Option<TraceParent>,
}

impl RequestNote {
    /// Begins a note with the trace that the caller names, where it names one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let trace_parent = given.and_then(|text| text.parse().ok());
        Self(Arc::new(Noted { trace_parent, ..Noted::default() }))
    }

    /// Answers a request with this note open.
    pub(super) async fn scope<T>(&self, answering: impl Future<Output = T>) -> T {
        NOTE.scope(self.clone(), answering).await
    }

    /// Whose request it is, once that is known.
    pub(super) fn merchant(&self) -> Option<&MerchantId> {
        self.0.merchant.get()
    }

    /// The mail that came of it, where it is one.
    pub(super) fn mail(&self) -> Option<MailId> {
        self.0.mail.get().copied()
    }

    /// The batch that came of it.
    pub(super) fn batch(&self) -> Option<BatchId> {
        self.0.batch.get().copied()
    }

    /// The id of the caller's trace.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.0.trace_parent.as_ref().map(TraceParent::trace_id)
    }
}

/// Notes whose request is being answered.
pub(super) fn note_merchant(merchant: &MerchantId) {
    let _ = NOTE.try_with(|note| note.0.merchant.set(merchant.clone()));
}

/// Notes which mail was recorded.
pub(super) fn note_mail(mail: MailId) {
    let _ = NOTE.try_with(|note| note.0.mail.set(mail));
}

/// Notes which batch was recorded.
pub(super) fn note_batch(batch: BatchId) {
    let _ = NOTE.try_with(|note| note.0.batch.set(batch));
}

/// The caller's trace, where the request names one.
pub(super) fn trace_parent() -> Option<TraceParent> {
    NOTE.try_with(|note| note.0.trace_parent.clone()).ok().flatten()
}
