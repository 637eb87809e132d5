//! The dashboard is closed: who may look, who may act, and what a browser is allowed.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all};
use postroom::{dashboard::sign_in_link, store::Store};
use reqwest::Method;

use super::support::{Backends, Cluster, Operator, Scene, Shop, eventually, send};

/// Pages that everybody who is signed in may open, also where nothing was ever recorded.
const PAGES: [&str; 14] = [
    "/",
    "/mails",
    "/mails?q=state%3Afailed",
    "/dead-letters",
    "/batches",
    "/actions",
    "/templates",
    "/suppressions",
    "/callbacks",
    "/queue",
    "/merchants",
    "/audit",
    "/sessions",
    "/mails?q=order%3A1001",
];

on_both! {
    async fn a_visitor_who_is_not_signed_in_sees_nothing(backends: Backends) {
        let scene = Scene::open(backends).await;
        let nobody = Operator::nobody(&scene.daemon);
        for path in PAGES.into_iter().chain(["/routes", "/workers"]) {
            let answer = nobody.get(path).await.expect(303);
            assert!(answer.header("location").unwrap().starts_with("/login?next=%2F"), "{answer:?}");
        }
        nobody.get("/live?page=overview").await.expect(401);
        nobody.post_as_it_is("/queue/pause", &[("kind", "lane"), ("name", "bulk")]).await.expect(401);
        for open in ["/healthz", "/readyz", "/metrics"] {
            nobody.get(open).await.expect(200);
        }
        let page = nobody.get("/login").await.expect(200);
        assert!(page.body.contains("autocomplete=\"current-password\""));
    }

    async fn a_session_is_seen_ended_and_over(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let mut ann = Operator::sign_in(&scene.daemon, &commands, "ann", "admin", None).await;
        let first = std::mem::take(&mut ann.cookie);
        ann.sign_in_again().await;
        let sessions = ann.page("/sessions").await;
        assert_eq!(sessions.matches("<th scope=\"row\">ann").count(), 2, "{sessions}");

        let own = ann.cookie.clone();
        ann.post("/logout", &[]).await.expect(303);
        ann.get("/").await.expect(303);
        ann.cookie = first;
        ann.get("/").await.expect(200);
        ann.cookie = format!("{}x", &own[..own.len() - 1]);
        ann.get("/").await.expect(303);

        // Who is removed has no session, also if somebody else gets the name.
        ann.sign_in_again().await;
        commands.run(&["operator", "remove", "--name", "ann"]).expect(0);
        ann.get("/").await.expect(303);
        let other = Operator::sign_in(&scene.daemon, &commands, "ann", "viewer", None).await;
        ann.get("/").await.expect(303);
        other.get("/").await.expect(200);

        // The clock of the database's rows goes on: a session that is too old has ended.
        scene.backends.execute("UPDATE sessions SET expires_at = 1").await;
        other.get("/").await.expect(303);
    }

    async fn a_link_signs_in_once_and_within_its_time(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        Operator::sign_in(&scene.daemon, &commands, "ann", "viewer", None).await;
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let link = async |within: u64| sign_in_link(&store, "ann", Duration::from_secs(within)).await.unwrap();
        let once = link(60).await;
        let mut guest = Operator::nobody(&scene.daemon);
        let answer = guest.get(&once).await.expect(303);
        guest.cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert!(guest.page("/").await.contains("All is well"));
        for path in [once, link(0).await, "/login/once/nothing".to_owned()] {
            let refused = Operator::nobody(&scene.daemon).get(&path).await.expect(404);
            assert!(refused.body.contains("This link was used already") && refused.header("set-cookie").is_none());
        }
        // A link goes with its operator.
        let late = link(60).await;
        commands.run(&["operator", "remove", "--name", "ann"]).expect(0);
        Operator::nobody(&scene.daemon).get(&late).await.expect(404);
    }

    async fn a_viewer_changes_nothing_and_sees_no_content(backends: Backends) {
        let scene = Scene::open(backends).await;
        let vic = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "vic", "viewer", None).await;
        let id = scene.shop.send_to("ann.lee@example.net").await;
        scene.shop.wait_until(&id, "sent").await;
        for path in ["/mails".to_owned(), format!("/mails/{id}")] {
            let page = vic.page(&path).await;
            assert!(page.contains("a••@example.net") && !page.contains("ann.lee@"), "{page}");
            assert!(!page.contains("/retry") && !page.contains("/content\""), "{page}");
        }
        for path in [format!("/mails/{id}/content"), format!("/mails/{id}/preview")] {
            vic.get(&path).await.expect(403);
        }
        for (path, fields) in [
            (format!("/mails/{id}/retry"), &[][..]),
            ("/queue/pause".to_owned(), &[("kind", "lane"), ("name", "bulk")]),
            ("/routes/drain".to_owned(), &[("name", "main")]),
            (format!("/merchants/{}/suspend", scene.shop.merchant), &[]),
        ] {
            vic.post(&path, fields).await.expect(403);
        }
    }

    async fn an_operator_of_one_merchant_sees_nothing_of_another(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ink = Shop::open(&scene.daemon, &commands, "ink-co");
        ink.fill_shelves().await;
        let (own, other) = (scene.shop.send_to("own@example.net").await, ink.send_to("other@example.net").await);
        let tea = scene.shop.merchant.clone();
        let tom = Operator::sign_in(&scene.daemon, &commands, "tom", "admin", Some(&tea)).await;
        tom.get(&format!("/mails/{own}")).await.expect(200);
        for path in [
            format!("/mails/{other}"),
            format!("/mails/{other}/content"),
            format!("/mails/{other}/preview"),
            "/merchants/ink-co".to_owned(),
            format!("/callbacks/ink-co/{other}"),
        ] {
            tom.get(&path).await.expect(404);
        }
        tom.post(&format!("/mails/{other}/cancel"), &[]).await.expect(404);
        tom.post("/merchants/ink-co/suspend", &[]).await.expect(404);
        for path in ["/routes", "/workers"] {
            tom.get(path).await.expect(403);
        }
        for fields in [[("kind", "lane"), ("name", "bulk")], [("kind", "merchant"), ("name", "ink-co")]] {
            tom.post("/queue/pause", &fields).await.expect(403);
        }
        for path in PAGES.into_iter().chain(["/mails?q=merchant%3Aink-co", "/audit?merchant=ink-co", "/callbacks?merchant=ink-co"]) {
            let page = tom.page(path).await.replace("merchant:ink-co", "").replace("merchant%3Aink-co", "");
            let page = page.replace("merchant=ink-co", "");
            assert!(!page.contains("ink-co") && !page.contains("other@"), "{path}: {page}");
        }
    }

    async fn a_form_of_another_site_or_session_does_nothing(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "operator", None).await;
        let eve = Operator::sign_in(&scene.daemon, &commands, "eve", "operator", None).await;
        let pause = [("kind", "lane"), ("name", "bulk")];
        ann.post_as_it_is("/queue/pause", &pause).await.expect(403);
        let foreign = eve.token().await;
        for token in ["", "0", foreign.as_str()] {
            ann.post_as_it_is("/queue/pause", &[pause[0], pause[1], ("csrf", token)]).await.expect(403);
        }
        for origin in ["https://evil.example", "null"] {
            ann.post_from(origin, "/queue/pause", &pause).await.expect(403);
        }
        assert!(ann.page("/queue").await.contains("Nothing is paused."));
        let own = scene.daemon.admin_url();
        ann.post_from(&own, "/queue/pause", &pause).await.expect(303);
        assert!(ann.page("/queue").await.contains("operator:ann"));
        // Sent twice it is done once.
        ann.post("/queue/resume", &pause).await.expect(303);
        ann.post("/queue/resume", &pause).await.expect(303);
        assert!(ann.page("/queue").await.contains("Nothing is paused."));
        let audit = ann.page("/audit?actor=operator%3Aann").await;
        assert_eq!(audit.matches("<td>queue.paused</td>").count(), 1, "{audit}");
        assert_eq!(audit.matches("<td>queue.resumed</td>").count(), 1, "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_cannot_be_tried_for_long_and_a_name_that_nobody_has_looks_like_another() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "viewer", None).await;
    let wrong = ann.try_password("ann", "wrong").await.expect(401).body;
    let nobody = ann.try_password("bob", "wrong").await.expect(401).body;
    assert_eq!(wrong.replace("\"ann\"", "\"bob\""), nobody);
    let mut tried = 0;
    while ann.try_password("ann", "wrong").await.status == 401 {
        tried += 1;
    }
    assert!((5..15).contains(&tried), "{tried}");
    // Also the right password waits now; a session that began before goes on.
    let refused = ann.try_password("ann", &ann.password).await.expect(429);
    assert!(refused.header("retry-after").is_some());
    ann.get("/").await.expect(200);
    ann.try_password("", "").await.expect(422);
    assert!(!scene.daemon.log_text().contains(&ann.password));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_may_load_and_run_nothing_but_our_own() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    for path in PAGES.into_iter().chain(["/routes", "/workers", "/login", "/nowhere", "/mails/nothing"]) {
        let answer = ann.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for inline in ["<script>", "style=\"", " onclick", "javascript:", "http://", "https://"] {
            let body = answer.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains(inline), "{path}: {inline}\n{body}");
        }
    }
    let page = ann.page("/").await;
    for asset in ["dashboard.css", "dashboard.js"] {
        let path = page.split('"').find(|part| part.ends_with(asset)).unwrap();
        let answer = ann.get(path).await.expect(200);
        assert!(answer.header("cache-control").unwrap().contains("immutable"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_addresses_are_answered_with_a_page() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    let long = "x".repeat(10_000);
    let filters = "state%3Afailed+".repeat(100);
    for (path, status) in [
        ("/mails/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(), 404),
        ("/mails/a%00b".to_owned(), 400),
        (format!("/mails/{long}"), 404),
        (format!("/orders/{long}"), 404),
        ("/orders/%3Cb%3E".to_owned(), 404),
        ("/mails?after=1000000000000".to_owned(), 400),
        ("/mails?q=a&q=b".to_owned(), 400),
        (format!("/mails?q={filters}"), 200),
        (format!("/mails?q={long}"), 200),
        ("/batches?after=%27".to_owned(), 404),
        ("/audit?until=9999999999999999999999".to_owned(), 400),
        ("/audit?action=%3Cscript%3E".to_owned(), 400),
        ("/merchants?after=%3Cscript%3E".to_owned(), 200),
        ("/live?page=nothing".to_owned(), 404),
        ("/nowhere".to_owned(), 404),
    ] {
        let answer = ann.get(&path).await;
        let shown = &path[..path.len().min(60)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.body);
        assert!(answer.header("x-request-id").is_some(), "{shown}");
        assert!(answer.body.contains("<h1"), "{shown}: {}", answer.body);
        assert!(
            !answer.body.contains("<script>") && !answer.body.contains("<b>"),
            "{shown}: {}",
            answer.body
        );
    }
    send(ann.request(Method::GET, "/logout")).await.expect(405);
    let large = send(ann.request(Method::POST, "/login").body("x".repeat(100_000))).await.expect(413);
    assert!(large.body.contains("<h1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_is_told_what_changes_until_its_session_ends() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let commands = scene.backends.command_line();
    let ann = Operator::sign_in(&scene.daemon, &commands, "ann", "operator", None).await;
    let mut watcher = Operator::sign_in(&scene.daemon, &commands, "wim", "operator", None).await;
    let token = watcher.token().await;
    let response = watcher.request(Method::GET, "/live?page=queue").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let mut seen = String::new();
    let read = async |stream: &mut (dyn futures_util::Stream<Item = _> + Unpin + Send), seen: &mut String| {
        let chunk: Option<Result<_, reqwest::Error>> =
            tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("something comes");
        let chunk: Option<bytes::Bytes> = chunk.and_then(Result::ok);
        seen.push_str(&String::from_utf8_lossy(chunk.as_deref().unwrap_or_default()));
        chunk.is_some()
    };
    while !seen.contains("Nothing is paused.") {
        assert!(read(&mut stream, &mut seen).await);
    }
    ann.post("/queue/pause", &[("kind", "lane"), ("name", "bulk"), ("reason", "maintenance")])
        .await
        .expect(303);
    while !seen.contains("maintenance") {
        assert!(read(&mut stream, &mut seen).await);
    }
    assert!(seen.contains(&token), "each stream has its own session's token");
    let own = watcher.page("/sessions").await;
    let id = own.split("/sessions/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    watcher.post(&format!("/sessions/{id}/end"), &[]).await.expect(303);
    watcher.cookie = String::new();
    while read(&mut stream, &mut seen).await {}
    assert!(seen.contains("event: end"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_says_in_time_that_the_database_hangs() {
    let scene = Scene::open(Backends::postgres_redis().await).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    ann.page("/mails").await;
    let lock = "BEGIN; LOCK TABLE mails, sessions IN ACCESS EXCLUSIVE MODE";
    let mut connection = {
        use sqlx::{AnyConnection, Connection};
        sqlx::any::install_default_drivers();
        AnyConnection::connect(&scene.backends.database().url).await.unwrap()
    };
    sqlx::Executor::execute(&mut connection, lock).await.unwrap();
    let started = std::time::Instant::now();
    let answer = ann.get("/mails").await.expect(503);
    assert!(answer.body.contains("did not answer within 3 seconds"), "{}", answer.body);
    assert!(started.elapsed() < Duration::from_millis(3_500), "{:?}", started.elapsed());
    sqlx::Executor::execute(&mut connection, "ROLLBACK").await.unwrap();
    eventually("the page is back", async || ann.get("/mails").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_says_in_time_that_the_database_hangs_and_goes_on() {
    let mut cluster = Cluster::start();
    let scene = Scene::open(Backends::on(cluster.new_database().await).await).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    let response = ann.request(Method::GET, "/live?page=overview").send().await.unwrap();
    let mut stream = response.bytes_stream();
    let mut until = async |wanted: &str| {
        let (mut seen, started) = (String::new(), std::time::Instant::now());
        while !seen.contains(wanted) {
            let chunk = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect(wanted);
            seen.push_str(&String::from_utf8_lossy(&chunk.expect("the stream goes on").unwrap()));
        }
        started.elapsed()
    };
    until("All is well").await;
    cluster.freeze();
    let told = until("event: slow").await;
    // A machine that does much else wakes late.
    assert!(told < Duration::from_secs(4), "{told:?}");
    until("The database takes no writes").await;
    let started = std::time::Instant::now();
    for answer in join_all(["/", "/mails", "/queue"].map(|path| ann.get(path))).await {
        answer.expect(503);
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    cluster.thaw();
    until("All is well").await;
}
