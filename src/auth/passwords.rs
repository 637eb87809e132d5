//! Passwords: which were right, and what is done about those that are not.
//!
//! Argon2id is slow by design, so it is the one thing that a stranger without a credential can make this process do. A
//! password that was right is not hashed again as long as its account's row has the same hash. The others wait in a
//! short line, each only once however often it is asked for; user names and addresses that fail again and again are
//! told to wait before that.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use hmac::Mac;
use moka::sync::Cache;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    caller::{Caller, KNOWN_FOR},
    error::AuthError,
    secret::new_secret,
    throttle::Throttle,
};
use crate::{
    audit::Actor,
    keyed_hash::keyed_hash,
    shop::Abilities,
    store::{Account, Store},
};

/// How long a password that was right is remembered. Its account's row is read again every [`KNOWN_FOR`].
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Hashes under way at once; each takes tens of milliseconds and 19 MiB.
const HASHES: usize = 2;
/// Different passwords that are hashed or wait for it.
const LINE: usize = 32;
/// Failures of one user name at once; then one more each second.
const BY_NAME: (u32, Duration) = (10, Duration::from_secs(1));
/// Failures from one address at once; then two more each second.
const BY_ADDRESS: (u32, Duration) = (30, Duration::from_millis(500));
/// Hashes for user names that nobody has, at once; then five more each second. Further ones only wait as long.
const FOR_NOBODY: (u32, Duration) = (10, Duration::from_millis(200));
/// For so long after a failure an address shares the allowance of the user names that it tries.
const SUSPECT: Duration = Duration::from_secs(60);
/// About how long a hash takes, for those that are not made.
const ABOUT_A_HASH: Duration = Duration::from_millis(50);

type Fingerprint = [u8; 32];
/// Whether a password is right; none when that could not be found out.
type PasswordCheck = BoxFuture<'static, Option<bool>>;

pub(super) struct Passwords {
    key: [u8; 32],
    names: RandomState,
    /// Whose row was read just now.
    callers: Cache<Fingerprint, Caller>,
    /// The hash in the account's row that a password was verified against.
    right: Cache<Fingerprint, Arc<str>>,
    by_name: Throttle<u64>,
    by_address: Throttle<IpAddr>,
    for_nobody: Throttle<()>,
    /// Networks that failed lately. This machine is none: a proxy on it speaks for many.
    suspects: Cache<IpAddr, ()>,
    hashes: Arc<Semaphore>,
    line: Mutex<HashMap<Fingerprint, WeakShared<PasswordCheck>>>,
    /// The hash of a password that nobody has.
    nobody: LazyLock<String>,
}

/// A password that is not known to be right. It counts as a failure until it succeeds.
struct PasswordAttempt<'a> {
    passwords: &'a Passwords,
    name: u64,
    /// Where it comes from; none for this machine.
    network: Option<IpAddr>,
    /// Counts when the attempt is dropped.
    has_failed: bool,
}

impl PasswordAttempt<'_> {
    fn begin(&self) -> Result<(), AuthError> {
        if let Some(network) = self.network {
            self.passwords.by_address.take(network, Instant::now()).map_err(AuthError::TooMany)?;
        }
        // Strangers who try somebody's user name must not keep out the one who has it, at another address.
        let is_suspect = self.network.is_some_and(|network| self.passwords.suspects.contains_key(&network));
        match self.passwords.by_name.take(self.name, Instant::now()) {
            Err(wait) if is_suspect => Err(AuthError::TooMany(wait)),
            _ => Ok(()),
        }
    }

    fn succeeded(&self) {
        self.passwords.by_name.give_back(&self.name);
        if let Some(network) = self.network {
            self.passwords.by_address.give_back(&network);
        }
    }
}

