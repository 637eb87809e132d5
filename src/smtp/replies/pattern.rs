//! Text patterns of rules: bounded when they are compiled, and refused when no reply can match them.
//!
//! The `regex` crate takes time in proportion to the text, whatever the pattern is; what is left to bound is memory.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The longest text of a pattern, in bytes.
pub(super) const LONGEST_PATTERN: usize = 1_000;
/// The most memory of one compiled pattern, in bytes.
const LARGEST_PATTERN: usize = 256 * 1_024;
/// The longest text of a reply, in bytes.
const LONGEST_REPLY: usize = 1_024;

/// Compiles all patterns of a rule into one that matches when one of them does.
///
/// # Errors
/// What is wrong with the first that cannot be used, and what is allowed.
pub(super) fn compile(patterns: &[String]) -> Result<Option<Regex>, String> {
    for pattern in patterns {
        check(pattern).map_err(|fault| format!("the pattern {pattern:?} {fault}"))?;
    }
    compile_unchecked(patterns)
}

/// The same for patterns that a test has checked: each takes a while.
///
/// # Errors
/// When they are no regular expressions.
pub(super) fn compile_unchecked(patterns: &[String]) -> Result<Option<Regex>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let joined = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|");
    build(&joined, patterns.len()).map(Some).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or("cannot be compiled");
        format!("the patterns together cannot be used: {reason}")
    })
}

fn build(pattern: &str, parts: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .unicode(false)
        .size_limit(LARGEST_PATTERN * parts)
        .dfa_size_limit(LARGEST_PATTERN * parts)
        .nest_limit(50)
        .build()
}

fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty and would match every reply: leave `text` out to say that".to_owned());
    }
    if pattern.len() > LONGEST_PATTERN {
        return Err(format!("has {} bytes; at most {LONGEST_PATTERN} are allowed", pattern.len()));
    }
    match build(pattern, 1) {
        Ok(_) => {}
        Err(regex::Error::CompiledTooBig(_)) => {
            return Err(format!(
                "takes more than {} KiB when compiled; use fewer or smaller repetitions",
                LARGEST_PATTERN / 1_024
            ));
        }
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            return Err(format!("is no regular expression: {reason}"));
        }
    }
    let parsed = regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .map_err(|error| format!("is no regular expression: {error}"))?;
    match parsed.properties().minimum_len() {
        Some(0) => Err("matches every reply, because it may match nothing at all".to_owned()),
        Some(least) if least > LONGEST_REPLY => {
            Err(format!("needs at least {least} bytes, and a reply has at most {LONGEST_REPLY}"))
        }
        Some(_) if can_match(&parsed) => Ok(()),
        _ => {
            Err("can match no reply: lines are joined with a blank, and what holds an @ reads `<>`"
                .to_owned())
        }
    }
}

/// Whether a reply's words can hold this byte.
fn is_possible(byte: u8) -> bool {
    byte >= b' ' && byte != b'@' && byte != 0x7f
}

/// Whether any text without line ends, control characters and @ matches. May be true for some that do not.
fn can_match(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().all(|&byte| is_possible(byte)),
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).any(is_possible))
        }
        HirKind::Class(Class::Unicode(class)) => {
            let is_possible = |letter: char| !letter.is_control() && letter != '@';
            class.ranges().iter().any(|range| (range.start()..=range.end()).any(is_possible))
        }
        HirKind::Repetition(repetition) => repetition.min == 0 || can_match(&repetition.sub),
        HirKind::Capture(capture) => can_match(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().any(can_match),
        HirKind::Concat(parts) => parts.iter().all(can_match) && edges_are_at_the_edge(parts),
    }
}

/// Whether `^` comes before everything that takes a byte, and `$` after it.
fn edges_are_at_the_edge(parts: &[Hir]) -> bool {
    let takes = |part: &Hir| part.properties().minimum_len().is_some_and(|least| least > 0);
    let is_edge = |part: &Hir, wanted: Look| matches!(part.kind(), HirKind::Look(look) if *look == wanted);
    parts.iter().enumerate().all(|(at, part)| {
        !(is_edge(part, Look::Start) && parts[..at].iter().any(takes)
            || is_edge(part, Look::End) && parts[at + 1..].iter().any(takes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(pattern: &str) -> String {
        compile(&[pattern.to_owned()]).err().unwrap_or_default()
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_with_what_is_allowed() {
        for (pattern, said) in [
            ("", "is empty"),
            ("(", "unclosed group"),
            ("a{2", "unclosed counted repetition"),
            (r"(\w{500}){500}", "256 KiB"),
            (&"a".repeat(1_001), "at most 1000"),
            (r"x{1025}", "at most 1024"),
            ("(spam)?", "matches every reply"),
            ("bob@example", "can match no reply"),
            (r"one\ntwo", "can match no reply"),
            (r"[a&&b]", "can match no reply"),
            ("ha^lf", "can match no reply"),
            ("ha$lf", "can match no reply"),
            (r"(?=look)", "is no regular expression"),
            (r"(a)\1", "is no regular expression"),
        ] {
            assert!(fault(pattern).contains(said), "{pattern}: {}", fault(pattern));
        }
        for fine in ["^spam$", "quota|full", r"\bspam\b", "a|b@c", "überfüllt", r"(a+)+$", "x{0,1000}y"] {
            assert_eq!(fault(fine), "", "{fine}");
        }
    }

    #[test]
    fn a_catastrophic_pattern_takes_no_longer_than_another() {
        let pattern = compile(&[r"(a+)+$".to_owned(), r"(.*)*x(.*)*y".to_owned()]).unwrap().unwrap();
        let began = std::time::Instant::now();
        assert!(!pattern.is_match(format!("{}!", "a".repeat(LONGEST_REPLY)).as_bytes()));
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    }

    proptest! {
        #[test]
        fn no_pattern_makes_the_compiler_panic(pattern in any::<String>(), more in r"[a-z(){}\[\]\\|*+?^$.0-9,]{0,40}") {
            let _ = compile(&[pattern, more]);
        }

        #[test]
        fn a_pattern_that_is_refused_as_impossible_matches_nothing(
            pattern in r"[ab@^$|()?*\n]{1,12}", text in "[ab<>]{0,12}",
        ) {
            if fault(&pattern).contains("can match no reply") {
                let matches = Regex::new(&format!("(?i-u){pattern}")).is_ok_and(|regex| regex.is_match(text.as_bytes()));
                prop_assert!(!matches, "{pattern} matches {text}");
            }
        }
    }
}
