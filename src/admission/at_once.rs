//! Admits a mail that was never queued, in the moment in which its request asks.
//!
//! It is asked exactly what a mail is asked that was fetched: see `deciding`. But nothing is waited for except a connection that
//! another mail has, neither Redis nor a relay: where one of the two would have to be asked, the answer is no, and the mail takes
//! the usual way.

use super::{
    Admission, Offer, Permit, Room,
    deciding::{Deciding, Plan},
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
    /// Leave for this mail to be sent now, as soon as a connection is free; `None` when anything else makes it wait, or only Redis
    /// knows.
    pub async fn admit_at_once(&self, mail: QueuedJob) -> Option<AtOnce> {
        let mail = Lease::of_no_queue(mail);
        loop {
            let (_, room, _) = self.ask_for_room(1);
            let mut room = room?;
            // A place of a route that does not take the mail must not wake it when it is given back.
            room.held.iter_mut().for_each(|held| held.connections.quietly());
            let answer = self.admit_in(room, &mail);
            self.changed.notify_one(); // the fetcher may have missed the room that was held here and not used
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

    fn admit_in(&self, room: Room, mail: &Lease) -> Result<AtOnce, Why> {
        let Room { held, in_force } = room;
        let paused = self.paused();
        let mut deciding = Deciding { admission: self, in_force: &in_force, paused: &paused, held };
        let (ask, way, turn) = match deciding.plan(mail, false) {
            Plan::Ask { ask, way, turn } => (ask, way, turn),
            Plan::Later(line) if line.reason == WaitReason::NoConnection => return Err(Why::Busy),
            Plan::Later(_) | Plan::Go { .. } => return Err(Why::NotAtOnce),
        };
        let at_once = self.rates.limiter.take_at_once(&ask).and_then(|answer| {
            let Answer::Granted(tokens) = answer else { return None };
            match deciding.go((ask, way, tokens), mail) {
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
