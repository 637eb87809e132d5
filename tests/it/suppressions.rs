//! Suppressions as merchants and operators keep them, and what comes of them: mails that are recorded, that wait, and that
//! relays refuse.

use serde_json::{Value, json};

use super::support::{
    Backends, Credential, Hook, Operator, Scene, addresses, eventually, send, welcome, welcome_all,
};

async fn suppress(scene: &Scene, address: &str, suppression: &Value) {
    let answer = scene.shop.put(&format!("/api/v1/suppressions/{address}"), suppression).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// The suppressions of a page, by their addresses.
fn listed(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|each| each["address"].as_str().unwrap()).collect()
}

/// The newest mail to this address.
async fn newest(scene: &Scene, address: &str) -> Value {
    let found =
        scene.shop.get(&format!("/api/v1/mails?recipient={address}&limit=1000")).await.expect(200).json();
    let mails = found["data"].as_array().unwrap();
    mails.iter().max_by_key(|mail| mail["id"].as_str().unwrap()).cloned().unwrap_or_default()
}

on_both! {
    async fn an_address_is_one_in_any_case_and_form_and_another_one_with_a_plus(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = &scene.shop;
        let made = shop.put("/api/v1/suppressions/J.Doe@B%C3%BCcher.Example", &json!({"note": "by telephone"})).await.expect(201).json();
        assert_eq!(
            (&made["address"], &made["reason"], &made["scope"], &made["note"], &made["expires_at"]),
            (&json!("j.doe@xn--bcher-kva.example"), &json!("manual"), &json!("all"), &json!("by telephone"), &Value::Null)
        );
        for same in ["j.doe@xn--bcher-kva.example", "J.DOE@XN--BCHER-KVA.EXAMPLE", "j.Doe@b%C3%BCcher.example"] {
            assert_eq!(shop.get(&format!("/api/v1/suppressions/{same}")).await.expect(200).json(), made);
        }
        shop.get("/api/v1/suppressions/j.doe+tea@xn--bcher-kva.example").await.expect(404);
        shop.get("/api/v1/suppressions/nobody").await.expect(404);

        let put_back = shop.put("/api/v1/suppressions/j.doe@xn--bcher-kva.example", &made).await.expect(200).json();
        assert_eq!(put_back, made, "what was shown can be put back");
        let narrower = shop.put("/api/v1/suppressions/j.doe@xn--bcher-kva.example", &json!({"scope": "promotional"})).await.expect(200).json();
        assert_eq!((&narrower["scope"], &narrower["note"]), (&json!("promotional"), &Value::Null));
        shop.delete("/api/v1/suppressions/J.doe@xn--bcher-kva.example").await.expect(204);
        shop.delete("/api/v1/suppressions/j.doe@xn--bcher-kva.example").await.expect(404);
        shop.get("/api/v1/suppressions/j.doe@xn--bcher-kva.example").await.expect(404);

        for (address, body, path) in [
            ("nobody", json!({}), "address"),
            ("a@example.net", json!({"reason": "tired"}), "reason"),
            ("a@example.net", json!({"scope": "some"}), "scope"),
            ("a@example.net", json!({"note": "a\nb"}), "note"),
            ("a@example.net", json!({"expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
            ("a@example.net", json!({"expires_at": "soon"}), "expires_at"),
            ("a@example.net", json!({"until": "soon"}), "until"),
            ("a@example.net", json!({"address": "b@example.net"}), "address"),
        ] {
            let refusal = shop.put(&format!("/api/v1/suppressions/{address}"), &body).await.expect(422);
            assert_eq!(refusal.faulty_fields(), [path], "{body}");
            assert_eq!(refusal.header("content-type"), Some("application/problem+json"));
        }
        let audit = scene.backends.command_line().run(&["audit", "list", "--json"]).expect(0).out;
        assert!(audit.contains("suppression.stored") && audit.contains("suppression.removed"), "{audit}");
        assert!(!audit.contains("j.doe@"), "the audit names nobody: {audit}");
    }

    async fn a_list_is_read_by_reason_page_by_page_and_as_csv(backends: Backends) {
        let scene = Scene::open(backends).await;
        let lines: Vec<_> = (0..5)
            .map(|number| json!({"kind": "suppressions", "id": format!("U-{number}@example.net"), "reason": "unsubscribed"}))
            .chain([
                json!({"kind": "suppressions", "address": "c@example.net", "reason": "complaint", "note": "said \"no\", twice"}),
                json!({"kind": "suppressions", "id": "nobody"}),
                json!({"kind": "suppressions", "id": "u-1@example.net", "reason": "hard_bounce", "scope": "all"}),
            ])
            .map(|line| line.to_string())
            .collect();
        let answer = scene.shop.post_text("/api/v1/import", "application/x-ndjson", lines.join("\n")).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(7), &json!(1)));
        assert_eq!((&answer["errors"][0]["line"], &answer["errors"][0]["path"]), (&json!(7), &json!("id")));

        let all = scene.shop.get("/api/v1/suppressions").await.expect(200).json();
        let expected = ["c@example.net", "u-0@example.net", "u-1@example.net", "u-2@example.net", "u-3@example.net", "u-4@example.net"];
        assert_eq!((listed(&all), &all["has_more"]), (expected.to_vec(), &json!(false)));
        assert_eq!(all["data"][2]["reason"], "hard_bounce", "the one that stops most is shown");
        let by_reason = scene.shop.get("/api/v1/suppressions?reason=unsubscribed").await.expect(200).json();
        assert_eq!(listed(&by_reason), expected[1..], "what is beneath is found by its reason");
        let page = scene.shop.get("/api/v1/suppressions?limit=2&after=U-0@example.net").await.expect(200).json();
        assert_eq!((listed(&page), &page["has_more"]), (expected[2..4].to_vec(), &json!(true)));
        for wrong in ["limit=0", "limit=1001", "reason=tired", "after=nobody"] {
            scene.shop.get(&format!("/api/v1/suppressions?{wrong}")).await.expect(422);
        }

        let request = scene.shop.request(reqwest::Method::GET, "/api/v1/suppressions").header("accept", "text/csv");
        let csv = send(request).await.expect(200);
        assert!(csv.header("content-type").unwrap().starts_with("text/csv"));
        let lines: Vec<_> = csv.body.lines().collect();
        assert_eq!(lines[0], "address,reason,scope,note,expires_at,created_at");
        assert!(lines[1].starts_with("c@example.net,complaint,all,\"said \"\"no\"\", twice\",,20"), "{csv:?}");
        assert_eq!(lines.len(), 8, "a copy has everything: {csv:?}");

        // What one installation exports, another imports.
        let commands = scene.backends.command_line();
        let file = scene.backends.folder().join("suppressions.csv");
        let exported = commands.run(&["suppression", "export", "--merchant", "tea-co"]).expect(0).out;
        assert_eq!(exported.replace("\r\n", "\n").trim_end(), csv.body.replace("\r\n", "\n").trim_end());
        commands.run(&["merchant", "create", "oak-co", "--name", "Oak", "--country", "DE"]).expect(0);
        std::fs::write(&file, &csv.body).unwrap();
        commands.run(&["suppression", "import", "--merchant", "oak-co", file.to_str().unwrap()]).expect(0);
        assert_eq!(commands.run(&["suppression", "export", "--merchant", "oak-co"]).expect(0).out, exported);
    }

    async fn a_suppressed_recipient_gets_no_mail_and_each_family_says_so_in_its_own_way(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        let endpoint = json!({"url": hook.url, "events": ["email.suppressed", "order.email.failed"]});
        scene.shop.post("/webhooks", &endpoint).await.expect(201);
        let address = "ok@example.net";
        scene.shop.enrol(address).await;
        suppress(&scene, "OK@example.net", &json!({"reason": "complaint"})).await;

        let refusal = scene.shop.post_once("/mail", "first", &welcome(address)).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["user.identifier"]);
        let again = scene.shop.post_once("/mail", "first", &welcome(address)).await.expect(422);
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &refusal.body));
        let mail = newest(&scene, address).await;
        assert_eq!(mail["state"], "suppressed", "{mail}");
        let event = hook.next(&scene.shop).await;
        assert_eq!((&event["type"], &event["data"]["id"]), (&json!("email.suppressed"), &mail["id"]));

        let cart = json!({"recovery_link": "https://tea.example/r", "currency": "EUR", "total": "9.90", "customer": {"email": address}});
        scene.shop.put("/api/v1/abandoned-carts/c1", &cart).await.expect(201);
        let reminder = json!({"type": "email", "alert_details": {"subject": "Tea", "message": "It waits."}});
        let refusal = scene.shop.post("/abandoned-carts/c1/reminder", &reminder).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["customer.email"]);
        assert_eq!(refusal.json()["status"], "error");
        assert_eq!(hook.next(&scene.shop).await["type"], "email.suppressed");

        let link = json!({"state": "waiting_for_payment", "cart_link": "https://tea.example/c", "shopper": {"email": address}});
        scene.shop.put("/api/v1/subscriptions/s1", &link).await.expect(201);
        scene.shop.post_text("/api/public/v1/subscriptions/s1/send_email", "text/plain", "").await.expect(202);
        assert_eq!(hook.next(&scene.shop).await["data"]["subscription"], "s1");

        let order = json!({"currency": "EUR", "totalAmount": "9.90", "endUser": {"email": address}, "paymentStatus": "COMPLETED",
            "emailConfirmationStatus": "COMPLETED"});
        scene.shop.put("/api/v1/orders/o1", &order).await.expect(201);
        scene.shop.post("/ordersv2/o1/email/send", &json!({"template": "ORDERCONFIRMATION"})).await.expect(202);
        let order = scene.shop.get("/ordersv2/o1").await.expect(200).json();
        assert_eq!((&order["emailConfirmationStatus"], &order["emails"][0]["status"]), (&json!("FAILED"), &json!("suppressed")));
        let kinds = [hook.next(&scene.shop).await, hook.next(&scene.shop).await].map(|event| event["type"].clone());
        assert!(kinds.contains(&json!("email.suppressed")) && kinds.contains(&json!("order.email.failed")), "{kinds:?}");
        assert_eq!(scene.caught(address), 0);
    }

    async fn a_batch_goes_on_without_its_suppressed_members(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        let members = addresses("ok", 4);
        scene.shop.enrol_all(&members).await;
        suppress(&scene, &members[1], &json!({"scope": "promotional"})).await;
        suppress(&scene, &members[2], &json!({"scope": "all"})).await;
        let told = scene.shop.post("/api/v1/batches/preflight", &welcome_all(&members)).await.expect(200).json();
        assert_eq!((&told["recipients"], &told["suppressed"]), (&json!(4), &json!(2)), "{told}");
        let mut body = welcome_all(&members);
        body["webhook_url"] = json!(hook.url);
        let batch = scene.shop.send_batch(&body).await;
        let told = hook.next(&scene.shop).await;
        assert!(told["link"].as_str().is_some() || told["data"]["link"].as_str().is_some(), "{told}");
        let counts = scene.shop.get(&format!("/api/v1/batches/{batch}")).await.expect(200).json();
        assert_eq!((&counts["state"], &counts["counts"]["sent"], &counts["counts"]["suppressed"]), (&json!("finished"), &json!(2), &json!(2)), "{counts}");
        let results = scene.shop.get(&format!("/webhooks/mails/{batch}")).await.expect(200).json();
        let states: Vec<_> = results["data"]["mails"].as_array().unwrap().iter().map(|mail| mail["mailing_status"].as_str().unwrap()).collect();
        assert_eq!(states.iter().filter(|state| **state == "suppressed").count(), 2, "{states:?}");
        assert_eq!([0, 1, 2, 3].map(|at| scene.caught(&members[at])), [1, 0, 0, 1]);
    }

    async fn a_waiting_mail_is_kept_back_when_its_recipient_is_suppressed_meanwhile(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks().with("retry.first", "1s")).await;
        let mut hook = Hook::listen().await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.suppressed"]})).await.expect(201);
        let id = scene.shop.send_to("defer@example.net").await;
        scene.shop.wait_until(&id, "deferred").await;
        suppress(&scene, "defer@example.net", &json!({})).await;
        let mail = scene.shop.wait_until(&id, "suppressed").await;
        let attempts = mail["attempts"].as_array().unwrap();
        assert!(attempts.iter().all(|attempt| attempt["class"] == "temporary"), "{mail:#}");
        assert!(mail["error"].as_str().unwrap().contains("suppressed: manual"), "{mail:#}");
        assert_eq!(hook.next(&scene.shop).await["data"]["id"], json!(id));
    }

    async fn a_second_bad_address_suppresses_and_a_success_takes_that_back(backends: Backends) {
        let scene = Scene::open(backends).await;
        let address = "reject@example.net";
        for is_suppressed in [false, true] {
            let id = scene.shop.send_to(address).await;
            assert_eq!(scene.shop.wait_until(&id, "failed").await["attempts"][0]["class"], "bad_address");
            let status = scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.status;
            assert_eq!(status, if is_suppressed { 200 } else { 404 });
        }
        let made = scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(200).json();
        assert_eq!((&made["reason"], &made["scope"]), (&json!("hard_bounce"), &json!("all")));
        let days = |field: &str| made[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second() / 86_400;
        assert_eq!(days("expires_at") - days("created_at"), 180);
        scene.shop.post("/mail", &welcome(address)).await.expect(422);

        // Removed by hand, it counts anew.
        scene.shop.delete(&format!("/api/v1/suppressions/{address}")).await.expect(204);
        let id = scene.shop.send_to(address).await;
        scene.shop.wait_until(&id, "failed").await;
        scene.shop.get(&format!("/api/v1/suppressions/{address}")).await.expect(404);
    }

    async fn operators_add_find_and_remove_them_and_viewers_see_no_addresses(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "operator", None).await;
        let bob = Operator::sign_in(&scene.daemon, &commands, "bob", "viewer", Some("tea-co")).await;
        let fields = [("merchant", "tea-co"), ("address", "Kim@example.net"), ("scope", "all"), ("reason", "complaint"), ("note", "<script>")];
        ann.post("/suppressions/add", &fields).await.expect(303);
        bob.post("/suppressions/add", &fields).await.expect(403);
        ann.post_as_it_is("/suppressions/add", &fields).await.expect(403);
        let wrong = [("merchant", "tea-co"), ("address", "nobody"), ("scope", "all"), ("reason", "manual")];
        ann.post("/suppressions/add", &wrong).await.expect(400);

        let page = ann.page("/suppressions").await;
        assert!(page.contains("kim@example.net") && page.contains("&lt;script&gt;") && page.contains("no mail"), "{page}");
        assert!(page.contains("<a href=\"/suppressions\""), "{page}");
        let found = ann.page("/suppressions?merchant=tea-co&address=KIM%40example.net").await;
        assert!(found.contains("<th scope=\"row\" class=\"words\">kim@example.net"), "{found}");
        assert!(ann.page("/suppressions?merchant=tea-co&address=jim%40example.net").await.contains("This address gets mails"));
        let seen = bob.page("/suppressions").await;
        assert!(seen.contains("k••@example.net") && !seen.contains("kim@") && !seen.contains("/suppressions/remove"), "{seen}");
        bob.get("/suppressions?merchant=oak-co").await.expect(404);

        let id = page.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let row = [("merchant", "tea-co"), ("id", id.as_str())];
        bob.post("/suppressions/remove", &row).await.expect(403);
        ann.post("/suppressions/remove", &row).await.expect(303);
        scene.shop.get("/api/v1/suppressions/kim@example.net").await.expect(404);
        let audit = ann.page("/audit?action=suppression.removed").await;
        assert!(audit.contains("operator:ann") && !audit.contains("kim@"), "{audit}");
    }

    async fn a_bulk_action_suppresses_the_recipients_of_the_mails_that_it_finds(backends: Backends) {
        let scene = Scene::open(backends).await;
        for number in 0..3 {
            let id = scene.shop.send_to(&format!("reject-{number}@example.net")).await;
            scene.shop.wait_until(&id, "failed").await;
        }
        suppress(&scene, "reject-0@example.net", &json!({})).await;
        let ok = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&ok, "sent").await;
        let draft = json!({"kind": "suppress", "q": "state:failed"});
        let narrow = scene.shop.with(Credential::Bearer(scene.shop.new_token("mails.manage,mails.read")));
        narrow.post("/api/v1/actions", &draft).await.expect(403);
        let action = scene.shop.post("/api/v1/actions", &draft).await.expect(201).json();
        let path = format!("/api/v1/actions/{}", action["id"].as_str().unwrap());
        scene.shop.post(&format!("{path}/confirm"), &json!({})).await.expect(200);
        eventually("it is done", async || scene.shop.get(&path).await.json()["state"] == "done").await;
        let done = scene.shop.get(&path).await.json();
        assert_eq!((&done["done"], &done["skipped"]), (&json!(2), &json!(1)), "{done}");
        let page = scene.shop.get("/api/v1/suppressions").await.expect(200).json();
        assert_eq!(listed(&page), ["reject-0@example.net", "reject-1@example.net", "reject-2@example.net"]);

        let commands = scene.backends.command_line();
        commands.run(&["mail", "suppress", "to:ok@example.net", "--yes"]).expect(0);
        eventually("the command's is done", async || scene.shop.get("/api/v1/suppressions/ok@example.net").await.status == 200).await;
    }
}

