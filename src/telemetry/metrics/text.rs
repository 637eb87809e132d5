//! The two text formats of metrics. What is counted is written as OpenMetrics; whoever does not ask for that gets the
//! older format of Prometheus, in which a counter is named with its `_total` everywhere and units are not written.

use std::fmt::Write as _;

use prometheus_client::encoding::text::encode;

use super::Metrics;

impl Metrics {
    /// The metrics in the text format of Prometheus.
    pub fn prometheus(&self) -> String {
        prometheus(&self.open_metrics())
    }

    /// The metrics in the OpenMetrics text format.
    pub fn open_metrics(&self) -> String {
        self.scheduler_lag.set(self.scheduled.age().as_secs_f64());
        self.rescuer_lag.set(self.rescued.age().as_secs_f64());
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = text.write_str("# the metrics could not be written\n");
        }
        text
    }
}

/// Rewrites OpenMetrics as the text format of Prometheus, version 0.0.4.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF"), ..) | (Some("#"), Some("UNIT"), ..) => {}
            (Some("#"), Some("HELP"), Some(name), about) => help = Some((name, about.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some((_, about)) = help.take().filter(|(named, _)| *named == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {about}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_with_their_total_and_units_are_left_out() {
        let open_metrics = "# HELP mails Mails recorded.\n# TYPE mails counter\nmails_total{lane=\"bulk\"} 1\n\
            # HELP wait_seconds How long.\n# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 0.5\n# EOF\n";
        let text = "# HELP mails_total Mails recorded.\n# TYPE mails_total counter\nmails_total{lane=\"bulk\"} 1\n\
            # HELP wait_seconds How long.\n# TYPE wait_seconds gauge\nwait_seconds 0.5\n";
        assert_eq!(prometheus(open_metrics), text);
    }
}
