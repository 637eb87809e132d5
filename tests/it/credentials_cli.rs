//! Merchants, accounts, tokens and operators, managed at the command line while daemons run: they see a change within a second.

use std::time::Duration;

use postroom::store::Store;
use serde_json::{Value, json};

use super::support::{Backends, Credential, Scene, eventually, within};

/// How soon a daemon no longer takes a credential.
const SOON: Duration = Duration::from_secs(3);

on_both! {
    async fn a_merchant_is_listed_shown_and_changed(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let changed = commands.run(&["merchant", "update", "tea-co", "--name", "Tea", "--country", "mx", "--language", "es",
            "--sender", "hello@tea.example", "--rate", "3000/h  burst 100", "--json"]).expect(0).json();
        let expected = json!({"id": "tea-co", "name": "Tea", "country": "MX", "language": "es", "sender": "hello@tea.example",
            "rate": "3000/h burst 100", "suspended_at": null, "test": false, "accounts": 0, "tokens": 1, "webhooks": 0});
        assert_eq!(changed, expected);
        assert_eq!(commands.run(&["merchant", "show", "tea-co", "--json"]).expect(0).json(), expected);
        let changed = commands.run(&["merchant", "update", "tea-co", "--no-rate", "--no-language", "--no-sender", "--json"]).expect(0).json();
        assert_eq!((&changed["rate"], &changed["language"], &changed["sender"], &changed["name"]),
            (&Value::Null, &Value::Null, &Value::Null, &json!("Tea")));
        let listed = commands.run(&["merchant", "list", "--json"]).expect(0).json();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["country"]), (1, &json!("MX")));
        for words in [&["update", "tea-co"][..], &["update", "tea-co", "--country", "Germany"], &["update", "tea-co", "--rate", "fast"],
            &["update", "tea-co", "--rate", "5/s", "--no-rate"]] {
            commands.run(&[&["merchant"], words].concat()).expect(2);
        }
        for words in [&["show", "nobody"][..], &["update", "nobody", "--name", "N"], &["suspend", "nobody"]] {
            commands.run(&[&["merchant"], words].concat()).expect(1);
        }
    }

    async fn a_token_is_revoked_by_its_id_and_stops_working(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let lost = scene.shop.with(Credential::Bearer(scene.shop.new_token("mails.read")));
        lost.get("/api/v1/mails").await.expect(200);
        let listed = commands.run(&["token", "list", "--merchant", "tea-co", "--json"]).expect(0).json();
        let tokens = listed.as_array().unwrap();
        assert_eq!((tokens.len(), &tokens[1]["abilities"]), (2, &json!(["mails.read"])));
        assert!(!listed.to_string().contains("pr_"));
        let id = tokens[1]["id"].as_str().unwrap();
        commands.run(&["token", "revoke", "--id", id]).expect(0);
        within(SOON, "it is refused", async || lost.get("/api/v1/mails").await.status == 401).await;
        scene.shop.get("/api/v1/mails").await.expect(200);
        commands.run(&["token", "revoke", "--id", id]).expect(1);
        commands.run(&["token", "revoke", "--id", "no-id"]).expect(2);
        commands.run(&["token", "revoke"]).expect(2);
        commands.run(&["token", "list", "--merchant", "nobody"]).expect(1);
    }

    async fn an_account_gets_another_password_and_is_removed(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let old = scene.shop.with(scene.shop.new_account("ann"));
        old.get("/api/v1/mails").await.expect(200);
        let rotated = commands.run(&["account", "rotate", "--merchant", "tea-co", "--username", "ann", "--json"]).expect(0).json();
        let password = rotated["password"].as_str().unwrap().to_owned();
        within(SOON, "the old password is refused", async || old.get("/api/v1/mails").await.status == 401).await;
        let new = scene.shop.with(Credential::Basic("ann".to_owned(), password));
        eventually("the new one works", async || new.get("/api/v1/mails").await.status == 200).await;
        let listed = commands.run(&["account", "list", "--json"]).expect(0).json();
        assert_eq!((&listed[0]["username"], &listed[0]["merchant"]), (&json!("ann"), &json!("tea-co")));
        commands.run(&["account", "remove", "--username", "ann"]).expect(0);
        within(SOON, "the account is refused", async || new.get("/api/v1/mails").await.status == 401).await;
        for words in [["rotate", "--username", "ann"], ["remove", "--username", "ann"]] {
            commands.run(&[&["account"], &words[..]].concat()).expect(1);
        }
        let none = commands.run(&["account", "list"]).expect(0);
        assert!(none.out.is_empty() && none.err.contains("there are no accounts"), "{none:?}");
    }

    async fn an_operator_has_a_role_and_perhaps_one_merchant(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = commands.run(&["operator", "create", "--name", "ann", "--role", "admin", "--json"]).expect(0).json();
        assert_eq!((&ann["role"], &ann["merchant"]), (&json!("admin"), &Value::Null));
        let password = ann["password"].as_str().unwrap();
        commands.run(&["operator", "create", "--name", "ann", "--role", "viewer"]).expect(1);
        let bob = commands.run(&["operator", "create", "--name", "bob", "--role", "viewer", "--merchant", "tea-co", "--json"]).expect(0).json();
        assert_eq!(bob["merchant"], "tea-co");
        let names = |words: &[&str]| -> Vec<Value> {
            let listed = commands.run(&[&["operator", "list", "--json"], words].concat()).expect(0).json();
            listed.as_array().unwrap().iter().map(|operator| operator["name"].clone()).collect()
        };
        assert_eq!((names(&[]), names(&["--merchant", "tea-co"])), (vec![json!("ann"), json!("bob")], vec![json!("bob")]));
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let stored = store.operator("ann").await.unwrap().unwrap();
        assert!(stored.password_hash.starts_with("$argon2id$") && !stored.password_hash.contains(password));
        commands.run(&["operator", "remove", "--name", "ann"]).expect(0);
        commands.run(&["operator", "remove", "--name", "ann"]).expect(1);
        commands.run(&["operator", "create", "--name", "eve", "--role", "king"]).expect(2);
        commands.run(&["operator", "create", "--name", "two words", "--role", "viewer"]).expect(2);
        commands.run(&["operator", "create", "--name", "eve", "--merchant", "nobody"]).expect(1);
        assert_eq!(names(&[]), [json!("bob")]);
    }
}
