//! Mails keep their places: one that was taken up too early waits before those that come after it.

use std::collections::HashSet;

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{Backends, Daemon, Shop, addresses};

/// At least as many mails as two connections of a quick relay have with them: one each, and those that are let in ahead. So many
/// may pass one that goes back, while it does.
const AT_ONCE: usize = 40;

on_both! {
    async fn mails_that_wait_too_long_for_their_connection_are_still_before_those_behind_them(backends: Backends) {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let mut route = toml::toml! { name = "main" host = "127.0.0.1" tls = "none" connections = 2 };
        route.insert("port".to_owned(), i64::from(sink.smtp_addr().port()).into());
        let backends = backends.with("smtp.routes", vec![route]);
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        // A relay that was quick, so that mails are let in ahead, and then hangs on all of its connections.
        let slow = ["slow-3000+a@example.net", "slow-3000+b@example.net"].map(str::to_owned);
        let (quick, then) = (addresses("ok", 30), addresses("ok-then", 3 * AT_ONCE));
        let users: Vec<_> = quick.into_iter().chain(slow).chain(then.clone()).collect();
        shop.enrol_all(&users).await;
        let batch = shop.send_all(&users).await;
        shop.until_batch(&batch, "finished").await;

        let caught: Vec<_> = sink.mails().iter().map(|mail| mail.recipient.clone()).collect();
        assert_eq!(caught.len(), users.len());
        let then_caught = caught.iter().filter(|recipient| recipient.starts_with("ok-then"));
        let first: HashSet<_> = then_caught.take(2 * AT_ONCE).collect();
        let late: Vec<_> = then[..AT_ONCE].iter().filter(|recipient| !first.contains(recipient)).collect();
        assert!(late.is_empty(), "{late:?} came too late: {caught:?}");
    }
}
