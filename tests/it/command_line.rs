//! `postroom …`: what it prints and the status it ends with.

use std::{path::Path, process::Stdio};

use postroom::{
    config::Config,
    demo::catcher::{Catcher, CatcherOptions},
    mail::MerchantId,
    store::Store,
};
use serde_json::{Value, json};

use super::support::{Backends, CommandLine, Daemon, Ended, Scene, postroom};

fn is_usage_error(ended: Ended) -> Ended {
    let ended = ended.expect(2);
    assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended:?}");
    ended
}

#[test]
fn the_defaults_that_are_compiled_in_are_a_configuration_file_too() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    Config::load(Some(&file), []).unwrap();
}

#[test]
fn wrong_usage_ends_with_status_2() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    for words in [
        &["fly"][..],
        &[],
        &["serve", "--role", "pilot"],
        &["merchant", "create"],
        &["merchant", "create", "no spaces", "--name", "Tea", "--country", "DE"],
        &["merchant", "create", "tea", "--name", "Tea", "--country", "Germany"],
        &["merchant", "create", "tea", "--name", "Tea", "--country", "UK"],
        &["merchant", "create", "tea", "--name", "Tea\nCo", "--country", "DE"],
        &["merchant", "create", "tea", "--name", "Tea", "--country", "DE", "--language", "xx"],
        &["merchant", "create", "tea", "--name", "Tea", "--country", "DE", "--rate", "5/fortnight"],
        &["account", "create", "--merchant", "tea", "--username", "a:b"],
        &["token", "create", "--merchant", "tea", "--abilities", "fly"],
        &["token", "create", "--merchant", "tea", "--abilities", "*", "--expires-in", "soon"],
        &["mail", "show", "no-id"],
        &["mail", "list", "--state", "lost"],
    ] {
        is_usage_error(commands.run(words));
    }
    for (words, of) in [
        (&["mail", "show", "nope"][..], "a mail"),
        (&["batch", "show", "nope"], "a batch"),
        (&["batch", "pause", "nope"], "a batch"),
        (&["action", "show", "nope"], "an action"),
        (&["token", "revoke", "--id", "nope"], "a token"),
        (&["mail", "list", "--after", "nope"], "a mail"),
    ] {
        let refused = is_usage_error(commands.run(words)).err;
        assert!(refused.contains(&format!("is not the id of {of}: a UUID")), "{refused}");
    }
    assert_eq!(
        commands.run(&["--version"]).expect(0).out.trim(),
        format!("postroom {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_configuration_names_the_file_and_every_key_at_once() {
    let mut backends = Backends::sqlite_memory();
    backends.set("http.listen", "everywhere");
    backends.set("http.rate", "fast");
    backends.set("worker.concurrency", -1);
    backends.set("database.colour", "red");
    backends.set("http.max_body", "8 parsecs");
    for words in [&["check"][..], &["serve"], &["migrate"], &["mail", "list"]] {
        let ended = is_usage_error(backends.command_line().run(words));
        let file = backends.config();
        for expected in [
            "http.listen",
            "http.rate",
            "worker.concurrency",
            "database.colour",
            "http.max_body",
            file.to_str().unwrap(),
            "50/s",
            "MiB",
        ] {
            assert!(ended.err.contains(expected), "{expected} is missing in:\n{}", ended.err);
        }
        assert!(!ended.err.contains("8 parsecs") || ended.err.matches("http.max_body").count() == 1);
    }
    is_usage_error(CommandLine::new("/nowhere/postroom.toml".into()).run(&["check"]));
}

#[test]
fn the_environment_goes_over_the_file() {
    let backends = Backends::sqlite_memory();
    let run = |name: &str, value: &str| {
        let output = postroom()
            .env("POSTROOM_CONFIG", backends.config())
            .env(name, value)
            .arg("check")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    backends.command_line().run(&["migrate"]).expect(0);
    assert_eq!(run("OTHER", "x").0, Some(0));
    let (status, error) = run("POSTROOM_HTTP__LISTEN", "everywhere");
    assert_eq!(status, Some(2));
    assert!(error.contains("POSTROOM_HTTP__LISTEN"), "{error}");
    assert_eq!(run("POSTROOM_HTTP__LISTENER", "127.0.0.1:1").0, Some(2));
}

#[test]
fn a_check_leaves_an_empty_folder_empty() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| {
        let mut command = postroom();
        command.current_dir(folder.path()).env_remove("POSTROOM_CONFIG").arg("check").args(more);
        let output = command.output().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("`postroom.db` does not exist; `postroom migrate`"), "{said}");
    assert_eq!(check(&["--offline"]), (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reaches_for_each_relay() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let route = |name: &str, port: u16, tls: &str| {
        let mut route = toml::toml! { host = "127.0.0.1" };
        route.insert("name".to_owned(), name.into());
        route.insert("port".to_owned(), i64::from(port).into());
        route.insert("tls".to_owned(), tls.into());
        route
    };
    let relay = sink.smtp_addr().port();
    let routes =
        vec![route("main", relay, "none"), route("away", nobody, "none"), route("plain", relay, "starttls")];
    let backends = Backends::sqlite_memory().with("smtp.routes", routes);
    backends.command_line().run(&["migrate"]).expect(0);
    let checked = backends.command_line().run(&["check", "--json"]).expect(1);
    let relays = &checked.json()["relays"];
    assert_eq!(relays["main"], "ok");
    assert!(relays["away"].as_str().unwrap().starts_with("connect: "), "{relays}");
    assert!(relays["plain"].as_str().unwrap().starts_with("tls: "), "{relays}");
    assert!(checked.err.contains("away: connect: "), "{}", checked.err);
    backends.command_line().run(&["check", "--offline"]).expect(0);
}

#[test]
fn a_merchant_without_a_sender_is_named_where_nothing_stands_in_for_one() {
    for (public_url, is_named) in [
        ("http://127.0.0.1:8025", true),
        ("https://192.0.2.7", true),
        ("https://[2001:db8::7]:8443/mails/", true),
        ("https://post.example.com/mails/", false),
    ] {
        let commands = Backends::sqlite_memory().with("http.public_url", public_url);
        let commands = commands.command_line();
        commands.run(&["migrate"]).expect(0);
        let create = |id: &str, more: &[&str]| {
            let words = [&["merchant", "create", id, "--name", "Tea", "--country", "de"], more].concat();
            commands.run(&words).expect(0).out
        };
        let bare = create("tea", &[]);
        let has_one = create("oak", &["--sender", "hello@oak.example"]);
        let checked = commands.run(&["check"]).expect(0);
        let checked = checked.out + &checked.err;
        for (said, merchant) in [(&bare, "tea"), (&checked, "tea")] {
            let named = said.contains(&format!("merchant {merchant} has no sender"));
            assert_eq!(
                named && said.contains("merchant update tea --sender"),
                is_named,
                "{public_url}: {said}"
            );
        }
        assert!(!has_one.contains("no sender") && !checked.contains("merchant oak"), "{has_one}{checked}");
    }
}

#[test]
fn an_embedded_queue_cannot_serve_a_role_alone() {
    let backends = Backends::sqlite_memory();
    for role in ["worker", "ingress"] {
        let ended = is_usage_error(backends.command_line().run(&["serve", "--role", role]));
        assert!(ended.err.contains("queue.url"), "{}", ended.err);
    }
}

on_both! {
    async fn a_schema_that_is_missing_is_a_failure_until_it_is_made(backends: Backends) {
        let mut backends = backends;
        backends.set("database.migrate", false);
        let commands = backends.command_line();
        assert!(commands.run(&["check"]).expect(1).err.contains("postroom migrate"));
        assert!(commands.run(&["serve"]).expect(1).err.contains("postroom migrate"));
        assert_eq!(commands.run(&["migrate", "--json"]).expect(0).json(), json!({"schema": "up to date"}));
        commands.run(&["migrate"]).expect(0);
        let checked = commands.run(&["check", "--json"]).expect(0).json();
        assert_eq!(checked, json!({"database": "ok", "queue": "ok", "routes": 0}));
        Daemon::start(&backends).await;
    }

    async fn merchants_accounts_and_tokens_are_made_once(backends: Backends) {
        let commands = backends.command_line();
        commands.run(&["migrate"]).expect(0);
        let create = ["merchant", "create", "tea", "--name", "Tea", "--country", "de", "--json"];
        let mut made = commands.run(&create).expect(0).json();
        let secret = made.as_object_mut().unwrap().remove("secret").unwrap();
        assert!(secret.as_str().unwrap().starts_with("whsec_"));
        assert_eq!(made, json!({"id": "tea", "name": "Tea", "country": "DE", "test": false}));
        assert!(commands.run(&create).expect(1).err.contains("exists already"));

        let quick = ["merchant", "create", "quick", "--name", "Q", "--country", "DE", "--rate", "3000/h  burst 100"];
        commands.run(&quick).expect(0);
        let store = Store::open(&backends.database()).await.unwrap();
        let quick: MerchantId = "quick".parse().unwrap();
        let rate = Some("3000/h burst 100".to_owned());
        assert_eq!(store.mails_rates().await.unwrap(), [(quick.clone(), "3000/h burst 100".to_owned())]);
        assert_eq!(store.merchant(&quick).await.unwrap().unwrap().mails_rate, rate);
        commands.run(&["merchant", "update", "quick", "--no-rate"]).expect(0);
        assert_eq!(store.mails_rates().await.unwrap(), []);
        let account = ["account", "create", "--merchant", "tea", "--username", "ann", "--json"];
        let made = commands.run(&account).expect(0).json();
        assert_eq!(made["username"], "ann");
        assert!(made["password"].as_str().unwrap().len() >= 40);
        commands.run(&account).expect(1);
        commands.run(&["account", "create", "--merchant", "nobody", "--username", "bob"]).expect(1);

        let token = ["token", "create", "--merchant", "tea", "--abilities", "mails.read,templates.get", "--json"];
        let first = commands.run(&token).expect(0).json();
        assert_eq!(first.as_object().unwrap().len(), 1);
        assert_ne!(first, commands.run(&token).expect(0).json());
        commands.run(&["token", "create", "--merchant", "nobody", "--abilities", "*"]).expect(1);
    }

    async fn a_mail_is_listed_shown_taken_back_and_tried_again(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let commands = scene.backends.command_line();
        let waiting = scene.shop.send_to("defer@example.net").await;
        scene.shop.wait_until(&waiting, "deferred").await;
        let sent = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&sent, "sent").await;

        let ids = |words: &[&str]| -> Vec<Value> {
            let listed = commands.run(&[&["mail", "list", "--json"], words].concat()).expect(0).json();
            listed.as_array().unwrap().iter().map(|mail| mail["id"].clone()).collect()
        };
        assert_eq!(ids(&[]), [json!(sent), json!(waiting)]);
        assert_eq!(ids(&["--oldest-first"]), [json!(waiting), json!(sent)]);
        assert_eq!(ids(&["--state", "sent", "--merchant", "tea-co"]), [json!(sent)]);
        assert_eq!(ids(&["--after", &sent, "--limit", "1"]), [json!(waiting)]);
        commands.run(&["mail", "list", "--merchant", "coffee-co"]).expect(1);
        assert_eq!(ids(&["--order", "none"]), [] as [Value; 0]);

        let shown = commands.run(&["mail", "show", &waiting, "--json"]).expect(0).json();
        assert_eq!((&shown["state"], &shown["attempts"][0]["code"]), (&json!("deferred"), &json!(451)));
        let for_people = commands.run(&["mail", "show", &waiting]).expect(0).out;
        assert!(for_people.contains("451") && for_people.contains("deferred"), "{for_people}");

        let cancelled = commands.run(&["mail", "cancel", &waiting, "--json"]).expect(0).json();
        assert_eq!(cancelled, json!({"id": waiting, "state": "cancelled"}));
        assert!(commands.run(&["mail", "cancel", &waiting]).expect(1).err.contains("cannot be cancelled"));
        commands.run(&["mail", "retry", &sent]).expect(1);
        commands.run(&["mail", "retry", &waiting]).expect(0);
        let story = scene.shop.wait_until(&waiting, "deferred").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 2);
        commands.run(&["mail", "show", "0192f000-0000-7000-8000-000000000000"]).expect(1);
    }

    async fn an_import_reads_standard_input_or_a_file(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let line = |id: &str, merchant: &str, brand: &str| {
            json!({"merchant": merchant, "kind": "members", "id": id, "brand_id": brand, "email": "ok@example.net"})
        };
        let good: String = (0..1_200).map(|number| format!("{}\n", line(&format!("m{number}"), "tea-co", "tea"))).collect();
        let ended = commands.run_with_input(&["import", "-", "--json"], &good).expect(0);
        assert_eq!(ended.json(), json!({"accepted": 1_200, "refused": 0, "errors": []}));
        scene.shop.get("/api/v1/members/m1199").await.expect(200);

        let file = scene.backends.folder().join("import.ndjson");
        let lines = [line("a", "tea-co", "tea"), line("b", "nobody", "tea"), line("c", "tea-co", "none"), json!([])];
        std::fs::write(&file, lines.map(|line| line.to_string()).join("\n\n")).unwrap();
        let ended = commands.run(&["import", file.to_str().unwrap(), "--json"]).expect(1);
        let told = ended.json();
        assert_eq!((&told["accepted"], &told["refused"]), (&json!(1), &json!(3)));
        assert_eq!((&told["errors"][0]["line"], &told["errors"][0]["path"]), (&json!(3), &json!("merchant")));
        let file = file.to_str().unwrap();
        for expected in [":3: merchant: ", ":5: brand_id: ", ":7: "].map(|end| format!("{file}{end}")) {
            assert!(ended.err.contains(&expected), "{expected} is missing in:\n{}", ended.err);
        }
        commands.run(&["import", "/nowhere"]).expect(1);
    }
}

#[test]
fn a_secret_is_printed_once_and_kept_nowhere() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    commands.run(&["merchant", "create", "tea", "--name", "Tea", "--country", "DE"]).expect(0);
    let secrets = [
        (&["token", "create", "--merchant", "tea", "--abilities", "*", "--json"][..], "token"),
        (&["account", "create", "--merchant", "tea", "--username", "ann", "--json"], "password"),
    ]
    .map(|(words, field)| commands.run(words).expect(0).json()[field].as_str().unwrap().to_owned());
    for file in std::fs::read_dir(backends.folder()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in &secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}
