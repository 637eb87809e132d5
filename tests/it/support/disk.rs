//! A disk whose power can be cut: an ext4 file system in a file.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

const MEGABYTES: u64 = 768;

/// Mounted until it is dropped.
///
/// What was written and not synced stays in memory for long: the journal is written every five minutes, not every five
/// seconds, and Linux writes other data back when they are 30 seconds old. So a test whose load is shorter sees on the
/// disk what was synced and little else.
pub struct Disk(TempDir);

impl Disk {
    /// Formats one.
    pub fn format() -> Self {
        let disk = Self::none();
        let image = fs::File::create(disk.image()).unwrap();
        image.set_len(MEGABYTES * 1024 * 1024).unwrap();
        // Nothing is left for the background to format.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", now]).arg(disk.image()));
        disk.mounted()
    }

    fn none() -> Self {
        let folder = tempfile::Builder::new().prefix("postroom-disk-").tempdir().unwrap();
        // Postgres runs as a user of its own.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn mounted(self) -> Self {
        fs::create_dir(self.path()).unwrap();
        let mut mount = as_root("mount");
        run(mount.args(["-o", "loop,commit=300"]).arg(self.image()).arg(self.path()));
        run(as_root("chmod").arg("777").arg(self.path()));
        self
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }

    /// The URL of a SQLite database on it.
    pub fn sqlite(&self) -> String {
        format!("sqlite:{}", self.path().join("postroom.db").display())
    }

    /// Where a Postgres cluster on it is.
    pub fn postgres(&self) -> PathBuf {
        self.path().join("postgres")
    }

    /// Writes what is in memory only.
    pub fn sync(&self) {
        run(Command::new("sync").arg("--file-system").arg(self.path()));
    }

    /// What is on the disk if the power fails now, mounted as after that. Whoever writes to the disk must be stopped.
    pub fn after_power_cut(&self) -> Self {
        let after = Self::none();
        run(Command::new("cp").arg("--sparse=always").arg(self.image()).arg(after.image()));
        after.mounted()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A command that only root may run.
pub fn as_root(program: &str) -> Command {
    let user = Command::new("id").arg("-u").output().unwrap();
    if user.stdout.starts_with(b"0") {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", "--preserve-env", program]);
    command
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
