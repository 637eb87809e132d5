//! What a mail needs of a route before anybody claims it: a slot for a connection, then the connection, then a word that
//! it may still be offered.
//!
//! ```text
//! Route::permits ──▶ PoolPermits ── next ──▶ PoolPermit ── connect ──▶ Ready ── send ──▶ Sent
//! ```
//!
//! Whichever of these is dropped gives back what it holds.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    breaker::StopTrial,
    connection_queue::WaitingMail,
    pool_slot::{Ahead, PoolSlot, PoolSlots},
    ready::{NotReady, Ready, Trial},
    route::Route,
};

/// Slots for mails, taken together.
pub struct PoolPermits {
    route: Arc<Route>,
    slots: PoolSlots,
    trial: Option<Trial>,
}

/// A slot for one mail.
pub struct PoolPermit {
    route: Arc<Route>,
    slot: PoolSlot,
    trial: Option<Trial>,
}

impl PoolPermits {
    pub(super) fn new(route: Arc<Route>, slots: PoolSlots, trial: Option<Trial>) -> Self {
        Self { route, slots, trial }
    }

    /// Those that are not used are given back without a word: for one who waits for the word himself.
    pub fn quietly(&mut self) {
        self.slots.quietly();
    }
}

impl Iterator for PoolPermits {
    type Item = PoolPermit;

    fn next(&mut self) -> Option<PoolPermit> {
        let slot = self.slots.split()?;
        Some(PoolPermit { route: Arc::clone(&self.route), slot, trial: self.trial.take() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.slots.len(), Some(self.slots.len()))
    }
}

impl ExactSizeIterator for PoolPermits {}

impl PoolPermit {
    /// Whether the mail has to wait for its slot, for as long as a quick relay takes for others.
    pub fn is_ahead(&self) -> bool {
        self.slot.is_ahead()
    }

    /// Waits for the slot with the message ready, and perhaps for a connection on which the mail is begun already. Dropped
    /// meanwhile, it leaves the slot to another mail.
    pub async fn arrive(&mut self, mail: WaitingMail) {
        self.slot.arrive_in_queue(mail).await;
    }

    /// Takes the connection that it was handed, or the idle one that was used last, or opens one. A mail that is ahead of its slot
    /// waits for that first.
    ///
    /// # Errors
    /// When there is none and none may be or could be opened.
    pub async fn connect(mut self) -> Result<Ready, NotReady> {
        self.slot.arrive().await;
        Ready::open(self.route, self.slot, self.trial).await
    }

    /// Takes the idle connection that was used last; `None` when there is none, or the mail is ahead of its slot.
    pub fn connect_at_once(mut self) -> Option<Ready> {
        let idle = if self.is_ahead() { None } else { self.slot.take_at_once() };
        Some(Ready::with(idle?, self.route, self.slot, self.trial))
    }
}

impl Route {
    /// Takes slots for up to `most` mails that may be sent now, or soon: a connection of each is idle or may be opened, or
    /// comes free within milliseconds ([`PoolPermit::is_ahead`]).
    /// Never waits. Where there are fewer than asked for, more may be had when a slot is given back, or when
    /// [`Route::pause`] is over.
    pub fn permits(self: &Arc<Self>, most: usize) -> PoolPermits {
        self.reserve(most, Ahead::Allowed)
    }

    /// Takes a slot for one mail that may be sent now, if there is one.
    pub fn permit_now(self: &Arc<Self>) -> Option<PoolPermit> {
        self.reserve(1, Ahead::Never).next()
    }

    fn reserve(self: &Arc<Self>, most: usize, ahead: Ahead) -> PoolPermits {
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
                StopTrial::Granted => (1, Some(Trial::new(Arc::clone(self)))),
            },
        };
        let ahead = if pause.is_none() { ahead } else { Ahead::Never };
        PoolPermits::new(Arc::clone(self), self.relay.pool.reserve_slots(most.min(may_open), ahead), trial)
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
