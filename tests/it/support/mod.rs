//! Starts what a test needs, each private to the test, and ends it whatever becomes of the test.
//!
//! | file | starts |
//! |---|---|
//! | `backends.rs` | a database, a queue, and the configuration that names them |
//! | `postgres.rs`, `redis.rs` | the servers of one of the two pairs of back ends |
//! | `daemon.rs` | a `postroom serve` process, to be stopped, killed and started again |
//! | `disk.rs` | a disk whose power can be cut |
//! | `shop.rs`, `answer.rs` | a merchant with a token, who speaks HTTP to the daemon |
//! | `batch.rs` | batches of that merchant |
//! | `hook.rs` | a receiver of webhooks |
//! | `command_line.rs` | one `postroom` command, run to its end |
//! | `proxy.rs` | a TCP proxy before Postgres that keeps the answer to a COMMIT to itself |
//! | `relay.rs` | a relay that hangs in one phase |
//! | `slow_way.rs` | a TCP proxy that passes everything on after a while |
//! | `network.rs` | machines with addresses of their own, and what may lie between them |
//! | `operator.rs` | somebody who looks at the dashboard |
//! | `place.rs` | addresses of 127.0.0.0/8 that nobody else listens on, children that do not outlive the tests |
//! | `tools.rs` | Python, Node.js and Postfix's smtp-sink, as `tests/install` left them |

mod answer;
mod backends;
mod batch;
mod browser;
mod command_line;
mod daemon;
mod disk;
mod hook;
mod network;
mod operator;
mod place;
mod postgres;
mod proxy;
mod redis;
mod relay;
mod scene;
mod shop;
mod slow_way;
mod tools;

use std::time::Duration;

pub use answer::Answer;
pub use backends::Backends;
pub use batch::{addresses, times_caught, welcome_all};
pub use browser::in_browser;
pub use command_line::{CommandLine, Ended, binary, postroom};
pub use daemon::Daemon;
pub use disk::Disk;
pub use hook::Hook;
pub use network::{Machine, in_own_network};
pub use operator::Operator;
pub use place::{mortal, own_address, signal};
pub use postgres::Cluster;
pub use proxy::DatabaseProxy;
pub use redis::Redis;
pub use relay::Relay;
pub use scene::Scene;
pub use shop::{Credential, Shop, brand, client, send, template, welcome};
pub use slow_way::SlowWay;
pub use tools::{Aiosmtpd, SmtpSink, node_of_tools, python, python_of_tools, tools};

/// Makes two tests of each function, `…::sqlite_memory` and `…::postgres_redis`.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($backends:ident: Backends) $body:block)+) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            async fn run($backends: Backends) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_memory() {
                run(Backends::sqlite_memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_redis() {
                run(Backends::postgres_redis().await).await;
            }
        }
    )+};
}

/// Waits until the condition holds; fails the test when it does not within 20 seconds.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(20), what, holds).await;
}

/// Waits until the condition holds; fails the test when it does not in time.
pub async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(limit, waiting).await.is_err() {
        panic!("waited {limit:?} in vain: {what}");
    }
}
