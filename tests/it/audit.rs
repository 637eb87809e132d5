//! The audit: what a person or a credential changes is in it, with who, what, how many and from where; and nothing else is.

use std::time::Duration;

use postroom::{audit::Author, mail::MailEvent, store::Store};
use serde_json::{Value, json};

use super::support::{Backends, CommandLine, Operator, Scene, Shop, welcome};

/// The entries, oldest first.
fn entries(commands: &CommandLine, words: &[&str]) -> Vec<Value> {
    let words = [&["audit", "list", "--json", "--limit", "1000"], words].concat();
    let Value::Array(mut entries) = commands.run(&words).expect(0).json() else { panic!("a list") };
    entries.reverse();
    entries
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

on_both! {
    async fn a_change_at_the_command_line_is_in_the_audit_without_secrets(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let commands = scene.backends.command_line();
        let mail = scene.shop.send_to("defer@example.net").await;
        scene.shop.wait_until(&mail, "deferred").await;
        let before = entries(&commands, &[]).len();
        let password = commands.run(&["account", "create", "--merchant", "tea-co", "--username", "ann", "--json"]).expect(0).json()["password"].clone();
        for words in [
            &["merchant", "update", "tea-co", "--rate", "100/h"][..],
            &["merchant", "suspend", "tea-co"],
            &["merchant", "resume", "tea-co"],
            &["account", "rotate", "--username", "ann"],
            &["account", "remove", "--username", "ann"],
            &["operator", "create", "--name", "bob", "--role", "admin"],
            &["operator", "remove", "--name", "bob"],
            &["queue", "pause", "--lane", "bulk", "--reason", "a wrong list", "--for", "2h"],
            &["queue", "resume", "--lane", "bulk"],
            &["route", "drain", "main"],
            &["route", "undrain", "main"],
            &["mail", "cancel", &mail],
        ] {
            commands.run(words).expect(0);
        }
        let all = entries(&commands, &["--actor", "cli"]);
        let expected = [
            "account.created", "merchant.updated", "merchant.suspended", "merchant.resumed", "account.rotated",
            "account.removed", "operator.created", "operator.removed", "queue.paused", "queue.resumed",
            "route.drained", "route.undrained", "mail.cancelled",
        ];
        assert_eq!(actions(&all)[2..], expected, "after the merchant and its token were created");
        assert!(all.iter().all(|entry| entry["count"] == 1 && entry["from"].is_string()), "{all:#?}");
        let by = &all[0]["actor"];
        assert!(by.as_str().unwrap().starts_with("cli:"), "{by}");
        let pause = all.iter().find(|entry| entry["action"] == "queue.paused").unwrap();
        assert_eq!((&pause["target"], &pause["details"]["reason"]), (&json!("lane:bulk"), &json!("a wrong list")));
        let cancelled = all.last().unwrap();
        assert_eq!((&cancelled["target"], &cancelled["merchant"]), (&json!(mail), &json!("tea-co")));
        let text = serde_json::to_string(&all).unwrap();
        assert!(!text.contains(password.as_str().unwrap()) && !text.contains("example.net"), "{text}");

        // What changes nothing leaves no entry.
        commands.run(&["mail", "cancel", &mail]);
        commands.run(&["queue", "resume", "--lane", "bulk"]).expect(1);
        assert!(commands.run(&["merchant", "resume", "tea-co"]).expect(1).err.contains("`tea-co` is not suspended\n"));
        commands.run(&["merchant", "update", "nobody", "--name", "N"]).expect(1);
        assert_eq!(entries(&commands, &["--actor", "cli"]).len(), all.len());
        assert!(entries(&commands, &[]).len() >= before);
    }

    async fn a_change_by_a_merchants_credential_is_in_the_audit_with_its_request(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let (shop, commands) = (&scene.shop, scene.backends.command_line());
        let mail = shop.send_to("defer@example.net").await;
        shop.wait_until(&mail, "deferred").await;
        shop.post(&format!("/api/v1/mails/{mail}/cancel"), &json!({})).await.expect(200);
        shop.post(&format!("/api/v1/mails/{mail}/cancel"), &json!({})).await.expect(409);
        let endpoint = json!({"url": "https://tea.example/hook?key=secret"});
        let id = shop.post("/webhooks", &endpoint).await.expect(201).json()["data"]["id"].as_str().unwrap().to_owned();
        shop.put(&format!("/webhooks/{id}"), &json!({"enabled": false})).await.expect(200);
        shop.post(&format!("/webhooks/{id}/refresh-secret"), &json!({})).await.expect(200);
        shop.delete(&format!("/webhooks/{id}")).await.expect(200);
        let lines: String = (0..700).map(|number| {
            format!("{}\n", json!({"kind": "members", "id": format!("m{number}"), "brand_id": "tea", "email": "ok@example.net"}))
        }).collect();
        shop.post_text("/api/v1/import", "application/x-ndjson", lines).await.expect(200);
        shop.delete("/api/v1/members/m0").await.expect(204);
        shop.delete("/api/v1/members/m0").await.expect(404);

        let all = entries(&commands, &["--actor", "token", "--merchant", "tea-co"]);
        let expected = [
            "resource.stored", "resource.stored", "mail.cancelled", "webhook.registered", "webhook.changed",
            "webhook.secret_refreshed", "webhook.removed", "resource.imported", "resource.deleted",
        ];
        assert_eq!(actions(&all), expected, "a member that is stored is data");
        let imported = &all[7];
        assert_eq!(imported["count"], 700, "one entry for an import, however many parts it has");
        assert!(all.iter().all(|entry| entry["request_id"].is_string() && entry["from"] == "127.0.0.1" || entry["from"].as_str().unwrap().starts_with("127.")));
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let token = store.tokens(Some(&"tea-co".parse().unwrap())).await.unwrap()[0].id;
        assert!(all.iter().all(|entry| entry["actor"] == format!("token:{token}")), "{all:#?}");
        assert!(!serde_json::to_string(&all).unwrap().contains("secret\""));

        let since = all[7]["at"].as_str().unwrap();
        assert!(entries(&commands, &["--since", since]).len() <= 2);
        assert_eq!(entries(&commands, &["--until", since, "--actor", "token"]).len(), 7);
        assert_eq!(entries(&commands, &["--action", "webhook.changed"]).len(), 1);
        commands.run(&["audit", "list", "--action", "nothing.done"]).expect(2);
        commands.run(&["audit", "list", "--merchant", "nobody"]).expect(1);
    }

    async fn a_change_and_its_entry_are_one_transaction_and_old_entries_go(backends: Backends) {
        let scene = Scene::open(backends).await;
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let mail = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&mail, "failed").await;
        scene.backends.execute("ALTER TABLE audit RENAME TO audit_elsewhere").await;
        let acting = store.acting_for(Author::at_the_command_line("ann", "pts/1"));
        let id = mail.parse().unwrap();
        assert!(acting.move_mail(None, id, MailEvent::Retried).await.is_err());
        scene.backends.execute("ALTER TABLE audit_elsewhere RENAME TO audit").await;
        assert_eq!(store.mail(None, id).await.unwrap().unwrap().state.as_str(), "failed");
        acting.move_mail(None, id, MailEvent::Retried).await.unwrap();
        assert_eq!(store.forget_old_audit(Duration::from_secs(3_600)).await.unwrap(), 0);
        assert!(store.forget_old_audit(Duration::ZERO).await.unwrap() > 0);
    }

    async fn a_sign_in_a_look_at_a_whole_person_and_a_bulk_action_are_in_the_audit(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "admin", None).await;
        ann.post("/logout", &[]).await.expect(303);
        for _ in 0..3 {
            let mail = scene.shop.send_to("defer@example.net").await;
            scene.shop.wait_until(&mail, "deferred").await;
        }
        commands.run(&["recipient", "export", "defer@example.net"]).expect(0);
        commands.run(&["mail", "cancel", "--state", "deferred", "--yes"]).expect(0);

        let signed: Vec<_> = entries(&commands, &["--actor", "operator:ann"]);
        assert_eq!(actions(&signed), ["operator.signed_in", "session.ended"]);
        assert!(signed.iter().all(|entry| entry["from"].as_str().unwrap().starts_with("127.")), "{signed:#?}");
        let of = |action: &str| entries(&commands, &["--action", action]).pop().unwrap();
        let exported = of("recipient.exported");
        assert!(exported["target"].as_str().unwrap().starts_with("sha256:"), "{exported}");
        assert_eq!((&exported["count"], &of("bulk_action.confirmed")["count"]), (&json!(3), &json!(3)));
    }

    async fn nobody_but_its_merchant_is_named_with_a_bulk_of_mails(backends: Backends) {
        let scene = Scene::open(backends).await;
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "coffee-co");
        other.fill_shelves().await;
        other.enrol("ok@example.net").await;
        other.post("/mail", &welcome("ok@example.net")).await.expect(200);
        let all = entries(&scene.backends.command_line(), &["--merchant", "coffee-co"]);
        assert_eq!(actions(&all), ["merchant.created", "token.created", "resource.stored", "resource.stored"]);
    }
}
