//! The keys of an installation: which of them sign for which sender.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    iter,
    sync::Arc,
};

use super::{
    key_file,
    private_key::PrivateKey,
    settings::{DkimSettings, KeyError, KeyFault, check_name},
    signer::Signer,
};

/// The keys of all domains.
#[derive(Debug, Default)]
pub struct Keyring {
    signers: HashMap<String, Arc<Signer>>,
}

impl Keyring {
    /// Reads the keys that the settings name.
    ///
    /// # Errors
    /// Every fault of the settings and of the files.
    pub fn load(settings: &[DkimSettings]) -> Result<Self, Vec<KeyFault>> {
        let mut keys: BTreeMap<String, Vec<(String, PrivateKey)>> = BTreeMap::new();
        let (mut known, mut faults) = (HashSet::new(), Vec::new());
        for (index, key) in settings.iter().enumerate() {
            let mut note = |field, error| faults.push(KeyFault { index, field, error });
            let name = check_name(&key.domain, &key.selector);
            let read = key_file::read(&key.path());
            match (name, read) {
                (Ok((domain, selector)), read) => {
                    if !known.insert((domain.clone(), selector.clone())) {
                        note(
                            "selector",
                            KeyError::Twice { domain: domain.clone(), selector: selector.clone() },
                        );
                    }
                    match read {
                        Ok(key) => keys.entry(domain).or_default().push((selector, key)),
                        Err(error) => note("key_file", error),
                    }
                }
                (Err(wrong), read) => {
                    wrong.into_iter().for_each(|(field, error)| note(field, error));
                    if let Err(error) = read {
                        note("key_file", error);
                    }
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let signers =
            keys.into_iter().map(|(domain, keys)| (domain.clone(), Arc::new(Signer::new(domain, keys))));
        Ok(Self { signers: signers.collect() })
    }

    /// Who signs for a sender at this domain, in the form of [`Address::domain`](crate::mail::Address::domain): the
    /// domain itself or the nearest one above it that has keys.
    pub fn signer_for(&self, domain: &str) -> Option<&Arc<Signer>> {
        if self.signers.is_empty() {
            return None;
        }
        let mut domains =
            iter::successors(Some(domain), |domain| domain.split_once('.').map(|(_, above)| above));
        domains.find_map(|domain| self.signers.get(domain))
    }
}
