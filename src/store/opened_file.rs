//! Whether the files of SQLite are still the ones that were opened.
//!
//! A file that is moved, removed or replaced while it is open goes on to take what is written to it, and nobody ever finds that
//! again.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::error::Unflushed;

/// Which file this is, wherever it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), number: file.ino() }
    }
}

/// The file of the database, which is open.
#[derive(Clone, Debug)]
pub(super) struct OpenedFile {
    path: PathBuf,
    inode: Inode,
}

impl OpenedFile {
    /// Notes which file is there now.
    pub(super) fn at(path: PathBuf) -> std::io::Result<Self> {
        let inode = Inode::of(&path.metadata()?);
        Ok(Self { path, inode })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the path still leads to it. It is not opened for that: to close it would end SQLite's locks.
    pub(super) fn check(&self) -> Result<(), Unflushed> {
        match self.path.metadata() {
            Ok(now) if Inode::of(&now) == self.inode => Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Unflushed::Disk(error)),
            Ok(_) | Err(_) => Err(Unflushed::Lost { file: self.path.clone() }),
        }
    }
}

/// Which connection writes: each that is opened has another number, and between two of them is none.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenConnection(Arc<AtomicU64>);

impl OpenConnection {
    /// Counts one that was opened just now.
    pub(super) fn open(&self) -> WhileOpen {
        self.0.fetch_add(1, Ordering::SeqCst);
        WhileOpen(Arc::clone(&self.0))
    }

    /// The number of the one that is open.
    pub(super) fn number(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|number| number % 2 == 1)
    }
}

/// To be dropped before its connection is closed.
pub(super) struct WhileOpen(Arc<AtomicU64>);

impl Drop for WhileOpen {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
