//! The listener for operators: there in every role, and not for merchants.

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{Backends, Daemon, Scene, Shop, eventually};

on_both! {
    async fn merchants_see_that_the_process_is_alive_and_no_more(backends: Backends) {
        let scene = Scene::open(backends).await;
        for path in ["/readyz", "/metrics"] {
            scene.shop.get(path).await.expect(404);
            scene.daemon.admin(path).await.expect(200);
        }
        scene.shop.get("/healthz").await.expect(200);
        scene.daemon.admin("/healthz").await.expect(200);
        scene.daemon.admin("/api/v1/mails").await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_opens_the_address_comes_to_the_documentation() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let page = scene.shop.get("/").await.expect(200);
    assert!(page.body.contains("<html"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_no_requests_is_counted_and_ready() {
    let backends = Backends::postgres_redis().await;
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = backends.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let worker = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let id = shop.send_to("ok@example.net").await;
    shop.wait_until(&id, "sent").await;
    let sent = r#"postroom_mails_settled_total{lane="transactional",state="sent"} 1"#;
    assert!(worker.admin("/metrics").await.body.lines().any(|line| line == sent));
    assert!(!ingress.admin("/metrics").await.body.contains(sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_keeps_no_mail_back_and_is_used_when_it_is_free() {
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap();
    let mut config = postroom::config::Config::load(None, []).unwrap();
    let folder = tempfile::tempdir().unwrap();
    config.database.url = format!("sqlite:{}", folder.path().join("postroom.db").display());
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.admin.listen = address;
    let daemon = postroom::daemon::Daemon::start(config, postroom::config::Role::All).await.unwrap();
    assert!(daemon.listening_on().is_some() && daemon.admin_on().is_none());
    drop(own);
    eventually("operators can look", async || daemon.admin_on() == Some(address)).await;
    daemon.stop().await;
}
