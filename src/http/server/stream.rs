//! A connection's bytes, watched: whether a head, the next request or a reader is waited for, and for how long.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::connection_limit::ConnectionPermit;

/// The fewest bytes a second that a peer must send of a body, or take of an answer.
pub(super) const SLOWEST: u64 = 1024;
/// However quick a peer was before, it may pause for so many times the grace at most.
const LONGEST_PAUSE: u32 = 3;
/// How often a connection that waits is looked at, at least.
const LONGEST_TICK: Duration = Duration::from_secs(5);
/// How soon it is noticed that the first bytes have come, where that is waited for.
const LOOKS: Duration = Duration::from_millis(10);

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a head, and for a peer that is slower than it must be.
    pub(super) head: Duration,
    /// For a connection on which nothing happens.
    pub(super) idle: Duration,
}

/// What is under way on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// How many requests began and ended, counted together: odd while one is under way, from its complete head to the end
    /// of its answer's body.
    count: AtomicU32,
    /// Whether bytes of an answer, whose body may have ended before, wait for the peer to read.
    is_writing: AtomicBool,
    /// Whether the peer has sent anything yet.
    has_heard: AtomicBool,
}

impl Activity {
    /// Returns when the peer has sent something.
    pub(super) async fn heard(&self) {
        while !self.has_heard.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOKS).await;
        }
    }

    pub(super) fn begin_request(&self) {
        self.count.fetch_or(1, Ordering::Relaxed);
    }

    pub(super) fn end_request(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_in_request(&self) -> bool {
        self.count() % 2 == 1 || self.is_writing.load(Ordering::Relaxed)
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

/// A timer that is made when it is first needed, and set anew only when it must fire earlier.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once `deadline` has passed.
    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// How quick a peer is, counting only the time that it makes us wait.
pub(super) struct Pace {
    grace: Duration,
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// `grace` is how long a peer may be too slow.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, bytes: 0, waited: Duration::ZERO, waiting_since: None }
    }

    /// Notes that so many bytes went through.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Notes that the peer is waited for; returns until when.
    pub(super) fn wait(&mut self) -> Instant {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let earned = Duration::from_millis(self.bytes.saturating_mul(1_000) / SLOWEST);
        let left = (self.grace + earned).saturating_sub(self.waited);
        since + left.min(self.grace * LONGEST_PAUSE)
    }
}

/// A connection.
pub(super) struct Stream {
    stream: TcpStream,
    activity: Arc<Activity>,
    seen: u32,
    patience: Patience,
    permit: ConnectionPermit,
    /// Since when a head has been coming: from its first byte.
    head_since: Option<Instant>,
    /// Since when nothing has happened. A connection on which nothing has come yet is one that a client keeps for later.
    idle_since: Option<Instant>,
    reading: Timer,
    writing: Pace,
    write_timer: Timer,
}

impl Stream {
    pub(super) fn new(
        stream: TcpStream,
        activity: Arc<Activity>,
        patience: Patience,
        permit: ConnectionPermit,
    ) -> Self {
        Self {
            stream,
            activity,
            seen: 0,
            patience,
            permit,
            head_since: None,
            idle_since: None,
            reading: Timer::default(),
            writing: Pace::new(patience.head),
            write_timer: Timer::default(),
        }
    }

    /// Nothing came. Ready when that has been so for too long.
    fn wait(&mut self, is_in_request: bool, context: &mut Context<'_>) -> Poll<()> {
        // The timer fires often enough for all that is looked at, so that it need not be set for each request.
        let tick = (self.patience.head / 4).min(LONGEST_TICK);
        loop {
            let now = Instant::now();
            let until = match self.head_since {
                _ if is_in_request => None, // whoever reads the body looks at its pace when the timer fires
                Some(since) => Some(since + self.patience.head),
                None => {
                    let longest = if self.permit.is_wanted() { tick } else { self.patience.idle };
                    Some(*self.idle_since.get_or_insert(now) + longest)
                }
            };
            if until.is_some_and(|until| now >= until) {
                return Poll::Ready(());
            }
            if self.reading.poll(until.unwrap_or(now + tick).min(now + tick), context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wrote(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.activity.is_writing.store(written.is_pending(), Ordering::Relaxed);
        match written {
            Poll::Ready(written) => {
                self.writing.moved(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => {
                let until = self.writing.wait();
                self.write_timer.poll(until, context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let count = this.activity.count();
        if count != this.seen {
            this.seen = count;
            (this.head_since, this.idle_since) = (None, None);
        }
        let is_in_request = this.activity.is_in_request();
        if is_in_request {
            this.idle_since = None;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                this.activity.has_heard.store(true, Ordering::Relaxed);
                if !is_in_request && buffer.filled().len() > before {
                    this.head_since.get_or_insert_with(Instant::now);
                    this.idle_since = None;
                }
                Poll::Ready(read)
            }
            Poll::Pending => this.wait(is_in_request, context).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.wrote(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.wrote(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
