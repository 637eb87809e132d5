//! The body of a request for a batch, in a file without a name: it is gone when the request is, whatever happens.

use std::{
    collections::HashMap,
    error::Error,
    fs::File,
    io::{BufReader, Seek, Write},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use axum::{body::Bytes, extract::Request, http::StatusCode};
use futures_util::StreamExt;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    user_stream::Limits,
    users::{self, Chunk, Head},
};
use crate::{
    http::{body, error::Refusal, fingerprint},
    mail::MerchantId,
};

/// What is gathered from the socket before it is written.
const PIECE: usize = 64 * 1024;
/// Chunks of users that may be read ahead.
const AHEAD: usize = 2;

/// A body on the disk.
pub(super) struct Spool {
    file: Arc<File>,
    share: Share,
}

impl Spool {
    /// Writes the body of a request to a file.
    ///
    /// # Errors
    /// 413 when it is longer than `longest` bytes, 429 when the merchant's bodies together take more than `share`, 400
    /// when the connection breaks, 503 when it cannot be written.
    pub(super) async fn of(
        request: Request,
        merchant: &MerchantId,
        longest: usize,
        share: usize,
    ) -> Result<Self, Refusal> {
        let mut body = request.into_body().into_data_stream();
        let mut writer = Writer { file: tempfile::tempfile().map_err(unavailable)? };
        let mut share = Share { merchant: merchant.clone(), bytes: 0, most: share };
        let (mut pieces, mut gathered): (Vec<Bytes>, usize) = (Vec::new(), 0);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| body::unreadable(&error))?;
            share.take(piece.len())?;
            gathered += piece.len();
            if share.bytes > longest {
                return Err(body::too_large());
            }
            pieces.push(piece);
            if gathered >= PIECE {
                writer = writer.write(std::mem::take(&mut pieces)).await?;
                gathered = 0;
            }
        }
        let writer = writer.write(pieces).await?;
        Ok(Self { file: Arc::new(writer.file), share })
    }

    /// How long the body is, in bytes.
    pub(super) fn length(&self) -> usize {
        self.share.bytes
    }

    /// The fingerprint of the body with this query, for an idempotency key.
    ///
    /// # Errors
    /// 503 when the file cannot be read.
    pub(super) async fn fingerprint(&self, query: &str) -> Result<String, Refusal> {
        let (file, query) = (Arc::clone(&self.file), query.to_owned());
        let read = move || match fingerprint::of_reader(&query, from_the_start(&file)?) {
            Some(fingerprint) => Ok(fingerprint),
            None => fingerprint::of_raw(&query, from_the_start(&file)?).map_err(unavailable),
        };
        spawn_blocking(read).await.map_err(unavailable)?
    }

    /// Judges the body whole.
    ///
    /// # Errors
    /// 400 when it is not JSON, 422 naming what is wrong: of the users, the first.
    pub(super) async fn head(&self, limits: Limits) -> Result<Head, Refusal> {
        let file = Arc::clone(&self.file);
        spawn_blocking(move || users::judge(from_the_start(&file)?, limits)).await.map_err(unavailable)?
    }

    /// Its users, each identifier once. To be called after [`Spool::head`], one at a time.
    pub(super) fn users(&self, limits: Limits) -> mpsc::Receiver<Result<Chunk, Refusal>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let file = Arc::clone(&self.file);
        // Ends with the receiver.
        drop(spawn_blocking(move || {
            let read = from_the_start(&file).and_then(|reader| {
                users::read(reader, limits, |users| sender.blocking_send(Ok(users)).is_ok())
            });
            if let Err(refusal) = read {
                drop(sender.blocking_send(Err(refusal)));
            }
        }));
        receiver
    }
}

/// What each merchant has on the disk in this process, in bytes.
static SPOOLED: LazyLock<Mutex<HashMap<MerchantId, usize>>> = LazyLock::new(Mutex::default);

fn spooled() -> MutexGuard<'static, HashMap<MerchantId, usize>> {
    SPOOLED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one body takes of its merchant's room on the disk; given back with it.
struct Share {
    merchant: MerchantId,
    bytes: usize,
    most: usize,
}

impl Share {
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut spooled = spooled();
        let of_merchant = spooled.entry(self.merchant.clone()).or_default();
        if *of_merchant + bytes > self.most {
            let message = "Too many batches of this merchant are being received at once.";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
            return Err(Refusal { retry_after: Some(5), ..refusal });
        }
        *of_merchant += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut spooled = spooled();
        if let Some(of_merchant) = spooled.get_mut(&self.merchant) {
            *of_merchant = of_merchant.saturating_sub(self.bytes);
            if *of_merchant == 0 {
                spooled.remove(&self.merchant);
            }
        }
    }
}

struct Writer {
    file: File,
}

impl Writer {
    async fn write(mut self, pieces: Vec<Bytes>) -> Result<Self, Refusal> {
        spawn_blocking(move || {
            for piece in pieces {
                self.file.write_all(&piece)?;
            }
            Ok(self)
        })
        .await
        .map_err(unavailable)?
        .map_err(|error: std::io::Error| unavailable(error))
    }
}

fn from_the_start(file: &Arc<File>) -> Result<BufReader<&File>, Refusal> {
    let mut file: &File = file;
    file.rewind().map_err(unavailable)?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

fn unavailable(error: impl Error + 'static) -> Refusal {
    Refusal::failed("the body of a batch could not be kept on disk", &error)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(bytes: usize) -> Request {
        Request::new(Body::from(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn a_merchants_bodies_share_its_room_and_give_it_back() {
        let (tea, coffee) = ("spool-tea".parse().unwrap(), "spool-coffee".parse().unwrap());
        let first = Spool::of(request(60), &tea, 100, 100).await.unwrap();
        let refused = Spool::of(request(60), &tea, 100, 100).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(5)));
        Spool::of(request(60), &coffee, 100, 100).await.unwrap();
        drop(first);
        Spool::of(request(60), &tea, 100, 100).await.unwrap();
        assert_eq!(Spool::of(request(60), &tea, 50, 100).await.err().unwrap().status.as_u16(), 413);
        assert!(spooled().get(&tea).is_none() && spooled().get(&coffee).is_none());
    }
}
