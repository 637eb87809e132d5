//! Brings to the disk what SQLite has committed, beside the transactions that follow.
//!
//! SQLite itself is told not to wait for the disk with each commit (`synchronous = NORMAL`): it appends to its write-ahead
//! log, and waits only before it moves the log into the database. The flush that a promise needs is made here, on a thread of
//! its own, and nobody is told of a commit before it. Several commits share a flush where they come while one is under way.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

/// Told of its commit once that is on the disk.
type Told = Box<dyn FnOnce() + Send>;

/// The thread that flushes.
pub(super) struct Flusher {
    waiting: mpsc::Sender<Told>,
}

impl Flusher {
    /// Starts the thread, for the log of this database. After a flush that failed it does
    /// nothing more.
    pub(super) fn start(database: &Path, failed: impl Fn(io::Error) + Send + 'static) -> io::Result<Self> {
        let mut log = Log::of(database);
        let (waiting, commits) = mpsc::channel::<Told>();
        thread::Builder::new().name("sqlite-flusher".to_owned()).spawn(move || {
            while let Ok(first) = commits.recv() {
                // All of these are committed before the flush begins.
                let told: Vec<_> = std::iter::once(first).chain(commits.try_iter()).collect();
                if let Err(error) = log.flush() {
                    return failed(error);
                }
                told.into_iter().for_each(|tell| tell());
            }
        })?;
        Ok(Self { waiting })
    }

    /// Tells when all that is committed by now is on the disk.
    pub(super) fn tell(&self, told: impl FnOnce() + Send + 'static) {
        let _ = self.waiting.send(Box::new(told));
    }
}

/// The write-ahead log.
struct Log {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Log {
    fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), open: None }
    }

    fn flush(&mut self) -> io::Result<()> {
        let inode = match self.path.metadata() {
            Ok(metadata) => metadata.ino(),
            // Whoever closes the last connection moves the log into the database, flushes that, and deletes the log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.open.as_ref().is_none_or(|(_, open)| *open != inode) {
            let log = File::open(&self.path)?;
            // The file is new: its name has to be on the disk too.
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            let inode = log.metadata()?.ino();
            self.open = Some((log, inode));
        }
        self.open.as_ref().map_or(Ok(()), |(log, _)| log.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc::channel, time::Duration};

    use super::*;

    fn is_told(flusher: &Flusher) -> bool {
        let (tell, told) = channel();
        flusher.tell(move || tell.send(()).unwrap());
        told.recv_timeout(Duration::from_secs(10)).is_ok()
    }

    #[test]
    fn who_commits_is_told_also_where_the_log_is_another_file_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("postroom.db-wal");
        let flusher = Flusher::start(&folder.path().join("postroom.db"), |error| panic!("{error}")).unwrap();
        assert!(is_told(&flusher));
        for content in ["one", "two"] {
            fs::write(&log, content).unwrap();
            assert!(is_told(&flusher));
            fs::remove_file(&log).unwrap();
            assert!(is_told(&flusher));
        }
    }

    #[test]
    fn who_commits_is_not_told_where_the_log_cannot_be_flushed() {
        let folder = tempfile::tempdir().unwrap();
        // Below a file, where its folder should be, the log can neither be there nor be missing.
        let file = folder.path().join("file");
        fs::write(&file, "a file").unwrap();
        let flusher = Flusher::start(&file.join("postroom.db"), |_| {}).unwrap();
        assert!(!is_told(&flusher));
    }
}
