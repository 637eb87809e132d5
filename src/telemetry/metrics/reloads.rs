//! What is known of reloads of the configuration.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::labels::ResultLabels;
use crate::clock;

/// The results that are counted.
const RESULTS: [&str; 4] = ["changed", "unchanged", "refused", "failed"];

/// Reloads of the configuration.
#[derive(Default)]
pub struct Reloads {
    results: Family<ResultLabels, Counter>,
    read_at: Gauge<f64, AtomicU64>,
}

impl Reloads {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "config_reloads",
            "Reloads of the configuration. Act when `refused` grows: the file is wrong, and the next start would fail",
            self.results.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the configuration in force was read, in Unix time. Act when the file is newer: it is not in force",
            Unit::Seconds,
            self.read_at.clone(),
        );
        for result in RESULTS {
            drop(self.results.get_or_create(&ResultLabels { result }));
        }
    }

    /// Notes that the configuration in force was read now.
    pub fn read_now(&self) {
        self.read_at.set(clock::now().millis() as f64 / 1_000.0);
    }

    /// Counts a reload.
    pub fn count(&self, result: &'static str) {
        self.results.get_or_create(&ResultLabels { result }).inc();
    }
}
