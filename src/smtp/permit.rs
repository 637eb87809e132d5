//! What a mail needs of a route before anybody claims it: a place for a connection, then the connection, then a word that
//! it may still be offered.
//!
//! ```text
//! Route::permits ──▶ Permits ── next ──▶ Permit ── connect ──▶ Ready ── send ──▶ Sent
//! ```
//!
//! Whichever of these is dropped gives back what it holds.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    breaker::StopTrial,
    line::Wish,
    place::{Place, Places},
    ready::{NotReady, Ready, Trial},
    route::Route,
};

/// Places for mails, taken together.
pub struct Permits {
    route: Arc<Route>,
    places: Places,
    trial: Option<Trial>,
}

/// A place for one mail.
pub struct Permit {
    route: Arc<Route>,
    place: Place,
    trial: Option<Trial>,
}

impl Permits {
    pub(super) fn new(route: Arc<Route>, places: Places, trial: Option<Trial>) -> Self {
        Self { route, places, trial }
    }

    /// Those that are not used are given back without a word: for one who waits for the word himself.
    pub fn quietly(&mut self) {
        self.places.quietly();
    }
}

impl Iterator for Permits {
    type Item = Permit;

    fn next(&mut self) -> Option<Permit> {
        let place = self.places.split()?;
        Some(Permit { route: Arc::clone(&self.route), place, trial: self.trial.take() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.places.len(), Some(self.places.len()))
    }
}

impl ExactSizeIterator for Permits {}

impl Permit {
    /// Whether the mail has to wait for its place, for as long as a quick relay takes for others.
    pub fn is_ahead(&self) -> bool {
        self.place.is_ahead()
    }

    /// Waits for the place with the message ready, and perhaps for a connection on which the mail is begun already. Dropped
    /// meanwhile, it leaves the place to another mail.
    pub async fn arrive(&mut self, wish: Wish) {
        self.place.arrive_in_line(wish).await;
    }

    /// Takes the connection that it was handed, or the idle one that was used last, or opens one. A mail that is ahead of its place
    /// waits for that first.
    ///
    /// # Errors
    /// When there is none and none may be or could be opened.
    pub async fn connect(mut self) -> Result<Ready, NotReady> {
        self.place.arrive().await;
        Ready::open(self.route, self.place, self.trial).await
    }

    /// Takes the idle connection that was used last; `None` when there is none, or the mail is ahead of its place.
    pub fn connect_at_once(mut self) -> Option<Ready> {
        let idle = if self.is_ahead() { None } else { self.place.take_at_once() };
        Some(Ready::with(idle?, self.route, self.place, self.trial))
    }
}

impl Route {
    /// Takes places for up to `most` mails that may be sent now, or soon: a connection of each is idle or may be opened, or
    /// comes free within milliseconds ([`Permit::is_ahead`]).
    /// Never waits. Where there are fewer than asked for, more may be had when a place is given back, or when
    /// [`Route::pause`] is over.
    pub fn permits(self: &Arc<Self>, most: usize) -> Permits {
        self.take(most, true)
    }

    /// Takes a place for one mail that may be sent now, if there is one.
    pub fn permit_now(self: &Arc<Self>) -> Option<Permit> {
        self.take(1, false).next()
    }

    fn take(self: &Arc<Self>, most: usize, may_be_ahead: bool) -> Permits {
        let now = Instant::now();
        let pause = self.breaker().pause(now);
        let most = self.breaker().most_at_this_pace(most, now);
        let (may_open, trial) = match pause {
            None => (most, None),
            // Nor is it tried whether a relay takes us again that cannot be reached.
            Some(pause) if !pause.is_zero() && self.relay.pool.idle() == 0 => (0, None),
            Some(pause) => match self.breaker().begin_trial(now) {
                StopTrial::NotStopped => (self.relay.pool.idle() + usize::from(pause.is_zero()), None),
                StopTrial::NotNow => (0, None),
                StopTrial::One => (1, Some(Trial::new(Arc::clone(self)))),
            },
        };
        Permits::new(
            Arc::clone(self),
            self.relay.pool.take(most.min(may_open), may_be_ahead && pause.is_none()),
            trial,
        )
    }

    /// Opens a connection up to the point where MAIL may follow, and says goodbye: for `postroom check`.
    ///
    /// # Errors
    /// How far it came and why no further, for operators: the relay's own words less our credentials.
    pub async fn try_out(&self) -> Result<(), String> {
        match self.relay.dialer.dial().await {
            Ok(connection) => {
                connection.quit().await;
                Ok(())
            }
            Err(error) => {
                let code = error.code().map(|code| format!("{code} ")).unwrap_or_default();
                Err(format!("{}: {code}{}", error.phase, self.relay.dialer.words_for_the_log(&error)))
            }
        }
    }
}
