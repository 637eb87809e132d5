//! How many connections a relay may have from this process, and how many of these slots are free.
//!
//! A pool takes slots from here. When a route is changed while it runs, the pools before and after the change share them, so
//! that the connections of both together are no more than the relay allows. The number may change too: slots that are
//! taken and too many go as soon as they are given back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots.
pub(super) struct Capacity {
    free: Arc<Semaphore>,
    slots: AtomicUsize,
    /// How many of the slots that are taken are too many.
    too_many: AtomicUsize,
}

impl Capacity {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(slots)),
            slots: AtomicUsize::new(slots),
            too_many: AtomicUsize::new(0),
        }
    }

    /// How many there are.
    pub(super) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        let all = self.slots() + self.too_many.load(Ordering::Relaxed);
        all.saturating_sub(self.free.available_permits())
    }

    /// Takes up to `most` that are free now.
    pub(super) fn acquire_up_to(&self, most: usize) -> OwnedSemaphorePermit {
        self.remove_free();
        let mut wanted = most.min(self.free.available_permits());
        loop {
            let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
            match Arc::clone(&self.free).try_acquire_many_owned(permits) {
                Ok(permits) => return permits,
                // Somebody else took one meanwhile.
                Err(_) => wanted -= 1,
            }
        }
    }

    /// Waits for one, first come first served. `None` is not reached: slots are never closed.
    pub(super) async fn wait_for_one(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Changes their number. One caller at a time.
    pub(super) fn resize(&self, slots: usize) {
        let before = self.slots.swap(slots, Ordering::Relaxed);
        if let Some(fewer) = before.checked_sub(slots) {
            self.too_many.fetch_add(fewer, Ordering::Relaxed);
            self.remove_free();
            return;
        }
        let more = slots - before;
        let keep = |too_many: usize| Some(too_many.saturating_sub(more));
        let too_many = self.too_many.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep).unwrap_or(0);
        self.free.add_permits(more.saturating_sub(too_many));
    }

    /// Removes a slot that is about to be given back, where there are too many.
    pub(super) fn settle(&self, permit: &mut OwnedSemaphorePermit) {
        if self.too_many.load(Ordering::Relaxed) == 0 || permit.num_permits() == 0 {
            return;
        }
        let one_less = |too_many: usize| too_many.checked_sub(1);
        if self.too_many.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && let Some(one) = permit.split(1)
        {
            one.forget();
        }
    }

    fn remove_free(&self) {
        if self.too_many.load(Ordering::Relaxed) > 0 {
            let too_many = self.too_many.swap(0, Ordering::Relaxed);
            let left = too_many - self.free.forget_permits(too_many);
            self.too_many.fetch_add(left, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fewer_slots_those_that_are_free_go_at_once_and_the_others_when_they_are_given_back() {
        let capacity = Capacity::new(10);
        let mut taken: Vec<_> = (0..8).map(|_| capacity.acquire_up_to(1)).collect();
        capacity.resize(3);
        assert_eq!((capacity.slots(), capacity.taken()), (3, 8));
        assert_eq!(capacity.acquire_up_to(10).num_permits(), 0);
        for left in (3..8).rev() {
            capacity.settle(taken.last_mut().unwrap());
            taken.pop();
            assert_eq!((capacity.taken(), capacity.acquire_up_to(10).num_permits()), (left, 0));
        }
        taken.clear();
        assert_eq!((capacity.taken(), capacity.acquire_up_to(10).num_permits()), (0, 3));
    }

    #[test]
    fn slots_that_come_back_before_the_others_are_gone_are_kept() {
        let capacity = Capacity::new(8);
        let taken = capacity.acquire_up_to(8);
        capacity.resize(2);
        capacity.resize(5);
        assert_eq!((capacity.slots(), capacity.taken()), (5, 8));
        drop(taken);
        assert_eq!(capacity.acquire_up_to(10).num_permits(), 5);
        capacity.resize(9);
        assert_eq!(capacity.acquire_up_to(10).num_permits(), 9);
    }
}
