//! Coupons and store cards of the mailing family, and the passes that members get of them. Pure.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SingleLine;
use crate::{keyed_hash::keyed_hash, mail::Timestamp};

/// A coupon or a store card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// The brand it belongs to.
    #[schema(value_type = String)]
    pub brand_id: SingleLine,
    /// What members know it by.
    #[schema(value_type = String)]
    pub title: SingleLine,
    /// What is typed in at the checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<SingleLine>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// The path of a pass, below `http.public_url`.
pub fn path_of(id: &str) -> String {
    format!("passes/{id}")
}

/// What a pass is of: a coupon, a store card or both, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassSubject {
    /// The merchant's id of the coupon.
    pub coupon: Option<String>,
    /// The merchant's id of the store card.
    pub storecard: Option<String>,
    /// The merchant's id of the member.
    pub member: String,
}

impl PassSubject {
    /// The id of the pass: the same whenever the same is asked for, and only who has the merchant's secret can guess it.
    pub fn secret_id(&self, secret: &str) -> String {
        let mut mac = keyed_hash(secret.as_bytes());
        mac.update(b"postroom-pass-v1");
        for part in [self.coupon.as_deref(), self.storecard.as_deref(), Some(&*self.member)] {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            mac.update(&length.to_be_bytes());
            mac.update(part.unwrap_or_default().as_bytes());
        }
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(coupon: Option<&str>, storecard: Option<&str>, member: &str, secret: &str) -> String {
        let [coupon, storecard] = [coupon, storecard].map(|id| id.map(str::to_owned));
        PassSubject { coupon, storecard, member: member.to_owned() }.secret_id(secret)
    }

    #[test]
    fn a_pass_has_one_id_and_no_other_pass_has_it() {
        let one = id(Some("a"), None, "m", "key");
        assert_eq!(one, id(Some("a"), None, "m", "key"));
        assert_eq!(one.len(), 43);
        for other in [
            id(None, Some("a"), "m", "key"),
            id(Some("a"), Some(""), "m", "key"),
            id(Some("am"), None, "", "key"),
            id(Some("a"), None, "n", "key"),
            id(Some("a"), None, "m", "other key"),
        ] {
            assert_ne!(one, other);
        }
    }
}
