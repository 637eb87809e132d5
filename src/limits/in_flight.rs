//! How much may be under way at once, for one merchant and in all: bytes in memory, large requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mail::MerchantId;

/// A bounded amount, of which each merchant may have a share.
pub struct InFlight {
    all: Arc<Semaphore>,
    unit: usize,
    share: usize,
    merchants: Mutex<HashMap<MerchantId, Arc<Semaphore>>>,
}

/// Something that is under way, until this is dropped.
#[derive(Debug)]
pub struct InFlightPermit {
    own: Option<OwnedSemaphorePermit>,
    all: OwnedSemaphorePermit,
    more: Option<Box<InFlightPermit>>,
}

impl InFlightPermit {
    /// Two that are held together.
    #[must_use]
    pub fn and(mut self, more: Option<Self>) -> Self {
        self.more = more.map(Box::new);
        self
    }
}

/// There was no room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The merchant has its share under way.
    Merchant,
    /// All have together what there may be.
    All,
}

impl InFlight {
    /// At most `most` in all and `share` for one merchant, counted in units of `unit`.
    pub fn new(most: usize, share: usize, unit: usize) -> Self {
        let units = |amount: usize| (amount / unit).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(units(most))),
            unit,
            share: units(share.min(most)),
            merchants: Mutex::default(),
        }
    }

    /// Waits at most so long until there is room for `amount`. What is more than a share takes all of it.
    ///
    /// # Errors
    /// What is full.
    pub async fn hold(
        &self,
        merchant: Option<&MerchantId>,
        amount: usize,
        patience: Duration,
    ) -> Result<InFlightPermit, Full> {
        let units = u32::try_from(self.units(amount)).unwrap_or(u32::MAX);
        let own = merchant.map(|merchant| self.of(merchant));
        let own = match own {
            Some(own) => Some(acquire(own, units, patience).await.ok_or(Full::Merchant)?),
            None => None,
        };
        let all = acquire(Arc::clone(&self.all), units, patience).await.ok_or(Full::All)?;
        Ok(InFlightPermit { own, all, more: None })
    }

    /// Gives back what is held beyond `amount`.
    pub fn shrink(&self, held: &mut InFlightPermit, amount: usize) {
        let units = self.units(amount);
        for permit in held.own.iter_mut().chain([&mut held.all]) {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }

    fn units(&self, amount: usize) -> usize {
        amount.div_ceil(self.unit).clamp(1, self.share)
    }

    fn of(&self, merchant: &MerchantId) -> Arc<Semaphore> {
        let mut merchants = self.merchants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = merchants.get(merchant) {
            return Arc::clone(own);
        }
        let own = Arc::new(Semaphore::new(self.share));
        merchants.insert(merchant.clone(), Arc::clone(&own));
        own
    }
}

async fn acquire(from: Arc<Semaphore>, units: u32, patience: Duration) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&from).try_acquire_many_owned(units) {
        return Some(permit);
    }
    tokio::time::timeout(patience, from.acquire_many_owned(units)).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_merchant_has_its_share_and_all_have_the_whole() {
        let room = InFlight::new(4_096, 2_048, 1_024);
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<MerchantId>().unwrap());
        let hold = |merchant, amount| room.hold(Some(merchant), amount, Duration::from_millis(20));
        let first = hold(&a, 1).await.unwrap();
        let second = hold(&a, 1_024).await.unwrap();
        assert_eq!(hold(&a, 1).await.unwrap_err(), Full::Merchant);
        let third = hold(&b, 1_000_000).await.unwrap();
        assert_eq!(hold(&c, 1).await.unwrap_err(), Full::All);
        drop(first);
        assert!(hold(&c, 1).await.is_ok());
        drop((second, third));
        let mut whole = hold(&a, 2_048).await.unwrap();
        room.shrink(&mut whole, 1_000);
        assert!(hold(&a, 1_024).await.is_ok());
    }
}
