//! The dashboard's pages: what they show of an installation that has something to show, and what may be done there.

use serde_json::json;

use super::support::{Backends, Operator, Scene, addresses, eventually, template};

/// Stored wherever a merchant, a shopper or a relay may write.
const SCRIPT: &str = "<script>alert(1)</script>";

on_both! {
    async fn a_mail_is_found_read_and_tried_again(backends: Backends) {
        let scene = Scene::open(backends).await;
        let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "operator", None).await;
        let id = scene.shop.send_to("reject@example.net").await;
        scene.shop.wait_until(&id, "failed").await;

        let found = ann.page("/mails?q=to%3AREJECT%40Example.NET").await;
        assert!(found.contains(&format!("/mails/{id}")) && found.contains("1 mail"), "{found}");
        assert!(found.contains("aria-label=\"Remove to:REJECT@Example.NET\""), "{found}");
        let page = ann.page(&format!("/mails/{id}")).await;
        for part in ["Recorded", "Attempt 1 over main: permanent", "Settled: failed", "Transcript", "Try again now"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let content = ann.page(&format!("/mails/{id}/content")).await;
        assert!(content.contains("<iframe sandbox"), "{content}");
        let source = ann.page(&format!("/mails/{id}/content?view=source")).await;
        assert!(source.contains("Message-ID: &lt;") && source.contains("Welcome, Ann"), "{source}");
        let dead = ann.page("/dead-letters").await;
        assert!(dead.contains("example.net (1)"), "{dead}");

        let tried = ann.post(&format!("/mails/{id}/retry"), &[]).await.expect(303);
        assert_eq!(tried.header("location"), Some(format!("/mails/{id}").as_str()));
        eventually("there is another attempt", async || {
            ann.page(&format!("/mails/{id}")).await.contains("Attempt 2 over main")
        })
        .await;
        let audit = ann.page("/audit?action=mail.retried").await;
        assert!(audit.contains(&id) && audit.contains("operator:ann") && audit.contains("127."), "{audit}");
    }

    async fn a_paused_lane_keeps_its_mails_and_says_so_everywhere(backends: Backends) {
        let scene = Scene::open(backends).await;
        let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "operator", None).await;
        let lane = [("kind", "lane"), ("name", "transactional")];
        ann.post("/queue/pause", &[lane[0], lane[1], ("reason", "blocklisted"), ("for", "2h")]).await.expect(303);
        ann.post("/queue/pause", &[lane[0], lane[1], ("for", "soon")]).await.expect(400);
        ann.post("/queue/pause", &[lane[0], lane[1], ("for", "0s")]).await.expect(400);
        ann.post("/queue/pause", &[("kind", "lane"), ("name", "nothing")]).await.expect(400);
        ann.post("/queue/pause", &[("kind", "merchant"), ("name", "nothing")]).await.expect(404);
        eventually("the process knows", async || ann.page("/").await.contains("lane transactional is paused")).await;
        // What was fetched before the pause was read may still go.
        let mut id = scene.shop.send_to("ok@example.net").await;
        eventually("a mail waits", async || {
            if ann.page(&format!("/mails/{id}")).await.contains("Somebody paused it") {
                return true;
            }
            if scene.shop.mail(&id).await["state"] == "sent" {
                id = scene.shop.send_to("ok@example.net").await;
            }
            false
        })
        .await;
        assert!(ann.page("/").await.contains("by operator:ann"));
        assert!(ann.page("/queue").await.contains("blocklisted"));
        ann.post("/queue/resume", &lane).await.expect(303);
        scene.shop.wait_until(&id, "sent").await;
    }

    async fn a_shop_whose_requests_are_refused_is_seen_at_once(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "viewer", None).await;
        let own = Operator::sign_in(&scene.daemon, &commands, "bea", "viewer", Some("tea-co")).await;
        for _ in 0..12 {
            let unknown = json!({"template": "nothing", "users": [{"email": "ok@example.net"}]});
            scene.shop.post("/mail", &unknown).await.expect(422);
        }
        let told = "12 requests of tea-co were refused in the last hour, most of them with 422";
        for operator in [&ann, &own] {
            eventually("the overview says it", async || operator.page("/").await.contains(told)).await;
            let page = operator.page("/merchants/tea-co").await;
            assert!(page.contains("Refused requests, last hour") && page.contains(", POST /mail<"), "{page}");
        }
    }

    async fn a_batch_whose_mails_cannot_be_made_is_seen_at_once(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "viewer", None).await;
        let mut lacking = template();
        lacking["html"] = json!("<p>{{coupon_code}}</p>");
        scene.shop.put("/api/v1/templates/welcome", &lacking).await.expect(200);
        let members = addresses("ok", 20);
        scene.shop.enrol_all(&members).await;
        let batch = scene.shop.send_all(&members).await;
        scene.shop.until_batch(&batch, "finished").await;
        let told = "The template welcome of tea-co makes mails that fail: 20 mails in the last hour; the template needs a value \
                    for coupon_code.";
        eventually("the overview says it", async || ann.page("/").await.contains(told)).await;
        let found = ann.page("/mails?q=merchant%3Atea-co+state%3Afailed+class%3Amessage_fault").await;
        assert!(found.contains("20 mails"), "{found}");
        let settled = "postroom_mails_settled_total{lane=\"bulk\",state=\"failed\"} 20\n";
        assert!(scene.daemon.admin("/metrics").await.body.contains(settled));
    }

    async fn a_batch_is_followed_and_cancelled(backends: Backends) {
        let scene = Scene::open(backends).await;
        let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "operator", None).await;
        ann.post("/queue/pause", &[("kind", "lane"), ("name", "bulk")]).await.expect(303);
        let known = "what is paused has changed";
        eventually("the worker knows", async || scene.daemon.log_text().contains(known)).await;
        let members = addresses("ok", 20);
        scene.shop.enrol_all(&members).await;
        let id = scene.shop.send_all(&members).await;
        let list = ann.page("/batches").await;
        assert!(list.contains(&format!("/batches/{id}")), "{list}");
        let page = ann.page(&format!("/batches/{id}")).await;
        assert!(page.contains("of 20") && page.contains("Cancel the batch"), "{page}");
        ann.post(&format!("/batches/{id}/pause"), &[]).await.expect(303);
        assert!(ann.page(&format!("/batches/{id}")).await.contains("It is paused"));
        ann.post(&format!("/batches/{id}/cancel"), &[]).await.expect(303);
        let again = ann.post(&format!("/batches/{id}/cancel"), &[]).await.expect(303);
        assert!(again.header("set-cookie").unwrap().starts_with("postroom_said="));
        assert!(ann.page(&format!("/batches/{id}")).await.contains("cancelled"));
        ann.post(&format!("/batches/{id}/nothing"), &[]).await.expect(404);
    }

    async fn dead_letters_are_tried_again_as_one_action(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "operator", None).await;
        let bob = Operator::sign_in(&scene.daemon, &commands, "bob", "operator", None).await;
        for number in 0..3 {
            let id = scene.shop.send_to(&format!("reject-{number}@example.net")).await;
            scene.shop.wait_until(&id, "failed").await;
        }
        assert!(ann.page("/mails?q=state%3Afailed").await.contains("<option>retry</option>"));
        ann.post("/actions", &[("kind", "retry"), ("q", "")]).await.expect(400);
        ann.post("/actions", &[("kind", "explode"), ("q", "state:failed")]).await.expect(400);
        let drafted = ann.post("/actions", &[("kind", "retry"), ("q", "state:failed")]).await.expect(303);
        let page = drafted.header("location").unwrap().to_owned();
        let shown = ann.page(&page).await;
        assert!(shown.contains("<strong>3 mails.</strong>") && shown.contains("reject-0@example.net"), "{shown}");
        bob.post(&format!("{page}/confirm"), &[]).await.expect(303);
        assert!(ann.page(&page).await.contains("draft"), "only who drafted it may confirm it");
        ann.post(&format!("{page}/confirm"), &[]).await.expect(303);
        eventually("it is done", async || ann.page(&page).await.contains("3 done, 0 skipped, of 3 mails.")).await;
        ann.post(&format!("{page}/stop"), &[]).await.expect(303);
        assert!(ann.page("/actions").await.contains("3 of 3"));
    }

    async fn a_template_is_shown_with_its_versions(backends: Backends) {
        let scene = Scene::open(backends).await;
        let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "viewer", None).await;
        let template = json!({"brand_id": "tea", "title": "Welcome", "subject": "Hello, {{first_name}}",
            "html": "<p>Dear {{full_name}}, welcome to {{brand_name}}.</p>"});
        scene.shop.put("/api/v1/templates/welcome", &template).await.expect(200);
        let list = ann.page("/templates").await;
        assert!(list.contains("/templates/tea-co/welcome") && list.contains("order_confirmation"), "{list}");
        let page = ann.page("/templates/tea-co/welcome").await;
        assert!(page.contains("− Subject: Welcome, {{first_name}}"), "{page}");
        assert!(page.contains("+ Subject: Hello, {{first_name}}"), "{page}");
        let preview = ann.get("/templates/tea-co/welcome/preview").await.expect(200);
        assert!(preview.body.contains("Dear full name, welcome to brand name."), "{preview:?}");
        assert!(preview.header("content-security-policy").unwrap().starts_with("sandbox;"));
        ann.get("/templates/tea-co/nothing").await.expect(404);
        ann.get("/templates/ink-co/welcome").await.expect(404);
    }

    async fn a_version_is_restored_and_the_built_in_mails_are_shown(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "operator", None).await;
        let vic = Operator::sign_in(&scene.daemon, &commands, "vic", "viewer", None).await;
        let template = json!({"brand_id": "tea", "title": "Welcome", "subject": "Other words", "html": "<p>Other</p>"});
        scene.shop.put("/api/v1/templates/welcome", &template).await.expect(200);
        let versions = scene.shop.get("/api/v1/templates/welcome/versions").await.expect(200).json();
        let older = versions["data"][1]["id"].as_str().unwrap().to_owned();
        let page = ann.page("/templates/tea-co/welcome").await;
        assert!(page.contains("Restore") && page.contains(&older), "{page}");
        assert!(!vic.page("/templates/tea-co/welcome").await.contains("/restore"));
        let path = "/templates/tea-co/welcome/restore";
        vic.post(path, &[("version", &older)]).await.expect(403);
        ann.post(path, &[("version", &older)]).await.expect(303);
        let now = scene.shop.get("/api/v1/templates/welcome").await.expect(200).json();
        assert_eq!(now["subject"], versions["data"][1]["subject"]);
        let gallery = vic.page("/builtin-mails?language=pt-BR").await;
        assert!(gallery.contains("/builtin-mails/order_confirmation/preview?language=pt-BR"), "{gallery}");
        let mail = vic.get("/builtin-mails/order_confirmation/preview?language=pt-BR").await.expect(200);
        assert!(mail.body.contains("Pedido 1001"), "{mail:?}");
        vic.get("/builtin-mails/nothing/preview").await.expect(404);
    }

    async fn stored_script_runs_on_no_page(backends: Backends) {
        let scene = Scene::open(backends).await;
        let (shop, commands) = (&scene.shop, scene.backends.command_line());
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "admin", None).await;
        let name = format!("Tea {SCRIPT}");
        let template = json!({"brand_id": "tea", "title": name, "subject": format!("Hi {{{{first_name}}}} {SCRIPT}"),
            "html": format!("<p onclick=\"alert(1)\">{{{{first_name}}}}</p>{SCRIPT}<img src=\"https://evil.example/x\">\
                <form action=\"https://evil.example\"><input></form><meta http-equiv=\"refresh\" content=\"0;url=https://evil.example\">")});
        shop.put("/api/v1/templates/odd", &template).await;
        let member = json!({"brand_id": "tea", "email": "ok@example.net", "first_name": SCRIPT, "last_name": SCRIPT});
        shop.put("/api/v1/members/ok@example.net", &member).await;
        let order = json!({"currency": "EUR", "totalAmount": "59.90", "paymentStatus": "PENDING",
            "endUser": {"email": "ok@example.net", "firstName": SCRIPT, "lastName": SCRIPT}});
        let order_id = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
        shop.put(&format!("/api/v1/orders/{order_id}"), &order).await;
        let body = json!({"template": "OFFLINE_PAYMENT_PENDING", "reason": SCRIPT});
        shop.post(&format!("/ordersv2/{order_id}/email/send"), &body).await;
        let id = shop.send_to("ok@example.net").await;
        shop.wait_until(&id, "sent").await;
        scene.backends.execute("UPDATE merchants SET name = '<script>alert(1)</script>'").await;
        scene.backends.execute(
            "UPDATE mails SET state = 'failed', error = '550 <script>alert(1)</script>', route = '<script>alert(1)</script>',
                provider_id = '<script>alert(1)</script>', template = '<script>alert(1)</script>',
                member_id = '<script>alert(1)</script>'",
        ).await;
        scene.backends.execute("UPDATE attempts SET reply = '<script>alert(1)</script>', transcript = '<script>alert(1)</script>'").await;
        let refused = ann.post("/queue/pause", &[("kind", "route"), ("name", SCRIPT)]).await.expect(404);
        assert!(!refused.body.contains("<script>"), "{refused:?}");
        ann.post("/queue/pause", &[("kind", "domain"), ("name", "nobody.example"), ("reason", SCRIPT)]).await.expect(303);
        scene.backends.execute("UPDATE pauses SET scope = 'route', name = '<script>alert(1)</script>'").await;
        let merchant = &shop.merchant;
        for path in [
            "/".to_owned(), "/mails".to_owned(), format!("/mails/{id}"), format!("/mails/{id}/content"),
            format!("/mails/{id}/content?view=source"), "/dead-letters".to_owned(), "/queue".to_owned(),
            "/merchants".to_owned(), format!("/merchants/{merchant}"), "/audit".to_owned(), "/callbacks".to_owned(),
            "/mails?q=%22%3Cscript%3Ealert(1)%3C%2Fscript%3E%22".to_owned(), format!("/orders/{order_id}"),
            "/templates".to_owned(), format!("/templates/{merchant}/odd"), "/actions".to_owned(),
        ] {
            let page = ann.get(&path).await;
            assert!(matches!(page.status, 200 | 404), "{path}: {page:?}");
            assert!(!page.body.contains("<script>"), "{path}: {}", page.body);
        }
        let preview = ann.get(&format!("/mails/{id}/preview")).await.expect(200);
        let policy = preview.header("content-security-policy").unwrap();
        assert!(policy.starts_with("sandbox; default-src 'none';") && !policy.contains("allow-"), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_drained_and_a_merchant_suspended_where_one_looks() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    assert!(ann.page("/").await.contains("All is well"));
    ann.post("/routes/drain", &[("name", "main")]).await.expect(303);
    ann.post("/routes/drain", &[("name", "nothing")]).await.expect(404);
    assert!(ann.page("/routes").await.contains("drained"));
    assert!(ann.page("/").await.contains("Every route is drained"));
    ann.post("/routes/undrain", &[("name", "main")]).await.expect(303);
    let merchant = format!("/merchants/{}", scene.shop.merchant);
    ann.post("/merchants/nothing/suspend", &[]).await.expect(404);
    ann.post(&format!("{merchant}/suspend"), &[]).await.expect(303);
    assert!(ann.page(&merchant).await.contains("suspended"));
    ann.post(&format!("{merchant}/resume"), &[]).await.expect(303);
    ann.post(&format!("{merchant}/rate"), &[("rate", "3000/h burst 100")]).await.expect(303);
    ann.post(&format!("{merchant}/rate"), &[("rate", "fast")]).await.expect(400);
    assert!(ann.page(&merchant).await.contains("3000/h burst 100"));
    assert!(ann.page("/workers").await.contains("this process"));
    let audit = ann.page("/audit").await;
    for action in
        ["route.drained", "route.undrained", "merchant.suspended", "merchant.resumed", "merchant.updated"]
    {
        assert!(audit.contains(&format!("<td>{action}</td>")), "{action}: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_charts_show_what_was_sent() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "viewer", None).await;
    let id = scene.shop.send_to("ok@example.net").await;
    scene.shop.wait_until(&id, "sent").await;
    let sum = "SELECT what, CAST(SUM(number) AS BIGINT) FROM activity GROUP BY what";
    eventually("it is counted", async || {
        let tally = scene.backends.tally(sum).await;
        tally.get("settled") == Some(&1)
            && tally.get("recorded") == Some(&1)
            && tally.get("attempt") == Some(&1)
    })
    .await;
    let page = ann.page("/").await;
    assert!(page.contains("1 mail sent in the last hour") && page.contains("<rect class=\"good\""), "{page}");
}
