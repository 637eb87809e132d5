//! Which addresses and URLs callbacks may go to: the public Internet, and what the operator opens.
//!
//! A merchant chooses the URL, so without this a callback would be a way into the operator's network. URLs are judged
//! when they are given and again before each POST; names when they are resolved for a connection (`client/`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// The longest URL, in bytes.
const LONGEST_URL: usize = 2_048;

/// Judges addresses and URLs.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// Why callbacks may not go to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is no URL.
    #[error("must be a URL with a host, as in https://shop.example/hooks")]
    Shape,
    /// It is longer than 2,048 bytes.
    #[error("must have at most 2048 bytes")]
    TooLong,
    /// It is neither http nor https.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// It has a user name or a password.
    #[error("must not contain a user name or a password")]
    Credentials,
    /// It names an address that callbacks must not reach.
    #[error("must not point to a private, local or otherwise special address")]
    Address,
}

impl AddressPolicy {
    /// A policy that opens `allowed` beside the public Internet.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a connection to `address` may be opened.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        !is_special(address) || self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Judges a URL; a host that is a name is judged when it is resolved.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge_url(&self, text: &str) -> Result<Url, UrlFault> {
        if text.len() > LONGEST_URL {
            return Err(UrlFault::TooLong);
        }
        // The URL standard would strip these; nobody who means well writes them.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(UrlFault::Shape);
        }
        let url = Url::parse(text).map_err(|_| UrlFault::Shape)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlFault::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlFault::Credentials);
        }
        let literal = match url.host().ok_or(UrlFault::Shape)? {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(name) => name.trim_end_matches('.').parse().ok(),
        };
        match literal {
            Some(address) if !self.allows(address) => Err(UrlFault::Address),
            _ => Ok(url),
        }
    }
}

/// Whether an address is anything but one of a host on the public Internet.
fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => is_special_v6(address),
    }
}

/// The IPv4 Special-Purpose Address Registry (RFC 6890 and what it refers to), multicast, and what clouds add.
const SPECIAL_V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),        // this network
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carrier-grade NAT (RFC 6598)
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // a public number that Azure answers inside its machines
    ([169, 254, 0, 0], 16),   // link-local, and most clouds' metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // IETF protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 31, 196, 0], 24),  // AS112
    ([192, 88, 99, 0], 24),   // 6to4 relays (RFC 7526)
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarking (RFC 2544)
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, and the broadcast address
];

fn is_special_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    SPECIAL_V4.iter().any(|&(network, length)| (bits ^ u32::from_be_bytes(network)) >> (32 - length) == 0)
}

/// Everything is special but global unicast (2000::/3) without its special parts, and NAT64 to a public IPv4 address:
/// on a network that has only IPv6, the whole IPv4 Internet is behind that prefix.
fn is_special_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let is_in = |network: u128, length: u32| (bits ^ network) >> (128 - length) == 0;
    let embedded = |shift: u32| Ipv4Addr::from_bits((bits >> shift) as u32);
    if is_in(0x0064_ff9b << 96, 96) {
        return is_special_v4(embedded(0)); // NAT64 (RFC 6052)
    }
    if is_in(0x2002 << 112, 16) {
        return is_special_v4(embedded(80)); // 6to4 (RFC 3056)
    }
    if is_in(0x2001_0000 << 96, 32) {
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        let client = Ipv4Addr::from_bits(!(bits as u32));
        return is_special_v4(embedded(64)) || is_special_v4(client);
    }
    let is_unicast = is_in(0x2000 << 112, 3);
    let is_protocol = is_in(0x2001_0000 << 96, 23); // IETF protocol assignments, benchmarking, ORCHID
    let is_documentation = is_in(0x2001_0db8 << 96, 32) || is_in(0x3fff << 112, 20);
    let is_as112 = is_in(0x2620_004f_8000 << 80, 48);
    !is_unicast || is_protocol || is_documentation || is_as112
}

#[cfg(test)]
mod tests;
