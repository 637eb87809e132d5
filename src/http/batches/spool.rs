//! The body of a request for a batch, in a file without a name: it is gone when the request is, whatever happens.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
};

use axum::{body::Bytes, extract::Request};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::spawn_blocking};
use uuid::Uuid;

use super::{
    super::{auth::to_hex, body, error::Refusal},
    users::{self, Head, User},
};

/// What is gathered from the socket before it is written.
const PIECE: usize = 1024 * 1024;
/// Chunks of users that may be read ahead.
const AHEAD: usize = 2;

/// A body on the disk.
pub(super) struct Spool {
    file: Arc<File>,
    /// The SHA-256 of the body, in hex.
    pub(super) fingerprint: String,
}

impl Spool {
    /// Writes the body of a request to a file.
    ///
    /// # Errors
    /// 413 when it is longer than `longest` bytes, 400 when the connection breaks, 503 when it cannot be written.
    pub(super) async fn of(request: Request, longest: usize) -> Result<Self, Refusal> {
        let mut body = request.into_body().into_data_stream();
        let mut writer = Writer { file: nameless_file()?, hash: Sha256::new() };
        let (mut pieces, mut gathered, mut length): (Vec<Bytes>, usize, usize) = (Vec::new(), 0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| body::unreadable())?;
            length += piece.len();
            gathered += piece.len();
            if length > longest {
                return Err(body::too_large());
            }
            pieces.push(piece);
            if gathered >= PIECE {
                writer = writer.write(std::mem::take(&mut pieces)).await?;
                gathered = 0;
            }
        }
        let writer = writer.write(pieces).await?;
        Ok(Self { file: Arc::new(writer.file), fingerprint: to_hex(&writer.hash.finalize()) })
    }

    /// Judges the body whole.
    ///
    /// # Errors
    /// 400 when it is not JSON, 422 naming what is wrong: of the users, the first.
    pub(super) async fn head(&self, most_users: u64) -> Result<Head, Refusal> {
        let file = Arc::clone(&self.file);
        spawn_blocking(move || users::judge(from_the_start(&file)?, most_users)).await.map_err(unavailable)?
    }

    /// Its users, each identifier once. To be called after [`Spool::head`], one at a time.
    pub(super) fn users(&self) -> mpsc::Receiver<Result<Vec<User>, Refusal>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let file = Arc::clone(&self.file);
        // Ends with the receiver.
        drop(spawn_blocking(move || {
            let read = from_the_start(&file)
                .and_then(|reader| users::read(reader, |users| sender.blocking_send(Ok(users)).is_ok()));
            if let Err(refusal) = read {
                drop(sender.blocking_send(Err(refusal)));
            }
        }));
        receiver
    }
}

struct Writer {
    file: File,
    hash: Sha256,
}

impl Writer {
    async fn write(mut self, pieces: Vec<Bytes>) -> Result<Self, Refusal> {
        spawn_blocking(move || {
            for piece in pieces {
                self.hash.update(&piece);
                self.file.write_all(&piece)?;
            }
            Ok(self)
        })
        .await
        .map_err(unavailable)?
        .map_err(|error: std::io::Error| unavailable(error))
    }
}

/// A file that only this process has.
fn nameless_file() -> Result<File, Refusal> {
    let path = std::env::temp_dir().join(format!("postroom-batch-{}", Uuid::now_v7()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(unavailable)?;
    std::fs::remove_file(&path).map_err(unavailable)?;
    Ok(file)
}

fn from_the_start(file: &Arc<File>) -> Result<BufReader<&File>, Refusal> {
    let mut file: &File = file;
    file.rewind().map_err(unavailable)?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the body of a batch could not be kept on disk");
    Refusal::unavailable()
}
