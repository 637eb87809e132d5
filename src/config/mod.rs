//! Settings: `config.toml`, compiled in as the defaults, overlaid by a file and by the environment.
//!
//! Every fault is reported at once, by the key, with where the value came from and what is allowed.
//!
//! | file | is |
//! |---|---|
//! | `settings.rs` | the settings that belong to no component |
//! | `layers.rs`, `lines.rs` | lays a file and the environment over the defaults, and knows where each value came from |
//! | `check.rs` | what the types of the settings cannot say |
//! | `faults.rs` | what is wrong, for administrators |
//! | `written.rs`, `reloaded.rs` | what a configuration was read from, and what reading it again changes |
//! | `redacted_url.rs` | where a store is, without its secrets |
//! | `size.rs` | a number of bytes, as people write it |

mod check;
mod faults;
mod layers;
mod lines;
mod redacted_url;
mod reloaded;
mod settings;
mod size;
#[cfg(test)]
mod tests;
mod written;

use std::path::Path;

pub use faults::{ConfigFaults, Fault};
pub use redacted_url::redacted_url;
pub use reloaded::Reloaded;
pub use settings::{
    ActionSettings, AdminSettings, BatchSettings, Config, HttpSettings, Role, SmtpSettings, WorkerSettings,
};
pub use size::Size;
pub use written::{Change, Difference, Written};

/// The defaults and the manual.
const DEFAULTS: &str = include_str!("../../config.toml");

impl Config {
    /// Reads the defaults, the file, and those of `environment` that begin with `POSTROOM_`.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let mut layers = layers::Layers::of_defaults(DEFAULTS);
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        let environment = layers::variables(environment);
        layers.add_environment(&environment);
        layers.read_secrets();
        let mut written = Written::new(file, environment, layers.values());
        let mut config = layers.parse::<Self>();
        if let Some(config) = &mut config {
            reloaded::note_files(&mut written, config);
            config.written = written;
            check::check(config, &mut layers);
        }
        match (config, layers.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(ConfigFaults(faults)),
        }
    }

    /// Checks that this configuration can serve `role`.
    ///
    /// # Errors
    /// When the queue lives in this process and another process would have to reach it.
    pub fn check_role(&self, role: Role) -> Result<(), ConfigFaults> {
        let embedded = self.queue.url.starts_with("memory:");
        if role == Role::All || !embedded {
            return Ok(());
        }
        ConfigFaults::none_of(vec![Fault {
            key: "queue.url".to_owned(),
            from: None,
            message: "`memory:` is inside one process and serves only --role all; separate roles need redis://, rediss:// or unix://".to_owned(),
        }])
    }
}
