//! `?limit=&after=`: one page of a list.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::Deserialize;

use super::{error::Refusal, query_faults};

/// Which page is asked for.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The most things, 1 to 1,000; 100 where not given.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: u32,
    /// Begin after this id.
    #[serde(default)]
    pub after: Option<String>,
}

const fn hundred() -> u32 {
    100
}

impl PageQuery {
    /// Checks the limit.
    ///
    /// # Errors
    /// 422 naming `limit` when it is not 1 to 1,000: ask for fewer, and go on with `after`.
    pub fn checked(self) -> Result<Self, Refusal> {
        if (1..=1_000).contains(&self.limit) {
            Ok(self)
        } else {
            Err(Refusal::field("limit", "must be 1 to 1000"))
        }
    }
}

/// Cuts off what was read beyond a page, which is one more at most; returns whether there was anything.
pub fn cut_to_page<T>(rows: &mut Vec<T>, most: u32) -> bool {
    let has_more = rows.len() > most as usize;
    rows.truncate(most as usize);
    has_more
}

/// The query of a request as `T`.
pub struct QueryOf<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + 'static> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(query)| Self(query))
            .map_err(|rejection| query_faults::refusal(&rejection))
    }
}
