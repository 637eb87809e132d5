//! The listener: connections with limits. hyper speaks HTTP; this file decides who may be connected and for how long.
//!
//! * At most `http.connections` at once, and `http.connections_per_address` from one address; never more than leaves
//!   file descriptors for the database, the relays and the callbacks.
//! * A head must be complete within `http.header_timeout` of its first byte, and have at most 32 KiB.
//! * A body that is sent, and an answer that is read, slower than 1 KiB a second for `http.header_timeout` ends the
//!   connection. Only the time that the peer makes us wait counts.
//! * A connection on which nothing happens is closed after `http.idle_timeout`; sooner when others are refused.
//! * What a handler leaves of a body is read and thrown away before its answer, up to a limit; a caller that still sends would
//!   not see the answer. Beyond the limit the answer says that the connection is closed.
//!
//! Called by the daemon. What a request means is left to the router.

mod bodies;
mod connection_limit;
mod stream;

use std::{
    convert::Infallible,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use futures_util::future::join_all;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use uuid::Uuid;

use crate::{config::Config, telemetry::chain};
use bodies::{Answer, Answering, Left, paced};
use connection_limit::{ConnectionLimit, ConnectionPermit};
use stream::{Activity, Patience, Stream};

pub(super) use bodies::TooSlow;
pub(super) use connection_limit::network_of;

/// The largest head of a request, in bytes; a larger one is answered 431.
const LARGEST_HEAD: usize = 32 * 1024;
/// What is buffered of one connection, in bytes.
const BUFFER: usize = 64 * 1024;
/// How long a connection may still begin a request after the listener was stopped.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How long the listener rests when the system gives it no connection, such as for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Who sent a request: the peer of the TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves merchants on all of these until `stop`; then answers what is under way and closes the rest.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, config: &Config, stop: CancellationToken) {
    let limit = ConnectionLimit::new(config);
    let serve_one = |listener| serve_within(&limit, listener, router.clone(), config, stop.clone());
    join_all(listeners.into_iter().map(serve_one)).await;
}

/// Serves operators likewise, on a few connections of their own: merchants cannot take those.
pub async fn serve_operators(
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    serve_within(&ConnectionLimit::for_operators(), listener, router, config, stop).await;
}

async fn serve_within(
    limit: &ConnectionLimit,
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    let patience = Patience { head: config.http.header_timeout, idle: config.http.idle_timeout };
    let mut http = http1::Builder::new();
    // The time-outs are the stream's: hyper's would count an idle connection's time as a head's.
    http.header_read_timeout(None).max_header_size(LARGEST_HEAD).max_buf_size(BUFFER);
    let router = router.with_state(()); // once, not at each request
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted, trying again");
                sleep(REST).await;
                continue;
            }
        };
        let Some(permit) = limit.take(peer.ip()) else {
            refuse(stream);
            continue;
        };
        let connection = Connection { http: http.clone(), router: router.clone(), patience, permit };
        connections.spawn(connection.serve(stream, peer, stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

/// Tells a peer that there is no room, as far as that goes without waiting for it.
fn refuse(stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nx-request-id: {}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n",
        Uuid::now_v7()
    );
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(answer.as_bytes()); // it does not block, and whoever does not read it sees the end
    }
}

struct Connection {
    http: http1::Builder,
    router: Router,
    patience: Patience,
    permit: ConnectionPermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        let Self { http, router, patience, permit } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let activity = Arc::new(Activity::default());
        let stream = Stream::new(stream, Arc::clone(&activity), patience, permit);
        let service = Requests {
            router,
            activity: Arc::clone(&activity),
            left: Arc::default(),
            peer: Peer(peer.ip()),
            patience: patience.head,
        };
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut done = tokio::select! {
            done = connection.as_mut() => Some(done),
            () = stop.cancelled() => None,
        };
        if done.is_none() {
            // hyper would close a connection at once on which nothing has come, although it may be on its way.
            done = tokio::select! {
                done = connection.as_mut() => Some(done),
                () = activity.heard() => None,
                () = sleep(LAST_CALL) => None,
            };
        }
        if done.is_none() {
            connection.as_mut().graceful_shutdown();
            // What is on its way may still come; a request that has come is answered.
            done = tokio::time::timeout(LAST_CALL, connection.as_mut()).await.ok();
            if done.is_none() && activity.is_in_request() {
                done = Some(connection.await);
            }
        }
        if let Some(Err(error)) = done {
            tracing::debug!(error = %chain(&error), "a connection ended");
        }
    }
}

/// The router, as hyper calls it on one connection.
struct Requests {
    router: Router,
    activity: Arc<Activity>,
    left: Arc<Left>,
    peer: Peer,
    patience: Duration,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering<<Router as Service<Request>>::Future>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        self.activity.begin_request();
        request.extensions_mut().insert(self.peer);
        let request = paced(request, self.patience, &self.left);
        let answer = self.router.clone().call(request);
        Answering::new(answer, &self.activity, &self.left, self.patience)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LENGTH: usize = 32 << 20;

    #[tokio::test]
    async fn an_answer_that_is_still_read_is_neither_idle_nor_cut_by_a_stop() {
        let mut config = Config::load(None, []).unwrap();
        config.http.idle_timeout = Duration::from_millis(200);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || vec![b'x'; LENGTH]));
        let stop = CancellationToken::new();
        let server = tokio::spawn({
            let stop = stop.clone();
            async move { serve(vec![listener], router, &config, stop).await }
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
        tokio::time::sleep(LAST_CALL + Duration::from_millis(500)).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > LENGTH, "{}", answer.len());
        server.await.unwrap();
    }
}
