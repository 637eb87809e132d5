//! Admits a mail that was never queued, in the moment in which its request asks.
//!
//! It is asked exactly what a mail is asked that was fetched: see `decider`. But nothing is waited for except a connection that
//! another mail has, neither Redis nor a relay: where one of the two would have to be asked, the answer is no, and the mail takes
//! the usual way.

use super::{
    Admission, Offer, Permit, ReservedConnections,
    decider::{Decider, Plan},
};
use crate::{
    limits::Answer,
    mail::WaitReason,
    queue::{Decision, Lease, QueuedJob},
};

/// What a mail is sent with at once.
pub enum AtOnce {
    /// A connection that is open.
    Now(Box<Offer>),
    /// The next turn of one that another mail has.
    Ahead(Box<Permit>),
}

/// Why a mail may not be sent at once.
enum Why {
    /// It lacks nothing but a connection, and all are in use.
    Busy,
    /// Something else makes it wait, or only Redis knows.
    NotAtOnce,
}

impl Admission {
    /// A permit to send this mail now, as soon as a connection is free; `None` when anything else makes it wait, or only Redis
    /// knows.
    pub async fn admit_at_once(&self, mail: QueuedJob) -> Option<AtOnce> {
        let mail = Lease::of_no_queue(mail);
        loop {
            let (_, reserved, _) = self.reserve_connections(1);
            let mut reserved = reserved?;
            // A connection of a route that does not take the mail must not wake it when it is given back.
            reserved.held.iter_mut().for_each(|held| held.connections.quietly());
            let answer = self.admit_in(reserved, &mail);
            self.changed.notify_one(); // the fetcher may have missed the connections that were reserved here and not used
            match answer {
                Ok(at_once) => return Some(at_once),
                Err(Why::Busy) => {
                    tokio::task::yield_now().await; // however often it is woken, others have their turn
                    self.routes.freed_for_hand_over().notified().await;
                }
                Err(Why::NotAtOnce) => return None,
            }
        }
    }

    fn admit_in(&self, reserved: ReservedConnections, mail: &Lease) -> Result<AtOnce, Why> {
        let ReservedConnections { held, in_force } = reserved;
        let paused = self.paused();
        let mut decider = Decider { admission: self, in_force: &in_force, paused: &paused, held };
        let (ask, route, turn) = match decider.plan(mail, false) {
            Plan::Ask { ask, route, turn } => (ask, route, turn),
            Plan::Later(line) if line.reason == WaitReason::NoConnection => return Err(Why::Busy),
            Plan::Later(_) | Plan::Go { .. } => return Err(Why::NotAtOnce),
        };
        let at_once = self.rates.limiter.take_at_once(&ask).and_then(|answer| {
            let Answer::Granted(tokens) = answer else { return None };
            match decider.go((ask, route, tokens), mail) {
                Decision::Now(permit) if permit.is_ahead() => Some(AtOnce::Ahead(Box::new(permit))),
                Decision::Now(permit) => permit.connect_at_once().map(|offer| AtOnce::Now(Box::new(offer))),
                Decision::Later(_) | Decision::NotHere => None,
            }
        });
        at_once.ok_or_else(|| {
            in_force.chooser.give_back(turn); // the mail is queued, and may open a connection there
            Why::NotAtOnce
        })
    }
}
