//! Admits a mail that was never queued, in the moment in which its request asks.
//!
//! It is asked exactly what a mail is asked that was fetched: see `deciding`. But nothing is waited for, neither Redis nor a
//! relay: where one of the two would have to be asked, the answer is no, and the mail takes the usual way.

use super::{
    Admission, Permit, Room,
    deciding::{Deciding, Plan},
};
use crate::{
    limits::Answer,
    queue::{Decision, Lease, QueuedJob},
};

impl Admission {
    /// Leave for this mail to be sent now; `None` when anything makes it wait, or only Redis knows.
    pub fn admit_at_once(&self, mail: QueuedJob) -> Option<Permit> {
        let (_, room, _) = self.ask_for_room(1);
        let permit = self.admit_in(room?, &Lease::of_no_queue(mail));
        self.changed.notify_one(); // the fetcher may have missed the room that was held here and not used
        permit
    }

    fn admit_in(&self, room: Room, mail: &Lease) -> Option<Permit> {
        let Room { held, in_force } = room;
        let paused = self.paused();
        let mut deciding = Deciding { admission: self, in_force: &in_force, paused: &paused, held };
        let Plan::Ask { ask, way } = deciding.plan(mail, false) else { return None };
        let Some(Answer::Granted(tokens)) = self.desk.limiter.take_at_once(&ask) else { return None };
        match deciding.go((ask, way, tokens), mail) {
            Decision::Now(permit) => Some(permit),
            Decision::Later(_) | Decision::NotHere => None,
        }
    }
}
