//! The sandbox: a merchant or token in test mode runs everything and delivers nothing, whatever relay there is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{Backends, Daemon, Hook, Scene, Shop, eventually, welcome, welcome_all};

/// What becomes of mails to these recipients: the state, and of the last attempt the outcome and the class.
const FATES: [(&str, &str, &str, &str); 7] = [
    ("delivered@sandbox.postroom.test", "sent", "accepted", "accepted"),
    ("deferred@sandbox.postroom.test", "deferred", "transient", "temporary"),
    ("rejected@sandbox.postroom.test", "failed", "permanent", "bad_address"),
    ("bounced@sandbox.postroom.test", "bounced", "accepted", "accepted"),
    ("held@sandbox.postroom.test", "held", "unknown", "connection"),
    ("anybody@sandbox.postroom.test", "sent", "accepted", "accepted"),
    ("ann@example.net", "sent", "accepted", "accepted"),
];

/// Waits until a mail is in a state, by whatever way.
async fn ends(shop: &Shop, mail: &str, state: &str) -> Value {
    let mut story = Value::Null;
    eventually(&format!("{mail} is {state}"), async || {
        story = shop.mail(mail).await;
        story["state"] == state
    })
    .await;
    story
}

on_both! {
    async fn a_recipient_says_what_becomes_of_its_mail_and_no_relay_ever_hears_of_it(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks().with("retry.first", "1h")).await;
        let shop = scene.shop.with(scene.shop.new_test_token());
        let mut hook = Hook::listen().await;
        shop.post("/webhooks", &json!({"url": hook.url, "events": ["*"]})).await.expect(201);
        let connections = scene.sink.connections();
        for (recipient, state, outcome, class) in &FATES {
            let mail = shop.send_to(recipient).await;
            let story = ends(&shop, &mail, state).await;
            assert_eq!(story["test"], true, "{story:#}");
            let [attempt] = story["attempts"].as_array().unwrap().as_slice() else { panic!("{story:#}") };
            assert_eq!(attempt["route"], "sandbox");
            assert_eq!((&attempt["outcome"], &attempt["class"]), (&json!(outcome), &json!(class)), "{recipient}");
        }
        let mut told = BTreeSet::new();
        for _ in 0..FATES.len() + 1 {
            let event = hook.next(&shop).await;
            assert_eq!(event["data"]["test"], true, "{event}");
            let of = |value: &Value| value.as_str().unwrap().to_owned();
            told.insert((of(&event["type"]), of(&event["data"]["recipient"])));
        }
        let expected = [
            ("email.sent", "delivered@sandbox.postroom.test"),
            ("email.deferred", "deferred@sandbox.postroom.test"),
            ("email.failed", "rejected@sandbox.postroom.test"),
            ("email.sent", "bounced@sandbox.postroom.test"),
            ("email.bounced", "bounced@sandbox.postroom.test"),
            ("email.held", "held@sandbox.postroom.test"),
            ("email.sent", "anybody@sandbox.postroom.test"),
            ("email.sent", "ann@example.net"),
        ];
        assert_eq!(told, expected.map(|(kind, recipient)| (kind.to_owned(), recipient.to_owned())).into());
        assert!(scene.sink.mails().is_empty() && scene.sink.connections() == connections);

        // A mail of the same merchant with another token goes to the relay, and is told from the others.
        let live = scene.shop.send_to("ok@example.net").await;
        assert_eq!(scene.shop.wait_until(&live, "sent").await["test"], false);
        assert_eq!(scene.sink.mails().len(), 1);
        let found = shop.get("/api/v1/mails?q=test:true").await.expect(200).json();
        assert_eq!(found["count"]["count"], FATES.len());
        let found = shop.get("/api/v1/mails?q=test:false").await.expect(200).json();
        assert_eq!(found["data"][0]["id"], json!(live));
        let listed = scene.backends.command_line().run(&["mail", "list", "--json"]).expect(0).json();
        let marked = listed.as_array().unwrap().iter().filter(|mail| mail["test"] == true).count();
        assert_eq!(marked, FATES.len());
        assert!(listed.as_array().unwrap().iter().all(|mail| mail["merchant"] == "tea-co"), "{listed:#}");
        let table = scene.backends.command_line().run(&["mail", "list"]).expect(0).out;
        assert_eq!(table.matches("\ttea-co\ttest").count(), FATES.len(), "{table}");
    }

    async fn a_test_mail_is_marked_wherever_it_is_shown_and_can_be_looked_at_whole(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let shop = scene.shop.with(scene.shop.new_test_token());
        let cart = json!({"recovery_link": "https://tea.example/c", "currency": "EUR", "total": "9.00",
            "customer": {"email": "ann@example.net"}});
        shop.put("/api/v1/abandoned-carts/cart_1", &cart).await.expect(201);
        let reminder = json!({"type": "email", "alert_details": {"subject": "Still warm", "message": "Come back"}});
        shop.post("/abandoned-carts/cart_1/reminder", &reminder).await.expect(200);
        let cart = shop.get("/abandoned-carts/cart_1").await.expect(200).json();
        assert_eq!(cart["data"]["reminders"][0]["test"], true, "{cart:#}");

        let order = json!({"currency": "EUR", "totalAmount": "9.00", "endUser": {"email": "ann@example.net"},
            "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED"});
        shop.put("/api/v1/orders/ord_1", &order).await.expect(201);
        let confirmation = json!({"template": "ORDERCONFIRMATION"});
        let sent = shop.post("/ordersv2/ord_1/email/send", &confirmation).await.expect(202);
        assert_eq!((&sent.json()["emails"][0]["test"], &sent.json()["emailConfirmationStatus"]), (&json!(true), &json!("PENDING")));
        let left = shop.get("/ordersv2/ord_1").await.json();
        assert_eq!((&left["emails"][0]["test"], &left["emailConfirmationStatus"]), (&json!(true), &json!("COMPLETED")));
        scene.shop.post("/ordersv2/ord_1/email/send", &confirmation).await.expect(202);

        let mut hook = Hook::listen().await;
        shop.post("/webhooks", &json!({"url": hook.url, "events": ["batch.finished"]})).await.expect(201);
        let users = vec!["ann@example.net".to_owned()];
        shop.enrol_all(&users).await;
        let batch = shop.send_all(&users).await;
        shop.until_batch(&batch, "finished").await;
        let results = shop.results(&batch).await;
        assert_eq!(results["mails"][0]["test"], true, "{results:#}");
        assert_eq!(hook.next(&shop).await["data"]["test"], true);

        let mail = results["mails"][0]["uuid"].as_str().unwrap();
        let commands = scene.backends.command_line();
        let shown = |option: &str| commands.run(&["mail", "show", mail, option]).expect(0).out;
        let (text, html, source) = (shown("--text"), shown("--html"), shown("--source"));
        assert!(!text.contains('<') && html.contains("<p>"), "{text} {html}");
        assert!(source.contains("To: ") && source.contains("Content-Type: multipart/alternative"), "{source}");
        let all = commands.run(&["mail", "show", mail, "--text", "--html", "--source", "--json"]).expect(0).json();
        let of = |part: &str| all[part].as_str().unwrap().replace("\r\n", "\n").trim_end().to_owned();
        assert_eq!([of("text"), of("html"), of("source")], [text, html, source].map(|part| part.trim_end().to_owned()));
        assert_eq!((&all["id"], &all["merchant"]), (&json!(mail), &json!("tea-co")));
        let listed = commands.run(&["batch", "list", "--json"]).expect(0).json();
        assert_eq!((&listed[0]["merchant"], &listed[0]["test"]), (&json!("tea-co"), &json!(true)));
        assert!(commands.run(&["batch", "list"]).expect(0).out.ends_with("\ttea-co\ttest\n"));
        let again = commands.run(&["mail", "replay", mail, "--dry-run"]).expect(0).out;
        assert!(again.lines().any(|line| line.contains(mail) && line.ends_with("  test")), "{again}");
    }

    async fn refusals_of_the_sandbox_suppress_nobody(backends: Backends) {
        let daemon = Daemon::start(&backends).await;
        let commands = backends.command_line();
        commands.run(&["merchant", "create", "try-co", "--name", "Try", "--country", "DE", "--test"]).expect(0);
        let shop = Shop::of(&daemon, &commands, "try-co");
        shop.fill_shelves().await;
        // Two like them from a relay suppress an address.
        for _ in 0..3 {
            ends(&shop, &shop.send_to("rejected@sandbox.postroom.test").await, "failed").await;
        }
        assert_eq!(shop.get("/api/v1/suppressions").await.expect(200).json()["data"], json!([]));
    }

    async fn a_merchant_in_test_mode_needs_no_route(backends: Backends) {
        let daemon = Daemon::start(&backends).await;
        let commands = backends.command_line();
        let words = ["merchant", "create", "try-co", "--name", "Try", "--country", "DE", "--test", "--json"];
        assert_eq!(commands.run(&words).expect(0).json()["test"], true);
        commands.run(&["merchant", "create", "live-co", "--name", "Live", "--country", "DE"]).expect(0);
        let listed = commands.run(&["merchant", "list", "--json"]).expect(0).json();
        let modes: Vec<_> = listed.as_array().unwrap().iter().map(|merchant| merchant["test"].clone()).collect();
        assert_eq!(modes, [json!(false), json!(true)]);
        let shop = Shop::of(&daemon, &commands, "try-co");
        shop.fill_shelves().await;
        let tokens = commands.run(&["token", "list", "--json"]).expect(0).json();
        assert_eq!(tokens[0]["test"], false, "the merchant is in test mode, not the token");

        let users = ["delivered@sandbox.postroom.test", "rejected@sandbox.postroom.test", "ann@example.net"];
        let users = users.map(str::to_owned);
        shop.enrol_all(&users).await;
        let batch = shop.send_batch(&welcome_all(&users)).await;
        let done = shop.until_batch(&batch, "finished").await;
        assert_eq!((&done["test"], &done["counts"]["sent"], &done["counts"]["failed"]), (&json!(true), &json!(2), &json!(1)));

        let order = json!({"currency": "EUR", "totalAmount": "59.90", "endUser": {"email": "ann@example.net"},
            "paymentStatus": "COMPLETED", "emailConfirmationStatus": "FAILED"});
        shop.put("/api/v1/orders/ord_1", &order).await.expect(201);
        shop.post("/ordersv2/ord_1/email/send", &json!({"template": "ORDERCONFIRMATION"})).await.expect(202);
        eventually("the order's mail is sent", async || {
            shop.get("/ordersv2/ord_1").await.expect(200).json()["emailConfirmationStatus"] == "COMPLETED"
        })
        .await;
        shop.enrol("late@example.net").await;
        let mut late = welcome("late@example.net");
        late["send_at"] = json!("2020-01-01T00:00:00Z");
        shop.post("/mail", &late).await.expect(200);
    }
}
