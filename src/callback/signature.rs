//! Standard Webhooks signatures, version `v1`: HMAC-SHA256 over id, timestamp and body.
//!
//! A secret is written `whsec_` and the standard base64 of 24 to 64 bytes, as the receivers' libraries want it.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::Mac;

use crate::{
    keyed_hash::{KeyedHash, keyed_hash},
    mail::Timestamp,
};

/// How far a signature's timestamp may be from now, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

const PREFIX: &str = "whsec_";
/// The most signatures that are looked at in one header.
const MOST_SIGNATURES: usize = 20;

/// The characters of 32 bytes in base64.
const SIGNATURE_LENGTH: usize = 44;

/// What signs callbacks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Makes a fresh one of 256 random bits.
    pub fn generate() -> Self {
        Self(rand::random::<[u8; 32]>().to_vec())
    }

    /// Reads `whsec_<base64>`; `None` when it is not that, or not of 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    /// The text that is stored, and shown to its merchant once.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    fn mac(&self, id: &str, seconds: i64, body: &[u8]) -> KeyedHash {
        let mut mac = keyed_hash(&self.0);
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The three headers of a signed callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`: the same on every attempt, so that a receiver can tell a repetition.
    pub id: String,
    /// `webhook-timestamp`: when this attempt was made, in seconds.
    pub timestamp: String,
    /// `webhook-signature`: one for each secret, separated by spaces.
    pub signature: String,
}

impl Signed {
    /// Those of a request, of which `header` gives each by its name; what is not there is empty, and signs nothing.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let header = |name| header(name).unwrap_or_default().to_owned();
        Self {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        }
    }

    /// Signs `body` with every secret.
    pub fn new(id: String, at: Timestamp, body: &[u8], secrets: &[Secret]) -> Self {
        let seconds = at.millis().div_euclid(1_000);
        let one = |secret: &Secret| {
            let mac = secret.mac(&id, seconds, body).finalize().into_bytes();
            format!("v1,{}", BASE64_STANDARD.encode(mac))
        };
        let signature = secrets.iter().map(one).collect::<Vec<_>>().join(" ");
        Self { id, timestamp: seconds.to_string(), signature }
    }
}

/// Whether one of the signatures was made with one of the secrets, not too long ago. Takes the same time for every
/// wrong signature.
pub fn verify(signed: &Signed, body: &[u8], secrets: &[Secret], now: Timestamp) -> bool {
    let Ok(seconds) = signed.timestamp.parse::<i64>() else { return false };
    let Some(at) = seconds.checked_mul(1_000).map(Timestamp) else { return false };
    // The canonical spelling is what was signed: `+5` and `05` are not.
    if at.since(now).max(now.since(at)) > TOLERANCE || signed.timestamp != seconds.to_string() {
        return false;
    }
    let given = signed.signature.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(MOST_SIGNATURES);
    let given: Vec<[u8; 32]> = given
        .filter(|text| text.len() == SIGNATURE_LENGTH)
        .filter_map(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok())
        .collect();
    if given.is_empty() {
        return false;
    }
    let mut is_right = false;
    for secret in secrets {
        let mac = secret.mac(&signed.id, seconds, body); // the body is hashed once for each secret
        for given in &given {
            is_right |= mac.clone().verify_slice(given).is_ok();
        }
    }
    is_right
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_614_265_330_000);

    /// The example of the Standard Webhooks specification's reference libraries.
    fn example() -> (Secret, Signed) {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed =
            Signed::new("msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(), NOW, body, std::slice::from_ref(&secret));
        (secret, signed)
    }

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        assert_eq!(example().1.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_holds_for_its_own_id_time_body_and_secret_only() {
        let (secret, signed) = example();
        let body = br#"{"test": 2432232314}"#;
        let holds = |signed: &Signed, body: &[u8], secret: &Secret, now| {
            verify(signed, body, std::slice::from_ref(secret), now)
        };
        assert!(holds(&signed, body, &secret, NOW));
        assert!(
            holds(&signed, body, &secret, NOW + TOLERANCE) && holds(&signed, body, &secret, NOW - TOLERANCE)
        );
        assert!(!holds(&signed, body, &secret, NOW + TOLERANCE + Duration::from_secs(1)));
        assert!(!holds(&signed, body, &secret, NOW - TOLERANCE - Duration::from_secs(1)));
        assert!(!holds(&signed, b"{}", &secret, NOW));
        assert!(!holds(&signed, body, &Secret::generate(), NOW));
        for (id, timestamp, signature) in [
            ("msg_other", "1614265330", signed.signature.as_str()),
            (signed.id.as_str(), "1614265331", signed.signature.as_str()),
            (signed.id.as_str(), "+1614265330", signed.signature.as_str()),
            (signed.id.as_str(), "soon", signed.signature.as_str()),
            (signed.id.as_str(), "99999999999999999999", signed.signature.as_str()),
            (signed.id.as_str(), "1614265330", ""),
            (signed.id.as_str(), "1614265330", "v1,"),
            (signed.id.as_str(), "1614265330", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            (signed.id.as_str(), "1614265330", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ] {
            let forged = Signed { id: id.into(), timestamp: timestamp.into(), signature: signature.into() };
            assert!(!holds(&forged, body, &secret, NOW), "{forged:?}");
        }
    }

    #[test]
    fn while_secrets_overlap_either_of_them_is_enough() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let signed = Signed::new("1".to_owned(), NOW, b"x", &[new.clone(), old.clone()]);
        assert_eq!(signed.signature.split(' ').count(), 2);
        for secret in [old, new] {
            assert!(verify(&signed, b"x", &[secret], NOW));
        }
    }

    #[test]
    fn a_secret_is_standard_base64_of_24_to_64_bytes_and_reads_back() {
        let secret = Secret::generate();
        assert_eq!(Secret::parse(&secret.expose()), Some(secret.clone()));
        assert!(!format!("{secret:?}").contains(&secret.expose()[6..]));
        let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![0xff; bytes]));
        assert!(Secret::parse(&of(24)).is_some() && Secret::parse(&of(64)).is_some());
        for wrong in [of(23), of(65), of(24).replace('/', "_"), of(32)[6..].to_owned(), "whsec_".to_owned()] {
            assert_eq!(Secret::parse(&wrong), None, "{wrong}");
        }
    }
}
