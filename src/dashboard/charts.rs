//! Charts: bars as SVG that the server draws, each with its numbers as a table beside it.

use askama::Template;

use super::{parts::Time, words};
use crate::mail::Timestamp;

/// The width and height of a chart in its own units; it is stretched to its place.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// What one part of each bar stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// `good`, `warn`, `bad` or `over`: a colour of the style sheet.
    pub(super) tone: &'static str,
}

/// One span of time.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    /// One for each series.
    pub(super) values: Vec<u64>,
}

/// Bars over time.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/parts/chart.html")]
pub(super) struct Chart {
    /// Names the chart on its page.
    id: &'static str,
    title: String,
    /// How many of each series there are in all.
    totals: Vec<String>,
    series: Vec<Series>,
    rows: Vec<Row>,
    rectangles: Vec<Rectangle>,
    highest: String,
    first: Time,
    last: Time,
}

#[derive(Clone, Debug)]
struct Row {
    from: Time,
    values: Vec<String>,
}

#[derive(Clone, Debug)]
struct Rectangle {
    tone: &'static str,
    x: String,
    y: String,
    width: String,
    height: String,
}

impl Chart {
    /// Draws spans that follow one another.
    pub(super) fn of(id: &'static str, title: &str, series: &[Series], spans: &[Span]) -> Self {
        let highest = spans.iter().map(Span::sum).max().unwrap_or(0);
        let each = WIDTH / spans.len().max(1) as f64;
        let mut rectangles = Vec::new();
        for (place, span) in spans.iter().enumerate() {
            let mut below = HEIGHT;
            for (series, value) in series.iter().zip(&span.values).filter(|(_, value)| **value > 0) {
                // What happened at all is seen.
                let height = (*value as f64 / highest.max(1) as f64 * HEIGHT).max(1.0);
                below = (below - height).max(0.0);
                rectangles.push(Rectangle {
                    tone: series.tone,
                    x: short(place as f64 * each + each * 0.1),
                    y: short(below),
                    width: short(each * 0.8),
                    height: short(height),
                });
            }
        }
        let total = |at: usize| spans.iter().filter_map(|span| span.values.get(at)).sum::<u64>();
        let totals = (0..series.len()).map(|at| words::number(total(at))).collect();
        let happened = spans.iter().filter(|span| span.sum() > 0);
        let rows = happened.rev().map(|span| Row {
            from: Time(span.from),
            values: span.values.iter().map(|value| words::number(*value)).collect(),
        });
        let edge = |span: Option<&Span>| Time(span.map_or(Timestamp(0), |span| span.from));
        Self {
            id,
            title: title.to_owned(),
            totals,
            series: series.to_vec(),
            rows: rows.collect(),
            rectangles,
            highest: words::number(highest),
            first: edge(spans.first()),
            last: edge(spans.last()),
        }
    }
}

impl Span {
    fn sum(&self) -> u64 {
        self.values.iter().sum()
    }
}

fn short(number: f64) -> String {
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::written;

    const SERIES: [Series; 2] =
        [Series { name: "sent", tone: "good" }, Series { name: "failed", tone: "bad" }];

    #[test]
    fn the_highest_bar_fills_the_chart_and_the_table_has_the_numbers() {
        let spans = [[0, 0], [2_000, 0], [500, 500]].iter().enumerate().map(|(minute, values)| Span {
            from: Timestamp(minute as i64 * 60_000),
            values: values.to_vec(),
        });
        let chart = Chart::of("hour", "Mails", &SERIES, &spans.collect::<Vec<_>>());
        assert_eq!(chart.totals, ["2,500", "500"]);
        assert_eq!(chart.rectangles.len(), 3);
        assert_eq!((chart.rectangles[0].y.as_str(), chart.rectangles[0].height.as_str()), ("0.0", "120.0"));
        assert_eq!((chart.rectangles[2].y.as_str(), chart.rectangles[2].height.as_str()), ("60.0", "30.0"));
        let html = written(&chart);
        assert!(html.contains("<td class=\"count\">2,000</td>") && !html.contains("style="), "{html}");
    }

    #[test]
    fn a_chart_of_nothing_is_one_too() {
        let chart = Chart::of("hour", "Mails", &SERIES, &[]);
        assert!(chart.rectangles.is_empty() && written(&chart).contains("Nothing yet"));
    }
}
