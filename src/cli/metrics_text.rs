//! Reads counters from the text of `/metrics` (OpenMetrics): enough to tell how fast they grow.

use std::{collections::BTreeMap, time::Duration};

/// The labels of a counter.
pub(super) type Labels = BTreeMap<String, String>;

/// Counters by name and labels.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<String, BTreeMap<Labels, f64>>);

impl Counters {
    /// Reads what it understands.
    pub(super) fn read(text: &str) -> Self {
        let mut counters = Self::default();
        for (name, labels, value) in text.lines().filter_map(read_line) {
            counters.0.entry(name).or_default().insert(labels, value);
        }
        counters
    }
}

/// `name{label="value",…} number`
fn read_line(line: &str) -> Option<(String, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some((head.to_owned(), Labels::new(), value));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut read = Labels::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, end) = quoted(after)?;
        read.insert(label.trim_start_matches(',').to_owned(), value);
        rest = &after[end..];
    }
    Some((name.to_owned(), read, value))
}

/// The text up to the closing quote, and where it ends behind that.
fn quoted(text: &str) -> Option<(String, usize)> {
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, each) in text.char_indices() {
        match each {
            '\\' if !is_escaped => is_escaped = true,
            '"' if !is_escaped => return Some((value, at + 1)),
            'n' if is_escaped => (value, is_escaped) = (value + "\n", false),
            other => {
                value.push(other);
                is_escaped = false;
            }
        }
    }
    None
}

/// How fast each of the counters of a name grew, in a second. One that is smaller than before began anew.
pub(super) fn rates<'a>(
    first: &'a Counters,
    second: &'a Counters,
    took: Duration,
    name: &'a str,
) -> impl Iterator<Item = (&'a Labels, f64)> {
    let before = first.0.get(name);
    second.0.get(name).into_iter().flatten().map(move |(labels, value)| {
        let was =
            before.and_then(|before| before.get(labels)).copied().filter(|was| was <= value).unwrap_or(0.0);
        (labels, (value - was) / took.as_secs_f64().max(0.001))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_with_its_labels_and_grows_by_the_second() {
        let text = |main: u32, other: u32| {
            Counters::read(&format!(
                "# TYPE postroom_attempts counter\npostroom_attempts_total{{route=\"ma\\\"in\",outcome=\"accepted\"}} {main}\n\
                 postroom_attempts_total{{route=\"b,c=\",outcome=\"transient\"}} {other}\npostroom_up 1\nnonsense\n# EOF\n"
            ))
        };
        let (first, second) = (text(10, 50), text(30, 5));
        let told: Vec<_> = rates(&first, &second, Duration::from_secs(2), "postroom_attempts_total")
            .map(|(labels, rate)| (labels["route"].as_str(), rate))
            .collect();
        assert_eq!(told, [("ma\"in", 10.0), ("b,c=", 2.5)]);
        assert_eq!(rates(&first, &second, Duration::from_secs(1), "other").count(), 0);
    }
}
