//! Tells a merchant what is left of its requests: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10) on every answer to a request that was counted, refused or not.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::RequestQuota;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Carries a merchant's quota from where its request is counted to the answer. The middleware puts it into the request.
#[derive(Clone, Default)]
pub(super) struct QuotaNote(Arc<OnceLock<RequestQuota>>);

impl QuotaNote {
    /// Notes what was counted.
    pub(super) fn set(&self, quota: RequestQuota) {
        let _ = self.0.set(quota); // once for each request
    }

    /// Writes what was noted.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(quota) = self.0.get() else { return };
        for (name, value) in [(&POLICY, policy(*quota)), (&LEFT, left(*quota))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn policy(RequestQuota { quota, window, .. }: RequestQuota) -> String {
    format!("\"default\";q={quota};w={}", window.as_secs())
}

fn left(RequestQuota { left, reset, .. }: RequestQuota) -> String {
    format!("\"default\";r={left};t={}", whole_seconds(reset))
}

/// Seconds, rounded up: whoever waits for so long finds what was promised.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
