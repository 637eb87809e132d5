//! Signs mails with DKIM, on threads of its own.
//!
//! The job that sends a mail asks for each one. A signature takes about a millisecond of a core, and nothing that answers
//! requests, delivers or writes heartbeats waits for that. These threads do nothing else, so that a merchant's hostile
//! template delays no signature; merchants take turns. A mail of a domain without a key goes on at once.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    clock,
    cpu_pool::{Busy, CpuPool, Share},
    dkim::{Keyring, NoSignature},
    mail::{Address, MerchantId, Message},
};

/// The keys in use, and the threads.
pub struct Signing {
    keys: RwLock<Arc<Keyring>>,
    cpu: CpuPool,
}

/// Why a mail is not signed. It must not go without.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The threads have ended.
    #[error(transparent)]
    Over(#[from] Busy),
    /// The key does not sign.
    #[error(transparent)]
    NoSignature(#[from] NoSignature),
}

impl Signing {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(keys: Keyring) -> io::Result<Self> {
        Ok(Self { keys: RwLock::new(Arc::new(keys)), cpu: CpuPool::start()? })
    }

    /// Signs with these keys from now on. Mails that are being signed keep theirs.
    pub fn replace_keys(&self, keys: Keyring) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// The message with the signatures of its sender's domain, where that has keys. As many wait for a thread as mails are
    /// under way.
    ///
    /// # Errors
    /// When a key does not sign.
    pub async fn signed(
        &self,
        merchant: &MerchantId,
        sender: &Address,
        message: Message,
    ) -> Result<Message, SigningError> {
        let signer = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.signer_for(sender.domain()).cloned()
        };
        let Some(signer) = signer else { return Ok(message) };
        let signed_at = clock::now();
        let share = Share::Signature(merchant.clone());
        // What is signed is what the receiver gets, whose server makes doubled dots single.
        let sign = move || signer.sign(&message.unstuffed(), signed_at).map(Message::new);
        Ok(self.cpu.run(share, sign).await??)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::dkim::{Algorithm, DkimSettings, generate};

    /// Keys for one domain.
    fn keyring(domain: &str) -> (Keyring, tempfile::TempDir) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key.pem");
        std::fs::write(&key_file, generate(Algorithm::Ed25519).unwrap()).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let settings = DkimSettings { domain: domain.to_owned(), selector: "s".to_owned(), key_file };
        (Keyring::load(&[settings]).unwrap(), folder)
    }

    const MESSAGE: &[u8] = b"From: ann@example.net\r\n\r\n.Hello\r\n";

    async fn has_signature(signing: &Signing, sender: &str) -> bool {
        let (merchant, sender) = ("tea".parse().unwrap(), sender.parse().unwrap());
        let message = Message::new(MESSAGE.to_vec());
        let signed = signing.signed(&merchant, &sender, message).await.unwrap();
        assert!(signed.unstuffed().ends_with(MESSAGE));
        assert!(signed.wire().ends_with(b"\r\n\r\n..Hello\r\n.\r\n"));
        signed.wire().starts_with(b"DKIM-Signature: ")
    }

    #[tokio::test]
    async fn mails_are_signed_with_the_keys_of_the_moment() {
        let signing = Signing::start(Keyring::default()).unwrap();
        assert!(!has_signature(&signing, "ann@example.net").await);
        let (keys, _folder) = keyring("example.net");
        signing.replace_keys(keys);
        assert!(has_signature(&signing, "ann@example.net").await);
        assert!(has_signature(&signing, "ann@mail.example.net").await);
        assert!(!has_signature(&signing, "ann@example.com").await);
        signing.replace_keys(Keyring::default());
        assert!(!has_signature(&signing, "ann@example.net").await);
    }

    #[tokio::test]
    async fn as_many_mails_of_one_merchant_are_signed_as_are_under_way() {
        let (keys, _folder) = keyring("example.net");
        let signing = Signing::start(keys).unwrap();
        let many = (0..2_000).map(|_| has_signature(&signing, "ann@example.net"));
        assert!(join_all(many).await.into_iter().all(|is_signed| is_signed));
    }

    #[test]
    fn keys_in_a_log_show_no_secret() {
        let (keys, _folder) = keyring("example.net");
        let shown = format!("{keys:?}");
        assert!(shown.contains("PrivateKey(ed25519)") && shown.len() < 200, "{shown}");
    }
}
