//! The dashboard in a browser: used as people do, judged by axe, and shown what others wrote.

use std::{fs, net::TcpListener, path::Path};

use postroom::mail::MailId;
use serde_json::{Value, json};

use super::support::{Backends, Operator, Scene, addresses, brand, in_browser, own_address, tools};

/// Dead letters that are put into the database: so many that an action takes longer than a click.
const PLANTED: usize = 40_000;

on_both! {
    async fn people_find_read_act_and_are_refused_with_scripts_and_without(backends: Backends) {
        let scene = Scene::open(backends).await;
        let (ann, _) = people(&scene).await;
        let (id, order) = an_order_that_is_refused(&scene).await;
        for lane in ["transactional", "bulk"] {
            scene.backends.command_line().run(&["queue", "pause", "--lane", lane, "--reason", "a test"]).expect(0);
        }
        // What was fetched before the pause was known is at least not over.
        let members = addresses("slow+600000", 30);
        scene.shop.enrol_all(&members).await;
        let batches = [scene.shop.send_all(&members).await, scene.shop.send_all(&members).await];
        plant(&scene, &id, PLANTED, "old.example").await;
        let known = json!({"base": scene.daemon.admin_url(), "ann": ann, "tom": person(&scene, "tom", "admin", Some("ink-co")).await,
            "vic": person(&scene, "vic", "viewer", None).await, "order": order, "recipient": "reject@example.net",
            "batches": batches, "planted": PLANTED});
        let seen = in_browser("dashboard.py", &known, async |wish| match wish {
            "plant more dead letters" => plant(&scene, &id, 100, "late.example").await,
            "forget the late ones" => scene.backends.execute("DELETE FROM mails WHERE recipient = 'ok@late.example'").await,
            _ => scene.backends.execute("UPDATE sessions SET expires_at = last_seen_at + 240000").await,
        })
        .await;
        assert_eq!(seen["faults"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_and_axe_finds_nothing_by_day_and_by_night() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let (ann, operator) = people(&scene).await;
    let (id, order) = an_order_that_is_refused(&scene).await;
    let sent = scene.shop.send_to("ok@example.net").await;
    scene.shop.wait_until(&sent, "sent").await;
    let hook = json!({"url": "https://hooks.example/a/long/way/to/go", "events": ["*"]});
    let hook = scene.shop.post("/webhooks", &hook).await.expect(201).json();
    let hook = hook["data"]["id"].as_str().or(hook["id"].as_str()).unwrap().to_owned();
    scene.backends.command_line().run(&["queue", "pause", "--lane", "bulk", "--reason", "a test"]).expect(0);
    let members = addresses("ok", 30);
    scene.shop.enrol_all(&members).await;
    let batch = scene.shop.send_all(&members).await;
    let drafted = operator.post("/actions", &[("kind", "retry"), ("q", "state:failed")]).await.expect(303);
    let merchant = &scene.shop.merchant;
    let pages: Vec<_> = everywhere(merchant)
        .into_iter()
        .chain(
            ["", "?view=text", "?view=source", "?view=headers"]
                .map(|view| format!("/mails/{id}/content{view}")),
        )
        .chain([
            "/mails?q=state:failed".to_owned(),
            "/mails?q=state:nothing".to_owned(),
            format!("/mails/{id}"),
            format!("/mails/{sent}"),
            format!("/orders/{order}"),
            format!("/batches/{batch}"),
            format!("/callbacks/{merchant}/{hook}"),
            drafted.header("location").unwrap().to_owned(),
        ])
        .collect();
    let empty: Vec<_> = everywhere("ink-co").into_iter().filter(|page| !is_for_all(page)).collect();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&pictures).unwrap();
    let known = json!({"base": scene.daemon.admin_url(), "ann": ann, "tom": person(&scene, "tom", "admin", Some("ink-co")).await,
        "pages": pages, "empty": empty, "pictures": pictures, "axe": tools().join("node/node_modules/axe-core/axe.min.js")});
    let seen = in_browser("dashboard_looks.py", &known, async |_| ()).await;
    assert_eq!(seen, json!({"wrong": [], "faults": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_others_wrote_runs_or_reaches_another_host() {
    let mut scene = Scene::open(Backends::sqlite_memory()).await;
    let (ann, operator) = people(&scene).await;
    let (id, order) = an_order_that_is_refused(&scene).await;
    let elsewhere = TcpListener::bind((own_address(), 8080)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}", elsewhere.local_addr().unwrap());
    // In one line, for it is a subject too.
    let script = format!(
        "\"'><script>alert(1);document.title='hacked'</script><img src='{url}/i' onerror='alert(1)'><svg onload=alert(1)>\
         <a href='javascript:alert(1)'>x</a><iframe src='{url}/f'></iframe>"
    );
    let html = format!(
        "<p onclick='alert(1)'>It stays here.</p><style>@import '{url}/s'; body {{ background: url({url}/b) }}</style>\
         <link rel='stylesheet' href='{url}/l'><meta http-equiv='refresh' content='0;url={url}/m'><base href='{url}/'>\
         <form action='{url}/x' id='f'><input autofocus onfocus='alert(1)'></form><video src='{url}/v' autoplay></video>\
         <script>document.getElementById('f').submit();top.location='{url}/t'</script>{script}"
    );
    let rows = [
        ("mails", &["error", "route", "provider_id", "template", "recipient_name", "message_id"][..]),
        ("attempts", &["reply", "transcript", "route"]),
        ("template_versions", &["subject", "text"]),
        ("merchants", &["name"]),
        ("batches", &["template", "error"]),
        ("audit", &["target", "actor", "origin"]),
    ];
    operator
        .post("/queue/pause", &[("kind", "domain"), ("name", "nobody.example"), ("reason", &script[..150])])
        .await
        .expect(303);
    write(&scene, "UPDATE pauses SET scope = 'route', name = $1", &script[..150]).await;
    let members = addresses("ok", 3);
    scene.shop.enrol_all(&members).await;
    let batch = scene.shop.send_all(&members).await;
    for (table, columns) in rows {
        for column in columns {
            write(&scene, &format!("UPDATE {table} SET {column} = $1"), &script).await;
        }
    }
    write(&scene, "UPDATE template_versions SET html = $1", &html).await;
    write(&scene, "UPDATE mails SET member_id = $1 WHERE batch_id IS NULL", &script).await;
    // A version never changes otherwise, and is kept.
    scene.daemon.kill_9();
    scene.daemon.start_again().await;
    let merchant = &scene.shop.merchant;
    let pages: Vec<_> = everywhere(merchant)
        .into_iter()
        .chain(
            ["", "?view=text", "?view=source", "?view=headers"]
                .map(|view| format!("/mails/{id}/content{view}")),
        )
        .chain([
            format!("/mails/{id}"),
            format!("/mails/{id}/preview"),
            format!("/orders/{order}"),
            format!("/batches/{batch}"),
            format!(
                "/mails?q={}",
                url::form_urlencoded::byte_serialize(script.as_bytes()).collect::<String>()
            ),
        ])
        .collect();
    let known = json!({"base": scene.daemon.admin_url(), "ann": ann, "pages": pages, "elsewhere": url});
    let seen = in_browser("dashboard_hostile.py", &known, async |wish| match (wish, elsewhere.accept()) {
        ("hear nothing", Err(_)) | ("hear something", Ok(_)) => {}
        (_, heard) => panic!("{wish}: {heard:?}"),
    })
    .await;
    assert_eq!(seen["faults"], json!([]));
}

/// The pages that are always there, and those of a merchant.
fn everywhere(merchant: &str) -> Vec<String> {
    let pages = "/ /mails /dead-letters /batches /queue /routes /workers /callbacks /merchants /templates /actions /audit /sessions";
    let own = [format!("/merchants/{merchant}"), format!("/templates?merchant={merchant}")];
    let template = (merchant == "tea-co").then(|| format!("/templates/{merchant}/welcome"));
    pages.split(' ').map(str::to_owned).chain(own).chain(template).collect()
}

fn is_for_all(page: &str) -> bool {
    ["/routes", "/workers"].contains(&page)
}

/// Makes an admin, and a merchant `ink-co` that has done nothing yet.
async fn people(scene: &Scene) -> (Value, Operator) {
    let commands = scene.backends.command_line();
    commands.run(&["merchant", "create", "ink-co", "--name", "Ink & Co", "--country", "DE"]).expect(0);
    let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "admin", None).await;
    (json!([ann.name, ann.password]), ann)
}

async fn person(scene: &Scene, name: &str, role: &str, merchant: Option<&str>) -> Value {
    let commands = scene.backends.command_line();
    let person = Operator::sign_in(&scene.daemon, &commands, name, role, merchant).await;
    json!([person.name, person.password])
}

/// An order, of which a mail is asked for and refused; returns the mail's id and the order's.
async fn an_order_that_is_refused(scene: &Scene) -> (String, String) {
    let shop = &scene.shop;
    let order = json!({"currency": "EUR", "totalAmount": "59.90", "paymentStatus": "PENDING",
        "endUser": {"email": "reject@example.net", "firstName": "Ann", "lastName": "Lee"}});
    shop.put("/api/v1/orders/1001", &order).await.expect(201);
    shop.put("/api/v1/brands/tea", &brand()).await;
    let body = json!({"template": "OFFLINE_PAYMENT_PENDING", "reason": "they asked"});
    let answer = shop.post("/ordersv2/1001/email/send", &body).await;
    assert!(matches!(answer.status, 200..=202), "{answer:?}");
    let listed = shop.get("/api/v1/mails?order=1001").await.expect(200).json();
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    shop.wait_until(&id, "failed").await;
    (id, "1001".to_owned())
}

/// Puts dead letters into the database, like this mail.
async fn plant(scene: &Scene, like: &str, number: usize, domain: &str) {
    let is_sqlite = scene.backends.redis.is_none();
    let hex = if is_sqlite { "printf('%08x', n)" } else { "lpad(to_hex(n), 8, '0')" };
    // An id begins with its time.
    let young = MailId::new().to_string();
    let statement = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})
         INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, recipient, recipient_key,
             message_id, tags, on_crash, recorded_at, due_at, attempt, settled_at, route, error, class)
         SELECT '{}0000' || {hex}, merchant_id, lane, 'failed', template, template_version, sender,
             'ok@{domain}', '{domain}@ok', message_id, tags, on_crash, recorded_at, due_at, 1, settled_at, 'main',
             'the relay hung up', 'connection'
         FROM mails, numbers WHERE mails.id = $1",
        &young[..24]
    );
    write(scene, &statement, like).await;
}

/// Changes rows behind the daemon's back.
async fn write(scene: &Scene, statement: &str, value: &str) {
    use sqlx::{AnyConnection, Connection};
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&scene.backends.database().url).await.unwrap();
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::query(statement).bind(value.to_owned()).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
