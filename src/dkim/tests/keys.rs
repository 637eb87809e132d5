//! Keys, their files, and what can be wrong with them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rsa::{
    pkcs1::EncodeRsaPrivateKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey},
};

use super::{super::*, RSA, ed25519, key};

fn write(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    file
}

fn settings(domain: &str, selector: &str, key_file: &Path) -> DkimSettings {
    DkimSettings { domain: domain.to_owned(), selector: selector.to_owned(), key_file: key_file.to_owned() }
}

fn faults(settings: &[DkimSettings]) -> Vec<String> {
    let faults = Keyring::load(settings).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{} {}: {}", fault.index, fault.field, fault.error)).collect()
}

/// A PEM block of another label.
fn relabelled(pem: &str, label: &str) -> String {
    pem.replace("PRIVATE KEY", label)
}

#[test]
fn keys_of_both_kinds_and_encodings_are_read_from_files_of_the_owner_and_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let pkcs1 =
        rsa::PrivateKey::from_pkcs8_pem(&RSA).unwrap().to_pkcs1_pem(rsa::pkcs8::LineEnding::CRLF).unwrap();
    let own = generate(Algorithm::Ed25519).unwrap();
    let settings = [
        settings("example.net", "a", &write(folder.path(), "a", &RSA, 0o600)),
        settings("example.net", "b", &write(folder.path(), "b", &pkcs1, 0o640)),
        settings("example.net", "c", &write(folder.path(), "c", &format!("# a note\n{own}\n"), 0o400)),
    ];
    assert!(faults(&settings).is_empty(), "{:?}", faults(&settings));
    assert_eq!(key(&pkcs1).public_key(), key(&RSA).public_key());
    // As other programs write it: with the public key (RFC 8410, section 7).
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let of_others = key(&other.serialize_pem());
    assert_eq!((of_others.algorithm(), of_others.bits()), (Algorithm::Ed25519, 256));
    assert_eq!(of_others.public_key(), BASE64_STANDARD.encode(other.public_key_raw()));
}

#[test]
fn each_fault_of_a_key_file_is_named_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let short = rsa::PrivateKey::new(&mut rand::rng(), 1_024).unwrap();
    let short = pem_of(&short);
    let ecdsa = rcgen::KeyPair::generate().unwrap().serialize_pem();
    // Whole lines, and of these so many that base64 can be read.
    let cut: Vec<&str> = RSA.lines().take(9).collect();
    let cut = format!("{}\n-----END PRIVATE KEY-----\n", cut.join("\n"));
    for (name, text, mode, expected) in [
        ("open", &**RSA, 0o604, "is open to every user of this machine (mode 604): run `chmod o= "),
        ("written", &**RSA, 0o602, "is open to every user of this machine (mode 602)"),
        ("short", &*short, 0o600, "holds an RSA key that is too short: it must have 2048 to 4096 bits"),
        ("ecdsa", &*ecdsa, 0o600, "holds a key for another algorithm, but must hold an RSA or Ed25519"),
        ("cut", &*cut, 0o600, "holds a damaged key: "),
        ("empty", "", 0o600, "holds no PEM, but must"),
        ("base64", "-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n", 0o600, "holds no PEM"),
        ("public", &*relabelled(&RSA, "PUBLIC KEY"), 0o600, "holds a public key, but must"),
        ("locked", &*relabelled(&RSA, "ENCRYPTED PRIVATE KEY"), 0o600, "holds an encrypted key"),
        ("ssh", &*relabelled(&RSA, "OPENSSH PRIVATE KEY"), 0o600, "holds PEM of another kind"),
    ] {
        let file = write(folder.path(), name, text, mode);
        let said = faults(&[settings("example.net", "a", &file)]);
        assert_eq!(said.len(), 1, "{said:?}");
        let start = format!("0 key_file: `{}` ", file.display());
        assert!(said[0].starts_with(&start) && said[0].contains(expected), "{expected}: {said:?}");
    }
    for absent in [&folder.path().join("absent"), folder.path()] {
        let said = faults(&[settings("example.net", "a", absent)]);
        assert_eq!(said, [format!("0 key_file: `{}` cannot be read", absent.display())]);
    }
}

fn pem_of(key: &rsa::PrivateKey) -> String {
    super::super::generate::pem(key.to_pkcs8_der().unwrap().as_bytes())
}

#[test]
fn all_faults_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "key", &generate(Algorithm::Ed25519).unwrap(), 0o600);
    let absent = folder.path().join("absent");
    let said = faults(&[
        settings("example.net", "a", &file),
        settings("Example.NET", "A", &file),
        settings("localhost", "no space", &absent),
        settings("example.net", "", &file),
        settings("example.com", "a", &file),
    ]);
    let places: Vec<_> = said.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(places, ["1 selector", "2 domain", "2 selector", "2 key_file", "3 selector"]);
    assert_eq!(said[0], "1 selector: `a` is the selector of two keys of example.net");
    let long = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(50)].join(".");
    assert!(faults(&[settings("example.net", &long, &file)])[0].contains("longer than the 253 characters"));
}

#[test]
fn the_nearest_domain_with_keys_signs() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "key", &generate(Algorithm::Ed25519).unwrap(), 0o600);
    let keyring = Keyring::load(&[
        settings("example.net", "a", &file),
        settings("mail.example.net", "a", &file),
        settings("bücher.example", "a", &file),
    ]);
    let keyring = keyring.unwrap();
    for (sender, domain) in [
        ("example.net", Some("example.net")),
        ("shop.example.net", Some("example.net")),
        ("mail.example.net", Some("mail.example.net")),
        ("a.b.mail.example.net", Some("mail.example.net")),
        ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
        ("notexample.net", None),
        ("net", None),
    ] {
        let signer = keyring.signer_for(sender).map(|signer| format!("{signer:?}"));
        let expected = domain.map(|domain| format!("Signer {{ domain: \"{domain}\""));
        let is_right = match (&signer, &expected) {
            (Some(signer), Some(expected)) => signer.starts_with(expected),
            (signer, expected) => signer.is_none() && expected.is_none(),
        };
        assert!(is_right, "{sender}: {signer:?}");
    }
}

#[test]
fn a_record_holds_the_public_key_in_strings_that_fit_the_dns() {
    let public = rsa::PrivateKey::from_pkcs8_pem(&RSA).unwrap().to_public_key().to_public_key_der().unwrap();
    let record = TxtRecord::of("example.net", "s1", &key(&RSA));
    assert_eq!(record.name, "s1._domainkey.example.net");
    assert_eq!(record.value, format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(public.as_bytes())));
    assert_eq!(record.strings().concat(), record.value);
    assert!(record.strings().len() == 2 && record.strings().iter().all(|string| string.len() <= 255));
    let record = TxtRecord::of("example.net", "s2", &ed25519());
    assert_eq!(
        record.zone_line(),
        "s2._domainkey.example.net. IN TXT ( \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\" )"
    );
}
