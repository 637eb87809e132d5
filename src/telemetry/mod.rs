//! What the process tells about itself: the log and the metrics.

mod causes;
pub mod metrics;
mod outage;
mod refusals;

use std::{fmt::Display, io::IsTerminal, sync::OnceLock, time::Duration};

use anyhow::Context;
use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Registry, filter::LevelFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

pub use causes::chain;
pub use metrics::METRICS;
pub use outage::{Outage, Outages};
pub use refusals::{RefusalKind, Refusals};

/// A duration for the log. The number is a number there, which one of 128 bits would not be.
pub fn whole_millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// What is written to the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: String,
}

impl LogSettings {
    /// Reads the filter.
    ///
    /// # Errors
    /// When it cannot be read: what is wrong, and what is allowed.
    pub fn read_filter(&self) -> anyhow::Result<EnvFilter> {
        let unusable = |why: &dyn Display| {
            let allowed = "it is a level such as `info`, or `info,postroom::smtp=debug`";
            anyhow::anyhow!("`{}`: {why}; {allowed}", self.filter)
        };
        // A misspelt level would be taken for the name of a part, and nothing else would be logged.
        let is_bare = |directive: &&str| !directive.contains(['=', '[']);
        let mut bare = self.filter.split(',').map(str::trim).filter(|word| !word.is_empty()).filter(is_bare);
        if let Some(word) = bare.find(|word| word.parse::<LevelFilter>().is_err()) {
            return Err(unusable(&format!("`{word}` is no level")));
        }
        EnvFilter::try_new(&self.filter).map_err(|error| unusable(&error))
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The filter of this process, once it logs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Logs by another filter from now on.
pub fn replace_filter(filter: EnvFilter) {
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(filter)
    {
        tracing::error!(%error, "the log's filter could not be replaced");
    }
}

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = settings.read_filter().context("log.filter")?;
    let human = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if human {
        let ansi = std::io::stderr().is_terminal();
        registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(ansi)).try_init()
    } else {
        registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(std::io::stderr),
            )
            .try_init()
    };
    match started {
        Ok(()) => drop(FILTER.set(handle)),
        Err(_) => tracing::debug!("logging was started before"),
    }
    Ok(())
}
