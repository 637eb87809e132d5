//! Recovery links that carry a discount, signed so that a shopper cannot raise it. Pure.
//!
//! `docs/recovery-link.md` tells shops how to check them; a test holds that page to this file.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::Mac;
use url::Url;

use super::reminder::Discount;
use crate::{keyed_hash::keyed_hash, mail::Timestamp};

/// How long a shop shall grant the discount.
pub const OFFER_LASTS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const PARAMETERS: [&str; 3] = ["discount", "expires", "signature"];

/// Adds a discount to the recovery link of a cart: `discount`, `expires` in Unix seconds, and the `signature` over both
/// and the cart's id under the merchant's secret. Parameters of these names that the link already has are taken out.
pub fn with_discount(link: &Url, cart: &str, discount: &Discount, expires: Timestamp, secret: &str) -> Url {
    let discount = discount.as_str();
    let expires = expires.millis().div_euclid(1000);
    let signature = sign(cart, discount, expires, secret);
    let mut signed = link.clone();
    let others =
        link.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !is_ours(pair));
    let ours =
        [format!("discount={discount}"), format!("expires={expires}"), format!("signature={signature}")];
    // The shop's own parameters stay byte for byte: it may have signed them too.
    let query: Vec<_> = others.chain(ours.iter().map(String::as_str)).collect();
    signed.set_query(Some(&query.join("&")));
    signed
}

fn is_ours(pair: &str) -> bool {
    url::form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| PARAMETERS.contains(&name.as_ref()))
}

/// A line end separates the parts: a dot or a comma could stand in them, so that one signature would fit two offers.
fn sign(cart: &str, discount: &str, expires: i64, secret: &str) -> String {
    let mut mac = keyed_hash(secret.as_bytes());
    mac.update(format!("postroom-recovery-v1\n{cart}\n{discount}\n{expires}").as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_c2hhbGwtbm90LWJlLXVzZWQtYnktYW55LXNob3A";

    fn signed(link: &str, discount: &str) -> String {
        let discount = Discount::new(&discount.parse().unwrap()).unwrap();
        let expires = Timestamp::parse("2026-12-31T23:00:00Z").unwrap();
        with_discount(&link.parse().unwrap(), "cart-17", &discount, expires, SECRET).into()
    }

    #[test]
    fn the_page_for_shops_shows_this_very_link() {
        let page = include_str!("../../docs/recovery-link.md");
        let link = signed("https://shop.example/recover/17?lang=en", "15");
        assert!(page.contains(&link), "docs/recovery-link.md does not show {link}");
        assert!(page.contains(SECRET));
    }

    #[test]
    fn a_links_own_parameters_and_fragment_stay_as_they_are() {
        let link = signed("https://shop.example/r?a=b%20c&q=%2B&x#top", "15.5");
        assert!(link.starts_with(
            "https://shop.example/r?a=b%20c&q=%2B&x&discount=15.5&expires=1798758000&signature="
        ));
        assert!(link.ends_with("#top"));
    }

    #[test]
    fn an_offer_that_the_link_already_has_is_taken_out() {
        let plain = signed("https://shop.example/r?a=1", "15");
        assert_eq!(
            signed("https://shop.example/r?discount=90&a=1&d%69scount=80&signature=x&expires=9", "15"),
            plain
        );
    }

    #[test]
    fn every_part_changes_the_signature() {
        let one = sign("cart", "15", 1, "key");
        assert_eq!(one.len(), 43);
        for other in [
            sign("cart2", "15", 1, "key"),
            sign("cart", "16", 1, "key"),
            sign("cart", "15", 2, "key"),
            sign("cart", "15", 1, "key2"),
            sign("cart.1", "5", 1, "key"),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(sign("a", "1.5", 1, "key"), sign("a.1", "5", 1, "key"));
    }
}
