//! What most tests begin with.

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::{Backends, Daemon, Shop};

/// A daemon on its back ends, a catcher as its only relay, and a merchant with a brand and a template.
pub struct Scene {
    /// The merchant.
    pub shop: Shop,
    /// The relay.
    pub sink: Catcher,
    /// The daemon.
    pub daemon: Daemon,
    /// The back ends.
    pub backends: Backends,
}

impl Scene {
    /// Starts them all.
    pub async fn open(backends: Backends) -> Self {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let backends = backends.with_route_to(&sink);
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        Self { shop, sink, daemon, backends }
    }

    /// How many times the catcher got a mail for this recipient.
    pub fn caught(&self, recipient: &str) -> usize {
        self.sink.mails().iter().filter(|mail| mail.recipient == recipient).count()
    }
}
