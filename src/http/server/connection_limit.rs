//! How many connections there may be: in all and from one address, and never so many that the database, the relays and
//! the callbacks find no file descriptor left.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{clock, config::Config, mail::Timestamp};

/// Descriptors for what a process has open anyway: its log, its queue, its listeners, files of batches under way.
const FOR_THE_PROCESS: u64 = 64 + FOR_OPERATORS as u64;
/// SQLite opens the database, its log and its index of that log for each connection.
const FOR_A_DATABASE_CONNECTION: u64 = 3;
/// Connections to the admin listener.
const FOR_OPERATORS: usize = 160;
/// So many connections are taken even where the descriptors hardly suffice.
const FEWEST: u64 = 16;
/// After somebody was refused, connections on which nothing happens make room for so long.
const WANTED: Duration = Duration::from_secs(10);

/// How many connections one listener takes, in all and from one address.
pub(super) struct ConnectionLimit {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
    refused_at: AtomicI64,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one connection, given back when dropped.
pub(super) struct ConnectionPermit {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl ConnectionLimit {
    /// Takes what the configuration says, and less where the descriptors do not suffice; the log says so.
    pub(super) fn new(config: &Config) -> Self {
        let descriptors = raise_descriptors();
        let wanted = config.http.connections;
        let most = descriptors.map_or(wanted, |descriptors| within(wanted, descriptors, reserved(config)));
        if most < wanted {
            let descriptors = descriptors.unwrap_or_default();
            tracing::warn!(
                most,
                wanted,
                descriptors,
                "fewer connections than http.connections are taken: raise the limit of open files"
            );
        } else {
            tracing::info!(most, "so many connections are taken at once");
        }
        Self::of(most, config.http.connections_per_address)
    }

    /// A few: operators and their monitoring.
    pub(super) fn for_operators() -> Self {
        Self::of(FOR_OPERATORS, FOR_OPERATORS)
    }

    fn of(most: usize, most_each: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                most,
                most_each,
                taken: Mutex::default(),
                refused_at: AtomicI64::new(0),
            }),
        }
    }

    /// Permission for a connection from `peer`; none when there is no room.
    pub(super) fn take(&self, peer: IpAddr) -> Option<ConnectionPermit> {
        let address = network_of(peer);
        let shared = &self.shared;
        let mut taken = shared.lock();
        if taken.all >= shared.most {
            shared.refused_at.store(clock::now().millis(), Ordering::Relaxed);
            return None;
        }
        if let Some(address) = address {
            let of_address = taken.by_address.entry(address).or_default();
            if *of_address >= shared.most_each {
                return None;
            }
            *of_address += 1;
        }
        taken.all += 1;
        Some(ConnectionPermit { shared: Arc::clone(shared), address })
    }
}

impl ConnectionPermit {
    /// Whether others were refused lately, so that whoever does nothing should make room.
    pub(super) fn is_wanted(&self) -> bool {
        let refused_at = Timestamp(self.shared.refused_at.load(Ordering::Relaxed));
        clock::now().since(refused_at) < WANTED
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(address) = self.address
            && let Some(of_address) = taken.by_address.get_mut(&address)
        {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one address: of IPv6 a /64, which is one customer's. None for this machine: a proxy on it speaks for
/// many.
pub(in crate::http) fn network_of(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6((address.to_bits() >> 64 << 64).into())),
        address => Some(address),
    }
}

/// Descriptors that are not for connections from merchants.
fn reserved(config: &Config) -> u64 {
    let routes: usize = config.smtp.routes.iter().map(|route| route.connections).sum();
    FOR_THE_PROCESS
        + (u64::from(config.database.connections) + 1) * FOR_A_DATABASE_CONNECTION
        + routes as u64
        + config.callbacks.concurrency as u64
}

fn within(wanted: usize, descriptors: u64, reserved: u64) -> usize {
    let left = descriptors.saturating_sub(reserved).max(FEWEST);
    usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
}

/// Raises the limit of open files to what the process may have, and returns it; none when there is no limit.
fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files could not be raised");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address_and_come_back() {
        let limit = ConnectionLimit::of(3, 2);
        let (stranger, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = limit.take(stranger).unwrap();
        let second = limit.take(stranger).unwrap();
        assert!(limit.take(stranger).is_none() && !second.is_wanted(), "two of one address");
        let third = limit.take(other).unwrap();
        assert!(limit.take(address("127.0.0.1")).is_none() && second.is_wanted(), "three in all");
        drop((first, third));
        let _again = (limit.take(stranger).unwrap(), limit.take(address("::1")).unwrap());
        drop(second);
        assert_eq!(limit.shared.lock().by_address.len(), 1);
    }

    #[test]
    fn a_customer_counts_once_and_this_machine_not_at_all() {
        assert_eq!(network_of(address("127.0.0.9")), None);
        assert_eq!(network_of(address("::ffff:127.0.0.1")), None);
        assert_eq!(network_of(address("::ffff:192.0.2.1")), Some(address("192.0.2.1")));
        assert_eq!(network_of(address("2001:db8:1:2:3::4")), Some(address("2001:db8:1:2::")));
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(within(2_000, 1_048_576, 200), 2_000);
        assert_eq!(within(2_000, 1_024, 200), 824);
        assert_eq!(within(2_000, 256, 400), 16);
        assert_eq!(within(10, 256, 400), 10);
    }
}
