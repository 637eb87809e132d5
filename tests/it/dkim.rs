//! Signed mails, as another program verifies them; and the keys, from the command that makes them to the mail.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use postroom::{
    demo::catcher::{Catcher, CatcherOptions},
    dkim::{DkimSettings, Keyring},
    mail::Timestamp,
};
use serde_json::{Value, json};

use super::support::{
    Backends, CommandLine, Daemon, Shop, node_of_tools, python_of_tools, template, welcome,
};

/// Verifies every signature of every message with dkimpy, and prints for each message which keys signed what.
const VERIFY: &str = r#"
import base64, json, sys
import dkim

given = json.load(sys.stdin)
records = {name + ".": value.encode() for name, value in given["records"].items()}
for message in given["messages"]:
    raw = base64.b64decode(message)
    head = raw.split(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 998, "a header line is too long"
    judge, verdicts = dkim.DKIM(raw), []
    for number in range(raw.count(b"DKIM-Signature:")):
        good = judge.verify(idx=number, dnsfunc=lambda name, timeout=5: records.get(name.decode()))
        covered = [name.decode().lower() for name, _ in judge.signed_headers]
        tags = judge.signature_fields
        verdicts.append([good, tags[b"a"].decode(), tags[b"d"].decode(), tags[b"s"].decode(), covered])
    print(json.dumps(verdicts))
"#;

/// Verifies every signature of every message with mailauth, which was written from the RFCs by others and in another
/// language, and prints what [`VERIFY`] prints but for the headers that are covered.
const VERIFY_AGAIN: &str = r#"
const { dkimVerify } = require("mailauth/lib/dkim/verify");
const given = JSON.parse(require("fs").readFileSync(0));
const resolver = async (name, type) => {
    if (type === "TXT" && given.records[name]) return [[given.records[name]]];
    throw Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
};
(async () => {
    for (const message of given.messages) {
        const { results } = await dkimVerify(Buffer.from(message, "base64"), { resolver });
        const verdicts = results.map(({ status, algo, signingDomain, selector }) =>
            [status.result === "pass", algo, signingDomain, selector]);
        console.log(JSON.stringify(verdicts));
    }
})();
"#;

/// What dkimpy says about each message: for each of its signatures. mailauth says the same.
fn verdicts<'a>(records: &[Value], messages: impl IntoIterator<Item = &'a [u8]>) -> Vec<Value> {
    let records: serde_json::Map<_, _> = records
        .iter()
        .map(|made| (made["record"]["name"].as_str().unwrap().to_owned(), made["record"]["value"].clone()))
        .collect();
    let messages: Vec<_> = messages.into_iter().map(|message| BASE64_STANDARD.encode(message)).collect();
    let input = json!({"records": records, "messages": messages}).to_string();
    let read = |said: String| said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<Value> = read(python_of_tools(VERIFY, input.as_bytes()));
    let again: Vec<Value> = read(node_of_tools(VERIFY_AGAIN, input.as_bytes()));
    let without_headers = |verdict: &Value| {
        let signatures = verdict.as_array().unwrap().iter();
        signatures.map(|signature| signature.as_array().unwrap()[..4].to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(
        again.iter().map(without_headers).collect::<Vec<_>>(),
        verdicts.iter().map(without_headers).collect::<Vec<_>>(),
        "mailauth and dkimpy do not agree"
    );
    verdicts
}

/// Makes a key with the command line; returns what it printed.
fn make(commands: &CommandLine, domain: &str, algorithm: &str, folder: &Path) -> Value {
    let folder = folder.to_str().unwrap();
    let words = ["dkim", "generate", domain, "--algorithm", algorithm, "--out", folder, "--json"];
    commands.run(&words).expect(0).json()
}

/// The setting `dkim` for keys that were made.
fn setting(made: &[Value]) -> toml::Value {
    let tables = made.iter().map(|made| {
        let value = |name: &str| toml::Value::String(made[name].as_str().unwrap().to_owned());
        let pairs = ["domain", "selector", "key_file"].map(|name| (name.to_owned(), value(name)));
        toml::Value::Table(pairs.into_iter().collect())
    });
    toml::Value::Array(tables.collect())
}

on_both! {
    async fn dkimpy_verifies_both_signatures_of_every_mail(backends: Backends) {
        let commands = backends.command_line();
        let made = ["ed25519", "rsa"].map(|algorithm| make(&commands, "tea.example", algorithm, backends.folder()));
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let backends = backends.with_route_to(&sink).with("dkim", setting(&made));
        backends.command_line().run(&["check", "--offline"]).expect(0);
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;

        let mut odd = template();
        odd["class"] = json!("promotional");
        odd["subject"] = json!("{{first_name}}");
        odd["html"] = json!("<p>.</p>\n.\n..\n  <p>{{{city}}}</p>\t \n\n\n");
        odd["text"] = json!(".\n..\n{{city}} \n.\n\n");
        shop.put("/api/v1/templates/welcome", &odd).await.expect(200);
        for (number, (subject, city)) in [
            ("Tea", "Cologne"),
            ("Grüße aus Köln, 東京 und 🍵", "Köln  \t 東京"),
            (&*"a long subject of many words ".repeat(20), &*"a long line ".repeat(500)),
            ("   spaces\t\tand tabs   ", ".\n.\nFrom me\n.\n"),
            (&*"ü".repeat(300), ""),
        ]
        .into_iter()
        .enumerate()
        {
            let address = format!("ok-{number}@example.net");
            shop.enrol(&address).await;
            let mut body = welcome(&address);
            (body["user"]["first_name"], body["user"]["city"]) = (json!(subject), json!(city));
            let answer = shop.post("/mail", &body).await.expect(200).json();
            shop.wait_until(answer["data"][&address]["transaction_id"].as_str().unwrap(), "sent").await;
        }
        let mails = sink.mails();
        let verdicts = verdicts(&made, mails.iter().map(|mail| &*mail.bytes));
        assert_eq!(verdicts.len(), 5);
        for verdict in &verdicts {
            let said: Vec<_> = verdict.as_array().unwrap().iter().map(|one| json!([one[0], one[1], one[2]])).collect();
            let good = |algorithm| json!([true, algorithm, "tea.example"]);
            assert_eq!(said, [good("rsa-sha256"), good("ed25519-sha256")], "{verdicts:?}");
            for signature in verdict.as_array().unwrap() {
                let covered = signature[4].as_array().unwrap();
                for name in ["list-unsubscribe", "list-unsubscribe-post"] {
                    assert!(covered.contains(&json!(name)), "{name}: {verdict}");
                }
            }
        }
    }

    async fn a_mail_of_a_domain_without_a_key_is_not_signed_and_one_below_a_domain_with_a_key_is(backends: Backends) {
        let made = [make(&backends.command_line(), "tea.example", "ed25519", backends.folder())];
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let backends = backends.with_route_to(&sink).with("dkim", setting(&made));
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        let mut has_signature = Vec::new();
        for sender in ["hello@mail.tea.example", "hello@coffee.example"] {
            let brand = json!({"name": "Tea", "sender": {"email": sender}});
            shop.put("/api/v1/brands/tea", &brand).await.expect(200);
            let id = shop.send_to("ok@example.net").await;
            shop.wait_until(&id, "sent").await;
            has_signature.push(sink.mails().last().unwrap().header("dkim-signature").is_some());
        }
        assert_eq!(has_signature, [true, false]);
    }
}

#[test]
fn dkimpy_finds_the_unsubscribe_headers_covered() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    let made =
        ["rsa", "ed25519"].map(|algorithm| make(&commands, "tea.example", algorithm, backends.folder()));
    let settings: Vec<DkimSettings> = made
        .iter()
        .map(|made| DkimSettings {
            domain: "tea.example".to_owned(),
            selector: made["selector"].as_str().unwrap().to_owned(),
            key_file: made["key_file"].as_str().unwrap().into(),
        })
        .collect();
    let keyring = Keyring::load(&settings).unwrap();
    let message = "From: =?utf-8?b?VMOpZQ==?= <hello@tea.example>\r\nTo: jörg@example.net\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n \
        =?utf-8?b?R3LDvMOfZQ==?=\r\nDate: Thu, 26 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@tea.example>\r\n\
        List-Unsubscribe: <https://post.example/u/0123456789>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.\r\n..Grüße \r\n";
    let signer = keyring.signer_for("tea.example").unwrap();
    let signed = signer.sign(message.as_bytes(), Timestamp(1_795_000_000_000)).unwrap();
    let without_post = String::from_utf8(signed.clone()).unwrap().replace("=One-Click", "=No-Click");
    let verdicts = verdicts(&made, [&*signed, without_post.as_bytes()]);
    for (verdict, is_good) in verdicts.iter().zip([true, false]) {
        for signature in verdict.as_array().unwrap() {
            assert_eq!(signature[0], is_good, "{verdict}");
            let covered = signature[4].as_array().unwrap();
            for name in ["from", "subject", "to", "date", "list-unsubscribe", "list-unsubscribe-post"] {
                assert!(!is_good || covered.contains(&json!(name)), "{name} {verdict}");
            }
        }
    }
}

#[test]
fn a_key_is_made_in_a_file_of_its_own_that_its_owner_alone_reads_with_the_record_and_the_setting() {
    let backends = Backends::sqlite_memory();
    let (commands, folder) = (backends.command_line(), backends.folder().join("keys"));
    fs::create_dir(&folder).unwrap();
    let words = [
        "dkim",
        "generate",
        "Bücher.Example",
        "--selector",
        "S1",
        "--algorithm",
        "ed25519",
        "--out",
        folder.to_str().unwrap(),
    ];
    let made = commands.run(&[&words[..], &["--json"]].concat()).expect(0).json();
    let file = folder.canonicalize().unwrap().join("xn--bcher-kva.example.s1.pem");
    assert_eq!(made["key_file"], file.to_str().unwrap());
    assert_eq!(
        (made["domain"].as_str(), made["selector"].as_str()),
        (Some("xn--bcher-kva.example"), Some("s1"))
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let record = &made["record"];
    assert_eq!(
        (record["name"].as_str(), record["type"].as_str()),
        (Some("s1._domainkey.xn--bcher-kva.example"), Some("TXT"))
    );
    assert!(record["value"].as_str().unwrap().starts_with("v=DKIM1; k=ed25519; p="));

    let pem = fs::read_to_string(&file).unwrap();
    assert!(commands.run(&words).expect(1).err.contains("exists"), "a key is never overwritten");
    assert_eq!(fs::read_to_string(&file).unwrap(), pem);
    fs::remove_file(&file).unwrap();
    let said = commands.run(&words).expect(0);
    for expected in [
        "s1._domainkey.xn--bcher-kva.example. IN TXT ( \"v=DKIM1",
        "[[dkim]]",
        "selector = \"s1\"",
        "RSA key",
        "postroom reload",
    ] {
        assert!(said.out.contains(expected), "{expected} is missing in\n{}", said.out);
    }
    let private = pem.lines().nth(1).unwrap();
    assert!(!said.out.contains(private) && !said.err.contains(private));

    for (wrong, status) in [
        (&["dkim", "generate", "localhost"][..], 2),
        (&["dkim", "generate", "tea.example", "--selector", "a b"], 2),
        (&["dkim", "generate", "tea.example", "--algorithm", "dsa"], 2),
        (&["dkim", "generate", "tea.example", "--algorithm", "ed25519", "--out", "/nowhere"], 1),
    ] {
        commands.run(wrong).expect(status);
    }
}

#[test]
fn faulty_keys_end_check_and_serve_with_status_2_and_are_named_with_the_others() {
    let backends = Backends::sqlite_memory();
    let made = make(&backends.command_line(), "tea.example", "ed25519", backends.folder());
    let file = made["key_file"].as_str().unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut absent = made.clone();
    (absent["selector"], absent["key_file"]) = (json!("other"), json!("/nowhere/key.pem"));
    let backends =
        backends.with("dkim", setting(&[made.clone(), absent, made.clone()])).with("http.rate", "fast");
    for words in [&["check", "--offline"][..], &["serve"], &["mail", "list"]] {
        let said = backends.command_line().run(words).expect(2).err;
        for expected in [
            "http.rate: `fast`",
            &format!("dkim[0].key_file: `{file}` is open to every user of this machine (mode 644)"),
            "dkim[1].key_file: `/nowhere/key.pem` cannot be read: No such file",
            "dkim[2].selector: ",
        ] {
            assert!(said.contains(expected), "{expected} is missing in\n{said}");
        }
    }
    // The command that makes keys does not need a configuration that is whole.
    make(&backends.command_line(), "coffee.example", "ed25519", backends.folder());
}
