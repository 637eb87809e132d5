//! The listener: connections with limits. hyper speaks HTTP; this file decides who may be connected and for how long.
//!
//! * At most `http.connections` at once, and `http.connections_per_address` from one address; never more than leaves
//!   file descriptors for the database, the relays and the callbacks.
//! * A head must be complete within `http.header_timeout` of its first byte, and have at most 32 KiB.
//! * A body that is sent, and an answer that is read, slower than 1 KiB a second for `http.header_timeout` ends the
//!   connection. Only the time that the peer makes us wait counts.
//! * A connection on which nothing happens is closed after `http.idle_timeout`; sooner when others are refused.
//!
//! Called by the daemon. What a request means is left to the router.

mod places;
mod stream;

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::config::Config;
use places::{Place, Places};
use stream::{Activity, Pace, Patience, Stream};

pub(super) use places::network_of;

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

/// A peer that sends slower than it must.
#[derive(Debug, thiserror::Error)]
#[error("the body came slower than {} bytes a second", stream::SLOWEST)]
pub(super) struct TooSlow;

/// Serves merchants on `listener` until `stop`; then answers what is under way and closes the rest.
pub async fn serve(listener: TcpListener, router: Router, config: &Config, stop: CancellationToken) {
    serve_within(Places::new(config), listener, router, config, stop).await;
}

/// Serves operators likewise, on a few connections of their own: merchants cannot take those.
pub async fn serve_operators(
    listener: TcpListener,
    router: Router,
    config: &Config,
    stop: CancellationToken,
) {
    serve_within(Places::for_operators(), listener, router, config, stop).await;
}

async fn serve_within(
    places: Places,
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
        let Some(place) = places.take(peer.ip()) else {
            refuse(stream);
            continue;
        };
        let connection = Connection { http: http.clone(), router: router.clone(), patience, place };
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
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(ANSWER); // it does not block, and whoever does not read it sees the end
    }
}

struct Connection {
    http: http1::Builder,
    router: Router,
    patience: Patience,
    place: Place,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
        let Self { http, router, patience, place } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let activity = Arc::new(Activity::default());
        let stream = Stream::new(stream, Arc::clone(&activity), patience, place);
        let service = Requests {
            router,
            activity: Arc::clone(&activity),
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
            tracing::debug!(error = format!("{:#}", anyhow::Error::from(error)), "a connection ended");
        }
    }
}

/// The router, as hyper calls it on one connection.
struct Requests {
    router: Router,
    activity: Arc<Activity>,
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
        let patience = self.patience;
        let request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(Paced { body, pace: Pace::new(patience) })
            }
        });
        let answer = self.router.clone().call(request);
        Answering { answer, activity: Some(Arc::clone(&self.activity)) }
    }
}

/// The answer to come.
struct Answering<F> {
    answer: F,
    activity: Option<Arc<Activity>>,
}

impl<F: Future<Output = Result<Response, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.answer).poll(context));
        let activity = self.activity.take();
        Poll::Ready(answered.map(|answer| answer.map(|body| Answer { body, activity })))
    }
}

/// The body of an answer. When it is gone, the next request may begin.
struct Answer {
    body: Body,
    activity: Option<Arc<Activity>>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.end_request();
        }
    }
}

/// The body of a request, which must come at a certain pace.
struct Paced {
    body: Incoming,
    pace: Pace,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
                this.pace.moved(bytes.unwrap_or(0));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            // The connection wakes this task often enough to look again.
            Poll::Pending if Instant::now() >= this.pace.wait() => Poll::Ready(Some(Err(TooSlow.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
            async move { serve(listener, router, &config, stop).await }
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
