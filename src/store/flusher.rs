//! Brings to the disk what SQLite has committed, beside the transactions that follow.
//!
//! SQLite itself is told not to wait for the disk with each commit (`synchronous = NORMAL`): it appends to its write-ahead
//! log, and waits only before it moves the log into the database. The flush that a promise needs is made here, on a thread of
//! its own, and nobody is told of a commit before it. Several commits share a flush where they come while one is under way. Nor is
//! anybody told where the files were moved or removed under the process: what they take then is lost with it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use super::{
    error::Unflushed,
    opened_file::{Inode, OpenConnection, OpenedFile},
};

/// Called once a commit is on the disk.
type OnDurable = Box<dyn FnOnce() + Send>;

/// The thread that flushes.
pub(super) struct Flusher {
    waiting: mpsc::Sender<OnDurable>,
}

impl Flusher {
    /// Starts the thread, for the log of this database and the one connection that writes to it. After a flush that failed it
    /// does nothing more.
    pub(super) fn start(
        database: OpenedFile,
        connection: OpenConnection,
        failed: impl Fn(Unflushed) + Send + 'static,
    ) -> io::Result<Self> {
        let mut log = Log::of(database, connection);
        let (waiting, commits) = mpsc::channel::<OnDurable>();
        thread::Builder::new().name("sqlite-flusher".to_owned()).spawn(move || {
            while let Ok(first) = commits.recv() {
                // All of these are committed before the flush begins.
                let told: Vec<_> = std::iter::once(first).chain(commits.try_iter()).collect();
                if let Err(error) = log.flush() {
                    // Without a store nobody is left who could be told.
                    let has_store = !matches!(commits.try_recv(), Err(mpsc::TryRecvError::Disconnected));
                    return if has_store {
                        failed(error)
                    };
                }
                told.into_iter().for_each(|tell| tell());
            }
        })?;
        Ok(Self { waiting })
    }

    /// Calls this when all that is committed by now is on the disk.
    pub(super) fn when_durable(&self, told: impl FnOnce() + Send + 'static) {
        let _ = self.waiting.send(Box::new(told));
    }
}

/// The write-ahead log.
struct Log {
    path: PathBuf,
    open: Option<OpenLog>,
    database: OpenedFile,
    connection: OpenConnection,
}

struct OpenLog {
    file: File,
    inode: Inode,
    /// The connection whose log it is. No other takes its place while that is open.
    of: Option<u64>,
}

impl Log {
    fn of(database: OpenedFile, connection: OpenConnection) -> Self {
        let mut path = database.path().as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), open: None, database, connection }
    }

    /// Whoever is told after this finds what was committed where the database was opened.
    fn flush(&mut self) -> Result<(), Unflushed> {
        self.flush_log()?;
        self.database.check()
    }

    fn flush_log(&mut self) -> Result<(), Unflushed> {
        let connection = self.connection.number();
        let there = match self.path.metadata() {
            Ok(metadata) => Some(Inode::of(&metadata)),
            // Whoever closes the last connection moves the log into the database, flushes that, and deletes the log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if self.is_lost(there) {
            return Err(Unflushed::Lost { file: self.path.clone() });
        }
        let Some(inode) = there else { return Ok(()) };
        match &mut self.open {
            Some(open) if open.inode == inode => open.of = connection,
            open => *open = Some(open_new(&self.path, connection)?),
        }
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())?;
        Ok(())
    }

    /// Whether another log than that of the connection that writes is there, or none. Asked after the look at what is there: the
    /// connection was open all the while, then.
    fn is_lost(&self, there: Option<Inode>) -> bool {
        let is_in_use = |open: &&OpenLog| open.of.is_some() && open.of == self.connection.number();
        self.open.as_ref().filter(is_in_use).is_some_and(|open| Some(open.inode) != there)
    }
}

fn open_new(path: &Path, of: Option<u64>) -> io::Result<OpenLog> {
    let file = File::open(path)?;
    // The file is new: its name has to be on the disk too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    let inode = Inode::of(&file.metadata()?);
    Ok(OpenLog { file, inode, of })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::mpsc::{Receiver, Sender, channel},
        time::Duration,
    };

    use super::*;

    /// A database and its log, as far as the flusher sees them.
    struct Files {
        folder: tempfile::TempDir,
        connection: OpenConnection,
        flusher: Flusher,
        failed: Receiver<Unflushed>,
    }

    impl Files {
        fn open() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("data").join("postroom.db");
            fs::create_dir(folder.path().join("data")).unwrap();
            fs::write(&database, "rows").unwrap();
            let (failed, failure): (Sender<Unflushed>, _) = channel();
            let (database, connection) = (OpenedFile::at(database).unwrap(), OpenConnection::default());
            let failed = move |error| failed.send(error).unwrap();
            let flusher = Flusher::start(database, connection.clone(), failed).unwrap();
            Self { folder, connection, flusher, failed: failure }
        }

        fn path(&self, file: &str) -> PathBuf {
            self.folder.path().join("data").join(file)
        }

        fn is_told(&self) -> bool {
            let (tell, told) = channel();
            self.flusher.when_durable(move || tell.send(()).unwrap());
            told.recv_timeout(Duration::from_secs(10)).is_ok()
        }

        fn says_that_it_lost(&self, file: &str) {
            assert!(!self.is_told());
            let failure = self.failed.recv().unwrap();
            assert!(
                matches!(&failure, Unflushed::Lost { file: lost } if *lost == self.path(file)),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_commit_is_durable_also_where_the_log_is_another_file_or_none() {
        let files = Files::open();
        let log = files.path("postroom.db-wal");
        assert!(files.is_told());
        for content in ["one", "two"] {
            let connection = files.connection.open();
            fs::write(&log, content).unwrap();
            assert!(files.is_told());
            drop(connection);
            fs::remove_file(&log).unwrap();
            assert!(files.is_told());
        }
    }

    #[test]
    fn a_commit_is_not_durable_where_the_log_cannot_be_flushed() {
        let files = Files::open();
        // A file in the place of the folder.
        fs::rename(files.path(""), files.folder.path().join("elsewhere")).unwrap();
        fs::write(files.folder.path().join("data"), "a file").unwrap();
        assert!(!files.is_told());
        assert!(matches!(files.failed.recv().unwrap(), Unflushed::Disk(_)));
    }

    #[test]
    fn a_commit_is_not_durable_where_the_database_was_moved_away_or_replaced() {
        let moved = Files::open();
        assert!(moved.is_told());
        fs::rename(moved.path(""), moved.folder.path().join("elsewhere")).unwrap();
        moved.says_that_it_lost("postroom.db");

        let replaced = Files::open();
        fs::write(replaced.path("backup.db"), "older rows").unwrap();
        fs::rename(replaced.path("backup.db"), replaced.path("postroom.db")).unwrap();
        replaced.says_that_it_lost("postroom.db");
    }

    #[test]
    fn a_commit_is_not_durable_where_the_log_was_removed_or_replaced_under_the_connection_that_writes() {
        for is_replaced in [false, true] {
            let files = Files::open();
            let _connection = files.connection.open();
            fs::write(files.path("postroom.db-wal"), "one").unwrap();
            assert!(files.is_told());
            fs::remove_file(files.path("postroom.db-wal")).unwrap();
            if is_replaced {
                fs::write(files.path("postroom.db-wal"), "two").unwrap();
            }
            files.says_that_it_lost("postroom.db-wal");
        }
    }
}
