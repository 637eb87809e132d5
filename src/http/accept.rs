//! `Accept`: which of the media types that an answer can have the client prefers.

use std::cmp::Reverse;

use axum::http::{HeaderMap, HeaderName, header};

use crate::shop::weight::weight;

/// A header that may come in several lines, which mean the same as one with commas (RFC 9110, section 5.3).
pub(super) fn lines_of(headers: &HeaderMap, name: HeaderName) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// The one of the offered media types, in lower case, that the client prefers (RFC 9110, section 12.5.1); the first of them
/// where it accepts none, or does not say what it accepts.
///
/// Among equal weights the type that a more specific range names wins, then the one that is named first. Parameters of a
/// range other than its weight are passed over, and so is a range with a weight that is none.
pub(super) fn preferred(headers: &HeaderMap, offered: [&'static str; 2]) -> &'static str {
    let accept = lines_of(headers, header::ACCEPT);
    let ranges: Vec<_> = accept.split(',').filter_map(Range::parse).collect();
    let [first, second] = offered;
    if preference(&ranges, second) > preference(&ranges, first) { second } else { first }
}

/// How much the client wants a media type: the weight, the exactness and the place of the most specific range that fits it.
/// `None` when it does not accept it.
fn preference(ranges: &[Range], media_type: &str) -> Option<(u16, u8, Reverse<usize>)> {
    let fitting = ranges
        .iter()
        .enumerate()
        .filter_map(|(place, range)| Some((range.exactness(media_type)?, Reverse(place), range.weight)));
    let (exactness, place, weight) = fitting.max()?;
    (weight > 0).then_some((weight, exactness, place))
}

/// One element of an `Accept` header.
struct Range {
    /// In lower case, without its parameters.
    media_range: String,
    /// In thousandths; 0 is "not acceptable".
    weight: u16,
}

impl Range {
    fn parse(element: &str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let media_range = parts.next()?.to_ascii_lowercase();
        Some(Self { media_range, weight: weight(parts)? })
    }

    /// How exactly it names a media type, if it does.
    fn exactness(&self, media_type: &str) -> Option<u8> {
        if self.media_range == media_type {
            return Some(2);
        }
        let kind = self.media_range.strip_suffix("/*")?;
        match kind {
            "*" => Some(0),
            kind => media_type.split('/').next().filter(|its_kind| *its_kind == kind).map(|_| 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";
    const CSV: &str = "text/csv";

    fn preferred_of(lines: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, line.parse().unwrap());
        }
        preferred(&headers, [JSON, CSV])
    }

    #[test]
    fn the_media_type_with_the_highest_weight_is_preferred() {
        for (accept, expected) in [
            ("", JSON),
            ("*/*", JSON),
            ("text/html", JSON),
            ("application/json", JSON),
            ("text/csv", CSV),
            ("Text/CSV", CSV),
            ("text/csv;charset=utf-8", CSV),
            ("text/*", CSV),
            ("application/*", JSON),
            ("text/csv, application/json", CSV),
            ("application/json, text/csv", JSON),
            ("text/csv;q=0.5, application/json", JSON),
            ("application/json;q=0.5, text/csv", CSV),
            ("application/json;q=0.8,text/csv;q=0.9", CSV),
            ("text/csv;q=0", JSON),
            ("text/csv;q=0, */*", JSON),
            ("application/json;q=0, */*", CSV),
            ("application/json;q=0", JSON),
            ("text/csv;q=0.000, text/*;q=1", JSON),
            ("*/*, text/csv", CSV),
            ("*/*, text/csv;q=0.9", JSON),
            ("text/csv, */*;q=0.1", CSV),
            ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
            ("text/csv;q=2, application/json;q=0.1", JSON),
            ("text/csvx, x/text/csv, /*, ,;q=1", JSON),
        ] {
            assert_eq!(preferred_of(&[accept]), expected, "{accept}");
        }
        assert_eq!(preferred_of(&[]), JSON);
        assert_eq!(preferred_of(&["text/html", "text/csv"]), CSV);
    }
}