#[test]
fn the_command_line_adds_lists_and_removes() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    commands.run(&["merchant", "create", "tea-co", "--name", "Tea", "--country", "DE"]).expect(0);
    let command =
        |words: &[&str]| commands.run(&[&["suppression"], words, &["--merchant", "tea-co"]].concat());
    let added =
        command(&["add", "Ann@Example.net", "--reason", "unsubscribed", "--expires", "30d", "--json"])
            .expect(0)
            .json();
    assert_eq!((&added["address"], &added["scope"]), (&json!("ann@example.net"), &json!("promotional")));
    command(&["add", "bob@example.net", "--note", "by telephone"]).expect(0);
    let listed = command(&["list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert!(
        command(&["list", "--reason", "manual"]).expect(0).out.starts_with("bob@example.net\tmanual\tall\t")
    );
    command(&["remove", "ANN@example.net"]).expect(0);
    command(&["remove", "ann@example.net"]).expect(1);
    for wrong in [
        &["add", "nobody"][..],
        &["add", "a@example.net", "--expires", "2001-01-01T00:00:00Z"],
        &["list", "--reason", "tired"],
    ] {
        command(wrong).expect(2);
    }
    let file = backends.folder().join("list.txt");
    std::fs::write(&file, "a@example.net\r\nnobody\nb@example.net,complaint\n").unwrap();
    let said = command(&["import", file.to_str().unwrap()]).expect(1);
    assert!(
        said.out.contains("accepted 2, refused 1") && said.err.contains("list.txt:2: address:"),
        "{said:?}"
    );
    assert_eq!(command(&["export"]).expect(0).out.lines().count(), 4);
    commands.run(&["suppression", "list", "--merchant", "nobody"]).expect(1);
}
