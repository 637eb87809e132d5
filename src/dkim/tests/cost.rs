//! What a signature costs beside the crypto library's own work.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ring::digest::{SHA256, digest};

use super::{
    super::{canonical, *},
    SIGNED_AT, ed25519,
    receiver::{signatures, signed_bytes},
    rsa,
};

/// The shortest of many times: what else the machine does only adds to it.
fn shortest(what: &mut dyn FnMut()) -> Duration {
    let begun = Instant::now();
    what();
    begun.elapsed()
}

/// A mail of 8 KB with indented HTML.
fn message() -> Vec<u8> {
    let line = "    <td style=\"padding: 4px\">A cup of tea, and some biscuits</td>\r\n";
    let head = "From: Ann <ann@example.net>\r\nTo: bob@example.com\r\nSubject: Tea\r\nDate: x\r\n\
        Message-ID: <1@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n";
    format!("{head}{}", line.repeat(8_192 / line.len())).into_bytes()
}

#[test]
fn signing_costs_little_more_than_the_crypto_librarys_own_signing() {
    let message = message();
    // Without --release what is ours is not optimised: then only RSA, which costs the library most, says something.
    let [of_rsa, of_ed25519] = if cfg!(debug_assertions) { [3.0, f64::INFINITY] } else { [1.2, 1.2] };
    for (key, bound) in [(rsa(), of_rsa), (ed25519(), of_ed25519)] {
        let algorithm = key.algorithm();
        let signer = Signer::new("example.net".to_owned(), vec![("s".to_owned(), key)]);
        let signed = signer.sign(&message, SIGNED_AT).unwrap();
        let key = if algorithm == Algorithm::Rsa { rsa() } else { ed25519() };
        let fields = signed_bytes(&signed, &signatures(&signed)[0]);
        let body_at = message.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let body = canonical::body(&message[body_at..]);
        let (mut ours, mut theirs, mut bare) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..100 {
            ours = ours.min(shortest(&mut || drop(black_box(signer.sign(&message, SIGNED_AT)))));
            bare = bare.min(shortest(&mut || drop(black_box(key.sign(&fields)))));
            theirs = theirs.min(shortest(&mut || {
                black_box(digest(&SHA256, &body));
                drop(black_box(key.sign(&fields)));
            }));
        }
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        println!(
            "{algorithm}: {ours:?} for a mail, {theirs:?} in the library ({bare:?} without the body): {ratio:.2}"
        );
        assert!(ratio < bound, "{algorithm}: {ours:?} against {theirs:?}");
    }
}
