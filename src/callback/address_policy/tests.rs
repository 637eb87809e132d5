//! The addresses that must not be reached, in every spelling.

use super::{AddressPolicy, UrlFault};

/// Each with why it is special.
const FORBIDDEN: &[(&str, &str)] = &[
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "this network"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "a cloud's host"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "a cloud's metadata"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.8", "protocol assignments"),
    ("192.0.0.192", "a cloud's metadata"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.7", "documentation"),
    ("203.0.113.9", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::8.8.8.8", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "IPv4-mapped loopback"),
    ("::ffff:10.0.0.1", "IPv4-mapped private"),
    ("::ffff:a9fe:a9fe", "IPv4-mapped metadata"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("64:ff9b::127.0.0.1", "NAT64 to loopback"),
    ("64:ff9b::a9fe:a9fe", "NAT64 to metadata"),
    ("64:ff9b:1::8.8.8.8", "local NAT64"),
    ("100::1", "discard"),
    ("2001::1", "Teredo by a server that is none"),
    ("2001:0:5ef5:79fb:0:59ff:80ff:fffe", "Teredo to loopback"),
    ("2001:2::1", "benchmarking"),
    ("2001:10::1", "ORCHID"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::1", "6to4 to loopback"),
    ("2002:a00:1::", "6to4 to private"),
    ("3fff::1", "documentation"),
    ("5f00::1", "segment routing"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "a cloud's metadata"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("ff0e::1", "multicast"),
];

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:4860:4860::8888",
    "2002:808:808::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
];

#[test]
fn special_addresses_are_refused_and_their_neighbours_are_not() {
    let policy = AddressPolicy::default();
    for (address, why) in FORBIDDEN {
        assert!(!policy.allows(address.parse().unwrap()), "{address}: {why}");
    }
    for address in PUBLIC {
        assert!(policy.allows(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn an_address_is_refused_in_every_spelling_of_a_url() {
    let policy = AddressPolicy::default();
    for url in [
        "http://127.0.0.1/",
        "https://127.0.0.1:8443/hook",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0177.0.0.01/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http:\\\\127.0.0.1\\",
        "http:127.0.0.1",
        "http:////127.0.0.1/",
        "HTTP://127.0.0.1/",
        "http://@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]:80/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
    ] {
        assert_eq!(policy.judge_url(url).map(|url| url.to_string()), Err(UrlFault::Address), "{url}");
    }
}

#[test]
fn a_url_that_is_not_a_plain_web_address_is_refused_with_its_reason() {
    use UrlFault::{Credentials, Scheme, Shape, TooLong};
    let policy = AddressPolicy::default();
    for (url, fault) in [
        ("", Shape),
        ("shop.example/hook", Shape),
        ("https://", Shape),
        ("https:///", Shape),
        ("http://[fe80::1%25eth0]/", Shape),
        ("http://[::1", Shape),
        ("http://256.256.256.256/", Shape),
        ("http://127.0.0.1\t/", Shape),
        (" https://shop.example/", Shape),
        ("https://shop.example/\r\nx: y", Shape),
        ("ftp://shop.example/", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://shop.example/", Scheme),
        ("javascript:alert(1)", Scheme),
        ("unix:/run/x.sock", Scheme),
        ("https://ann@shop.example/", Credentials),
        ("https://ann:tea@shop.example/", Credentials),
        ("https://:tea@shop.example/", Credentials),
        ("http://shop.example@127.0.0.1/", Credentials),
        ("http://127.0.0.1@shop.example/", Credentials),
        ("http://127.0.0.1:80@shop.example/", Credentials),
    ] {
        assert_eq!(policy.judge_url(url).map(|url| url.to_string()), Err(fault), "{url:?}");
    }
    let long = format!("https://shop.example/{}", "x".repeat(2_048));
    assert_eq!(policy.judge_url(&long).map(|url| url.to_string()), Err(TooLong));
}

#[test]
fn names_are_left_to_the_connection() {
    let policy = AddressPolicy::default();
    for url in [
        "https://shop.example/hooks?a=1",
        "http://shop.example:8080",
        "https://localhost/",
        "https://bücher.example/",
        "http://shop.example/#@127.0.0.1/",
        "http://shop.example/?http://127.0.0.1/",
        "http://127.0.0.1.nip.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
    ] {
        assert!(policy.judge_url(url).is_ok(), "{url}");
    }
}

#[test]
fn allowed_networks_are_opened_and_nothing_beside_them() {
    let policy = AddressPolicy::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
    for open in ["10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "8.8.8.8"] {
        assert!(policy.allows(open.parse().unwrap()), "{open}");
    }
    for shut in ["10.2.0.1", "fd00:2::5", "127.0.0.1", "64:ff9b::10.1.2.3", "2002:a01:203::1"] {
        assert!(!policy.allows(shut.parse().unwrap()), "{shut}");
    }
    assert!(policy.judge_url("http://10.1.2.3/").is_ok());
}
