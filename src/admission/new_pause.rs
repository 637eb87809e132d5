//! A pause that an operator asks for, at the command line or in the dashboard: what may be paused, why and for how long. Both
//! refuse the same, in the same words.

use std::time::Duration;

use crate::{
    clock,
    mail::{MerchantId, PauseScope, Timestamp},
    smtp::RouteSettings,
    store::{Store, StoreError},
};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 300;
/// The longest pause that ends by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A pause whose reason and length are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPause {
    scope: PauseScope,
    reason: String,
    length: Option<Duration>,
}

/// A pause that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Whether it was not in force before, with this reason and this end.
    pub is_news: bool,
}

/// Why something is not paused.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The reason is blank, too long, or more than one line.
    #[error("the reason must have 1 to {LONGEST_REASON} characters in one line")]
    Reason,
    /// The pause would be over at once, or last longer than anybody means.
    #[error("the pause must be longer than 0s and at most ten years")]
    Length,
    /// No merchant has this id.
    #[error("there is no merchant `{0}`")]
    UnknownMerchant(MerchantId),
    /// No route of the configuration has this name.
    #[error("there is no route `{0}`")]
    UnknownRoute(String),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewPause {
    /// Takes a pause for this reason, where one is given, and until it is resumed where it has no length.
    ///
    /// # Errors
    /// [`PauseError::Reason`] and [`PauseError::Length`].
    pub fn new(
        scope: PauseScope,
        reason: Option<&str>,
        length: Option<Duration>,
    ) -> Result<Self, PauseError> {
        if !reason.is_none_or(is_allowed) {
            return Err(PauseError::Reason);
        }
        if length.is_some_and(|length| length.is_zero() || length > LONGEST_PAUSE) {
            return Err(PauseError::Length);
        }
        Ok(Self { scope, reason: reason.unwrap_or_default().to_owned(), length })
    }

    /// Begins the pause, where what it names exists.
    ///
    /// # Errors
    /// [`PauseError::UnknownMerchant`] and [`PauseError::UnknownRoute`]: a pause of what is not there is a mistake. Else
    /// those of the database.
    pub async fn begin(&self, store: &Store, routes: &[RouteSettings]) -> Result<Begun, PauseError> {
        match &self.scope {
            PauseScope::Merchant(id) if store.merchant(id).await?.is_none() => {
                return Err(PauseError::UnknownMerchant(id.clone()));
            }
            PauseScope::Route(name) if routes.iter().all(|route| route.name != *name) => {
                return Err(PauseError::UnknownRoute(name.clone()));
            }
            _ => {}
        }
        let until = self.length.map(|length| clock::now() + length);
        let is_news = store.pause(&self.scope, &self.reason, until).await?;
        Ok(Begun { until, is_news })
    }
}

fn is_allowed(reason: &str) -> bool {
    !reason.trim().is_empty()
        && reason.chars().count() <= LONGEST_REASON
        && !reason.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mail::Lane, store::webhooks_fixture::open};

    fn lane() -> PauseScope {
        PauseScope::Lane(Lane::Bulk)
    }

    #[test]
    fn a_reason_is_one_line_and_no_longer_than_somebody_reads() {
        let longest = "é".repeat(LONGEST_REASON);
        for reason in [None, Some("we are moving"), Some(longest.as_str())] {
            assert!(NewPause::new(lane(), reason, None).is_ok(), "{reason:?}");
        }
        for reason in ["", " ", "two\nlines", &"x".repeat(LONGEST_REASON + 1)] {
            let error = NewPause::new(lane(), Some(reason), None).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the reason must have 1 to 300 characters in one line",
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_pause_is_longer_than_nothing_and_at_most_ten_years() {
        for length in [None, Some(Duration::from_millis(1)), Some(LONGEST_PAUSE)] {
            assert!(NewPause::new(lane(), None, length).is_ok(), "{length:?}");
        }
        for length in [Duration::ZERO, LONGEST_PAUSE + Duration::from_millis(1), Duration::MAX] {
            let error = NewPause::new(lane(), None, Some(length)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the pause must be longer than 0s and at most ten years",
                "{length:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_merchant_or_route_that_is_not_there_is_not_paused() {
        let (store, _folder) = open().await;
        for (kind, said) in
            [("merchant", "there is no merchant `nope`"), ("route", "there is no route `nope`")]
        {
            let scope = PauseScope::parse(kind, "nope").unwrap();
            let pause = NewPause::new(scope, None, None).unwrap();
            assert_eq!(pause.begin(&store, &[]).await.unwrap_err().to_string(), said);
        }
        assert!(store.pauses().await.unwrap().is_empty());
    }
}
