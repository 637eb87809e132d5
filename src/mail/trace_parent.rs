//! Where a request belongs in its caller's trace: `traceparent` of W3C Trace Context.

use std::{fmt, str::FromStr, sync::Arc};

/// A `traceparent` that is well-formed. It goes on with the mail and with what is told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(Arc<str>);

/// Text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no traceparent")]
pub struct NoTraceParent;

/// The length of version 00: `00-<trace id>-<parent id>-<flags>`.
const LENGTH: usize = 55;

impl TraceParent {
    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Reads a header (W3C Trace Context, section 3.2.2). What a later version adds after the flags is left out.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let (known, more) = (text.get(..LENGTH).ok_or(NoTraceParent)?, &text[LENGTH..]);
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace, parent, flags] = parts[..] else { return Err(NoTraceParent) };
        let is_hex = |part: &str, length: usize| {
            part.len() == length
                && part.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
        };
        let is_nothing = |part: &str| part.bytes().all(|digit| digit == b'0');
        let is_sound = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
        let is_known = match version {
            "00" => more.is_empty(),
            _ => version != "ff" && (more.is_empty() || more.starts_with('-')),
        };
        if !is_sound || !is_known || is_nothing(trace) || is_nothing(parent) {
            return Err(NoTraceParent);
        }
        Ok(Self(format!("00-{trace}-{parent}-{flags}").into()))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly_and_a_later_version_as_far_as_it_is_known() {
        let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read: TraceParent = sound.parse().unwrap();
        assert_eq!((read.as_str(), read.trace_id()), (sound, "4bf92f3577b34da6a3ce929d0e0e4736"));
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes";
        assert_eq!(later.parse::<TraceParent>().unwrap(), read);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-0",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(NoTraceParent), "{wrong}");
        }
    }
}
