//! What the RFCs give as examples.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};

use super::{
    super::canonical,
    ed25519,
    receiver::{is_good, signatures, signed_bytes, tags},
};

/// RFC 8463, appendix A.3.
const SIGNED: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";
/// RFC 8463, appendix A.2.
const ED25519_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR\
    iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
    DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3\
    Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

#[test]
fn the_relaxed_forms_are_those_of_rfc_6376() {
    // Section 3.4.5, first example.
    let mut fields = Vec::new();
    for (name, value) in [("A", " X"), ("B", " Y\t\r\n\tZ  ")] {
        canonical::append_field(name, value.as_bytes(), &mut fields);
        fields.extend_from_slice(b"\r\n");
    }
    assert_eq!(String::from_utf8(fields).unwrap(), "a:X\r\nb:Y Z\r\n");
    let relaxed = |body: &str| String::from_utf8(canonical::body(body.as_bytes())).unwrap();
    assert_eq!(relaxed(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
    // Section 3.4.4: a body without an end gets one, an empty one stays empty.
    for (body, form) in [
        ("", ""),
        ("\r\n \r\n\t\r\n", ""),
        ("a", "a\r\n"),
        ("a\r\n\r\n \r\nb  \t", "a\r\n\r\n\r\nb\r\n"),
        ("\ta\t\tb c  d", " a b c d\r\n"),
        // As they are sent.
        ("a\nb\rc\r\n\nd", "a\r\nb\r\nc\r\n\r\nd\r\n"),
    ] {
        assert_eq!(relaxed(body), form, "{body:?}");
    }
    let hash = BASE64_STANDARD.encode(digest(&SHA256, &canonical::body(b"\r\n")));
    assert_eq!(hash, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn the_message_of_rfc_8463_has_the_body_hash_and_the_signature_that_it_says() {
    let message = SIGNED.replace('\n', "\r\n");
    let (_, body) = message.split_once("\r\n\r\n").unwrap();
    let both = signatures(message.as_bytes());
    let tags = tags(&both[0]);
    assert_eq!(tags["bh"], BASE64_STANDARD.encode(digest(&SHA256, &canonical::body(body.as_bytes()))));

    let key = ed25519();
    assert_eq!(key.public_key(), ED25519_KEY);
    let mut fields = Vec::new();
    for line in message.lines().skip_while(|line| !line.starts_with("From:")).take(5) {
        let (name, value) = line.split_once(':').unwrap();
        canonical::append_field(name, value.as_bytes(), &mut fields);
        fields.extend_from_slice(b"\r\n");
    }
    let value = both[0].split_once(':').unwrap().1;
    let unsigned = &value[..value.rfind("b=").unwrap() + 2];
    canonical::append_field("DKIM-Signature", unsigned.as_bytes(), &mut fields);
    assert_eq!(fields, signed_bytes(message.as_bytes(), &both[0]));
    assert_eq!(BASE64_STANDARD.encode(key.sign(&fields).unwrap()), tags["b"]);
}

#[test]
fn the_tests_receiver_finds_both_signatures_of_rfc_8463_good() {
    let message = SIGNED.replace('\n', "\r\n");
    let both = signatures(message.as_bytes());
    for (signature, key) in both.iter().zip([ED25519_KEY, RSA_KEY]) {
        assert!(is_good(message.as_bytes(), signature, key), "{signature}");
        let changed = message.replace("dinner", "lunch");
        assert!(!is_good(changed.as_bytes(), signature, key));
    }
}
