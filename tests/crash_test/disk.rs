//! A small file system in memory, which can be filled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Mounted until it is dropped.
pub struct SmallDisk(PathBuf);

/// What is left of it for a database.
const MEGABYTES: usize = 192;

impl SmallDisk {
    /// Whether this machine lets us mount one.
    pub fn can_be_mounted() -> bool {
        let folder = tempfile::tempdir().unwrap();
        let mounted = mount(folder.path(), 1);
        if mounted {
            unmount(folder.path());
        }
        mounted
    }

    /// Mounts one.
    pub fn mount(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        assert!(mount(folder, MEGABYTES), "a small file system needs root");
        Self(folder.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the room that there is.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        // It ends with the error that there is no more room.
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    /// Gives it back.
    pub fn make_room(&self) {
        let _ = fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn mount(folder: &Path, megabytes: usize) -> bool {
    let options = format!("size={megabytes}m");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
    done.is_ok_and(|done| done.status.success())
}

fn unmount(folder: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
}
