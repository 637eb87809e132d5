//! The bodies of requests and of answers: at what pace they come, and what becomes of what nobody reads.
//!
//! A handler may answer before it has read a body: it knows whose it is not, or has no room. The caller still sends then, and
//! would find the connection closed instead of its answer; or it has sent all, takes the connection for its next request,
//! and finds it closed for that. So what is left is read and thrown away, and the answer comes after that. Where
//! it is too much, the answer says that the connection is closed.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    header::{CONNECTION, EXPECT, HeaderValue},
};
use tokio::time::Instant;

use super::stream::{Activity, Pace, SLOWEST};

/// The most that is read of what nobody wants, in bytes.
const MOST_DISCARDED: u64 = 16 << 20;

/// A peer that sends slower than it must.
#[derive(Debug, thiserror::Error)]
#[error("the body came slower than {SLOWEST} bytes a second")]
pub(in crate::http) struct TooSlow;

/// What is left of the body of the request that a connection has under way.
#[derive(Default)]
pub(super) struct Left(Mutex<Rest>);

#[derive(Default)]
enum Rest {
    /// Nothing, or its handler still has it.
    #[default]
    None,
    /// What its handler did not read.
    Of(Incoming),
    /// What cannot be read: it broke off, or the caller waits to be told to send it (RFC 9110, section 10.1.1).
    Lost,
    /// Whatever its handler still has: it is answered.
    Answered,
}

impl Left {
    fn place(&self) -> MutexGuard<'_, Rest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, rest: Rest) {
        let mut place = self.place();
        if matches!(*place, Rest::None) {
            *place = rest;
        }
    }

    /// What has to be read before the answer, and takes no more.
    fn take(&self, patience: Duration) -> Option<Discarding> {
        match mem::replace(&mut *self.place(), Rest::Answered) {
            Rest::Of(body) => Some(Discarding::new(Some(body), patience)),
            Rest::Lost => Some(Discarding::new(None, patience)),
            Rest::None | Rest::Answered => None,
        }
    }
}

/// The body of a request, which must come at a certain pace.
struct Paced {
    body: Option<Incoming>,
    pace: Pace,
    is_awaited: bool,
    left: Arc<Left>,
}

/// The body of a request, for its handler, which may leave of it what it likes.
pub(super) fn paced(
    request: hyper::Request<Incoming>,
    grace: Duration,
    left: &Arc<Left>,
) -> hyper::Request<Body> {
    *left.place() = Rest::None;
    let is_awaited = request.headers().contains_key(EXPECT);
    request.map(|body| match body.is_end_stream() {
        true => Body::empty(),
        false => {
            let left = Arc::clone(left);
            Body::new(Paced { body: Some(body), pace: Pace::new(grace), is_awaited, left })
        }
    })
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        this.is_awaited = false;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let error = match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.pace.moved(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                this.body = None;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => error.into(),
            // The connection wakes this task often enough to look again.
            Poll::Pending if Instant::now() >= this.pace.wait() => TooSlow.into(),
            Poll::Pending => return Poll::Pending,
        };
        this.body = None;
        this.left.leave(Rest::Lost);
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        match self.body.take() {
            Some(body) if body.is_end_stream() => {}
            Some(_) if self.is_awaited => self.left.leave(Rest::Lost),
            Some(body) => self.left.leave(Rest::Of(body)),
            None => {}
        }
    }
}

/// The answer to come.
pub(super) struct Answering<F> {
    answer: F,
    given: Option<Response>,
    left: Arc<Left>,
    discarding: Option<Discarding>,
    /// How long what is left of a body is read.
    patience: Duration,
    activity: Arc<Activity>,
}

impl<F> Answering<F> {
    pub(super) fn new(answer: F, activity: &Arc<Activity>, left: &Arc<Left>, patience: Duration) -> Self {
        let (activity, left) = (Arc::clone(activity), Arc::clone(left));
        Self { answer, given: None, left, discarding: None, patience, activity }
    }
}

impl<F: Future<Output = Result<Response, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.given.is_none() {
            let Ok(given) = ready!(Pin::new(&mut this.answer).poll(context));
            this.given = Some(given);
            this.discarding = this.left.take(this.patience);
        }
        let is_read = match &mut this.discarding {
            Some(rest) => ready!(rest.poll_end(context)),
            None => true,
        };
        this.discarding = None;
        let Some(mut given) = this.given.take() else { return Poll::Pending };
        if !is_read {
            given.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let activity = Arc::clone(&this.activity);
        Poll::Ready(Ok(given.map(|body| Answer { body, activity })))
    }
}

/// Reads what is left of a body, and throws it away.
struct Discarding {
    body: Option<Incoming>,
    read: u64,
    until: Instant,
}

impl Discarding {
    fn new(body: Option<Incoming>, patience: Duration) -> Self {
        let body = body.filter(|body| body.size_hint().lower() <= MOST_DISCARDED);
        Self { body, read: 0, until: Instant::now() + patience }
    }

    /// Whether all is read, once that is so or it takes too much.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(body) = &mut self.body else { return Poll::Ready(false) };
        while self.read <= MOST_DISCARDED {
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.read += frame.data_ref().map_or(0, Bytes::len) as u64,
                Poll::Ready(ended) => return Poll::Ready(ended.is_none()),
                // The connection wakes this task often enough to look again.
                Poll::Pending if Instant::now() < self.until => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(false)
    }
}

/// The body of an answer. When it is gone, the next request may begin.
pub(super) struct Answer {
    body: Body,
    activity: Arc<Activity>,
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
        self.activity.end_request();
    }
}
