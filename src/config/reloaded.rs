//! What becomes of the settings when their file is read again while the process runs.

use super::{
    faults::ConfigFaults,
    settings::{Config, Role},
    written::{Change, Written, is_changeable},
};

/// Notes the content of the files that these settings name and that a reload reads again.
pub(super) fn note_files(written: &mut Written, config: &Config) {
    for route in &config.smtp.routes {
        if let Some(file) = &route.ca_file {
            written.note_file(format!("smtp.routes.{}.ca_file", route.name), file);
        }
    }
    for key in &config.dkim {
        written.note_file(format!("dkim.{}/{}.key_file", key.domain, key.selector), &key.path());
    }
    written.note_file("smtp.replies_file".to_owned(), &config.smtp.replies_file);
}

/// A configuration that was read again.
pub struct Reloaded {
    /// What is in force with it: the settings that may change are as they were read, all others as before.
    pub config: Config,
    /// What it changes.
    pub changes: Vec<Change>,
    /// What it would change if the process were started anew.
    pub needs_restart: Vec<Change>,
}

impl Config {
    /// Reads the same file, the same environment, and the files that they name again.
    ///
    /// # Errors
    /// Every fault that was found; nothing of it may be used then.
    pub fn reload(&self, role: Role) -> Result<Reloaded, ConfigFaults> {
        let new = Self::load(self.written.file(), self.written.environment.clone())?;
        new.check_role(role)?; // the next start would end with it
        let (changes, needs_restart) = new
            .written
            .changes_since(&self.written)
            .into_iter()
            .partition(|change| is_changeable(&change.key));
        let Self { smtp, dkim, limits, log, written, .. } = new;
        let mut config = Self { smtp, dkim, limits, written: written.over(&self.written), ..self.clone() };
        config.log.filter = log.filter;
        Ok(Reloaded { config, changes, needs_restart })
    }
}
