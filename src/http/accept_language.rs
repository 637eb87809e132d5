//! `Accept-Language`: the language of ours that the client prefers.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

use super::accept::lines_of;
use crate::shop::language::Language;

/// The one of our languages that the client prefers; English where it wants none of them.
pub struct Preferred(pub Language);

impl<S: Send + Sync> FromRequestParts<S> for Preferred {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(asked(parts).unwrap_or(Language::En)))
    }
}

/// The same, and nothing where the client wants none of our languages.
pub struct Asked(pub Option<Language>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(asked(parts)))
    }
}

fn asked(parts: &Parts) -> Option<Language> {
    Language::negotiate(Some(&lines_of(&parts.headers, header::ACCEPT_LANGUAGE)))
}
