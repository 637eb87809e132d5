//! The table, and the same as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{Options, verdict::Verdict};

/// What a run came to.
pub struct Report {
    /// How it was run.
    pub options: Options,
    /// Faults that this machine does not let us make, and why.
    pub left_out: Vec<&'static str>,
    /// How many steps callers took.
    pub requests: usize,
    /// How processes ended that nobody ended.
    pub ends: Vec<String>,
    /// The comparison.
    pub verdict: Verdict,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.verdict.broken.is_empty()
    }

    /// The command that runs the same again.
    pub fn command(&self) -> String {
        let minutes = self.options.length.as_secs_f64() / 60.0;
        let Options { seed, rate, embedded, .. } = &self.options;
        let embedded = if *embedded { " --embedded" } else { "" };
        format!(
            "cargo run --release --example crash_test -- --minutes {minutes:.2} --rate {rate} --seed {seed}{embedded}"
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "seed": self.options.seed, "embedded": self.options.embedded, "good": self.is_good(), "requests": self.requests,
            "left_out": self.left_out, "ends": self.ends, "verdict": self.verdict, "command": self.command(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        let slowest = verdict.recoveries.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
        writeln!(out, "seconds to recover, without other faults:")?;
        for (fault, seconds) in &verdict.recoveries {
            writeln!(out, "{seconds:8.1}  {fault}")?;
        }
        self.ends.iter().try_for_each(|end| writeln!(out, "a process ended by itself: {end}"))?;
        for (name, count) in [
            ("faults", verdict.recoveries.len()),
            ("promised", verdict.promised),
            ("delivered", verdict.delivered),
            ("lost", verdict.lost),
            ("doubled", verdict.doubled),
            ("doubled, with an unknown outcome on record", verdict.doubled_on_record),
            ("sent after 503", verdict.sent_after_503),
            ("webhooks missing", verdict.webhooks_missing),
            ("webhooks doubled", verdict.webhooks_doubled),
            ("states that disagree", verdict.disagreements),
        ] {
            writeln!(out, "{count:8}  {name}")?;
        }
        writeln!(out, "{slowest:8.1}  seconds to recover at most")?;
        for (kind, complaints) in &verdict.broken {
            complaints.iter().try_for_each(|complaint| writeln!(out, "broken: {kind}: {complaint}"))?;
        }
        if !self.is_good() {
            writeln!(out, "run it again: {}", self.command())?;
        }
        Ok(())
    }
}
