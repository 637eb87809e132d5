//! Relays that are not ours take mails from the daemon: Postfix's smtp-sink and aiosmtpd.

use std::net::Ipv4Addr;

use toml::Table;

use super::support::{Aiosmtpd, Backends, Daemon, Shop, SmtpSink};

fn route(address: (Ipv4Addr, u16), tls: &str) -> Table {
    let mut route = Table::new();
    route.insert("name".to_owned(), "main".into());
    route.insert("host".to_owned(), address.0.to_string().into());
    route.insert("port".to_owned(), i64::from(address.1).into());
    route.insert("tls".to_owned(), tls.into());
    route
}

/// A route that signs in and trusts the relay's certificate.
fn trusting_route(relay: &Aiosmtpd, tls: &str) -> Table {
    let mut route = route(relay.address(), tls);
    let certificate = relay.certificate().display().to_string();
    for (key, value) in [("username", "ann"), ("password", "tea"), ("ca_file", &certificate)] {
        route.insert(key.to_owned(), value.into());
    }
    route
}

/// Sends a mail over the route and returns its story once it is in this state.
async fn send_over(route: Table, state: &str) -> serde_json::Value {
    let backends = Backends::sqlite_memory().with("smtp.routes", vec![route]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let id = shop.send_to("ok@example.net").await;
    shop.wait_until(&id, state).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_sink_takes_a_mail() {
    let relay = SmtpSink::start().await;
    send_over(route(relay.address(), "none"), "sent").await;
    let mail = relay.first_mail().await;
    for expected in
        ["X-Mail-Args: <hello@tea.example>", "X-Rcpt-Args: <ok@example.net>", "Subject: Welcome, Ann"]
    {
        assert!(mail.contains(expected), "{expected} is missing in:\n{mail}");
    }
}

/// How aiosmtpd got a mail over a route with this kind of encryption.
async fn aiosmtpd_takes_a_mail(tls: &str) {
    let relay = Aiosmtpd::start(tls).await;
    let story = send_over(trusting_route(&relay, tls), "sent").await;
    assert_eq!(story["provider_id"], "AIO1");
    let mail = relay.first_mail().await;
    assert_eq!(mail["is_encrypted"], tls != "none");
    assert_eq!((&mail["user"], &mail["recipients"][0]), (&"ann".into(), &"ok@example.net".into()));
    assert!(mail["content"].as_str().unwrap().contains("Dear Ann Lee, welcome to Tea &amp; Co."), "{mail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiosmtpd_takes_a_mail_in_plain_text_after_signing_in() {
    aiosmtpd_takes_a_mail("none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiosmtpd_takes_a_mail_after_starttls_and_signing_in() {
    aiosmtpd_takes_a_mail("starttls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiosmtpd_takes_a_mail_over_tls_after_signing_in() {
    aiosmtpd_takes_a_mail("tls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_certificate_nobody_vouches_for_gets_nothing() {
    let relay = Aiosmtpd::start("starttls").await;
    let mut route = trusting_route(&relay, "starttls");
    route.remove("ca_file");
    let story = send_over(route, "deferred").await;
    assert_eq!(story["attempts"][0]["phase"], "tls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_puts_the_mail_off_and_shows_nowhere() {
    let relay = Aiosmtpd::start("tls").await;
    let mut route = trusting_route(&relay, "tls");
    route.insert("password".to_owned(), "hunter2".into());
    let story = send_over(route, "deferred").await;
    assert_eq!(story["attempts"][0]["phase"], "auth");
    assert!(!story.to_string().contains("hunter2"));
}