impl Drop for PasswordAttempt<'_> {
    fn drop(&mut self) {
        if let Some(network) = self.network.filter(|_| self.has_failed) {
            self.passwords.suspects.insert(network, ());
        }
    }
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            key: rand::random(),
            names: RandomState::new(),
            callers: Cache::builder().max_capacity(10_000).time_to_live(KNOWN_FOR).build(),
            right: Cache::builder().max_capacity(10_000).time_to_idle(REMEMBERED).build(),
            by_name: Throttle::new(BY_NAME.0, BY_NAME.1),
            by_address: Throttle::new(BY_ADDRESS.0, BY_ADDRESS.1),
            for_nobody: Throttle::new(FOR_NOBODY.0, FOR_NOBODY.1),
            suspects: Cache::builder().max_capacity(10_000).time_to_live(SUSPECT).build(),
            hashes: Arc::new(Semaphore::new(HASHES)),
            line: Mutex::default(),
            nobody: LazyLock::new(|| hash_password(&new_secret()).unwrap_or_default()),
        }
    }

    /// Who has this user name and password, asked from `network`; none when nobody has.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] when too many passwords were wrong or wait to be verified, [`AuthError::Store`] when the row
    /// of the account cannot be read.
    pub(super) async fn caller(
        &self,
        store: &Store,
        username: String,
        password: String,
        network: Option<IpAddr>,
    ) -> Result<Option<Caller>, AuthError> {
        let fingerprint = self.fingerprint(&username, &password);
        if let Some(caller) = self.callers.get(&fingerprint) {
            return Ok(Some(caller));
        }
        let account = store.account(&username).await?;
        let verified = self.right.get(&fingerprint);
        if let (Some(account), Some(verified)) = (&account, verified)
            && *account.password_hash == *verified
        {
            return Ok(Some(self.remember(fingerprint, &username, account)));
        }
        let mut attempt = PasswordAttempt {
            passwords: self,
            name: self.names.hash_one(&username),
            network,
            has_failed: false,
        };
        let check = match self.under_way(&fingerprint) {
            Some(check) => check,
            None => {
                attempt.begin()?;
                // That nobody has a user name shall not be told from another password.
                let hash = account.as_ref().map_or(&*self.nobody, |account| &account.password_hash).clone();
                if account.is_none() && self.for_nobody.take((), Instant::now()).is_err() {
                    attempt.has_failed = true;
                    tokio::time::sleep(ABOUT_A_HASH).await;
                    return Ok(None);
                }
                self.in_line(fingerprint, password, hash).ok_or(AuthError::TooMany(Duration::ZERO))?
            }
        };
        // A caller that does not wait for the check has failed too.
        attempt.has_failed = true;
        let check = check.await;
        attempt.has_failed = check == Some(false);
        let is_right = check.ok_or(AuthError::Unverified)?;
        let Some(account) = account.filter(|_| is_right) else { return Ok(None) };
        attempt.succeeded();
        self.right.insert(fingerprint, account.password_hash.as_str().into());
        Ok(Some(self.remember(fingerprint, &username, &account)))
    }

    /// Whether this is the password of a hash; without a hash it is not, and that takes as long. How often may be asked is
    /// for the caller to say.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] when too many passwords wait to be verified.
    pub(super) async fn is_right(
        &self,
        whose: &str,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, AuthError> {
        let has_one = hash.is_some();
        let fingerprint = self.fingerprint(whose, &password);
        let check = match self.under_way(&fingerprint) {
            Some(check) => check,
            None => {
                let hash = hash.unwrap_or_else(|| self.nobody.clone());
                self.in_line(fingerprint, password, hash).ok_or(AuthError::TooMany(Duration::ZERO))?
            }
        };
        Ok(check.await.ok_or(AuthError::Unverified)? && has_one)
    }

    fn fingerprint(&self, username: &str, password: &str) -> Fingerprint {
        let mut mac = keyed_hash(&self.key);
        mac.update(&(username.len() as u64).to_be_bytes());
        mac.update(username.as_bytes());
        mac.update(password.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn remember(&self, fingerprint: Fingerprint, username: &str, account: &Account) -> Caller {
        let actor = Actor::Account(username.into());
        let caller = Caller::new(account.merchant.clone(), actor, Abilities::All);
        self.callers.insert(fingerprint, caller.clone());
        caller
    }

    /// The check of a password that is being hashed already, for whoever asks for the same.
    fn under_way(&self, fingerprint: &Fingerprint) -> Option<Shared<PasswordCheck>> {
        self.line().get(fingerprint).and_then(WeakShared::upgrade)
    }

    fn line(&self) -> MutexGuard<'_, HashMap<Fingerprint, WeakShared<PasswordCheck>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the line; none when it is full.
    fn in_line(
        &self,
        fingerprint: Fingerprint,
        password: String,
        hash: String,
    ) -> Option<Shared<PasswordCheck>> {
        let mut line = self.line();
        if line.len() >= LINE {
            line.retain(|_, place| place.upgrade().is_some_and(|place| place.peek().is_none()));
            if line.len() >= LINE {
                return None;
            }
        }
        let hashes = Arc::clone(&self.hashes);
        let check = async move {
            let permit = hashes.acquire_owned().await.ok()?;
            // The hash goes on when nobody waits for it any more, and holds its permit until its end.
            let verify = move || {
                let _permit = permit;
                verify(&password, &hash)
            };
            tokio::task::spawn_blocking(verify).await.ok()
        };
        let shared = check.boxed().shared();
        line.insert(fingerprint, shared.downgrade()?);
        Some(shared)
    }
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashes a password with Argon2id (RFC 9106), as a PHC string.
///
/// # Errors
/// When the system has no randomness.
pub fn hash_password(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow::anyhow!("a password could not be hashed: {error}"))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let hash = hash_password("tea").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify("tea", &hash) && !verify("Tea", &hash) && !verify("tea", "nonsense"));
    }

    #[test]
    fn a_hash_that_nobody_waits_for_still_counts_as_under_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            drop(tokio::task::spawn_blocking(move || ended.recv())); // no hash begins meanwhile
            let passwords = Passwords::new();
            for number in 0..10 {
                let check =
                    passwords.in_line([number; 32], "tea".to_owned(), passwords.nobody.clone()).unwrap();
                assert!(check.now_or_never().is_none());
            }
            assert_eq!(passwords.hashes.available_permits(), 0, "the callers have gone, the hashes have not");
            drop(end);
            let check = passwords.in_line([11; 32], "tea".to_owned(), passwords.nobody.clone()).unwrap();
            assert_eq!(check.await, Some(false));
        });
    }

    #[test]
    fn a_caller_that_hangs_up_has_failed_and_this_machine_has_not() {
        let passwords = &Passwords::new();
        let stranger: IpAddr = "2001:db8::".parse().unwrap();
        for (network, is_suspect) in [(None, false), (Some(stranger), true)] {
            drop(PasswordAttempt { passwords, name: 1, network, has_failed: true });
            assert_eq!(passwords.suspects.contains_key(&stranger), is_suspect);
        }
        let attempts = |network| {
            let attempt = PasswordAttempt { passwords, name: 2, network, has_failed: false };
            (0..20).filter(|_| attempt.begin().is_err()).count()
        };
        assert_eq!((attempts(None), attempts(Some(stranger)) > 0), (0, true));
    }
}
