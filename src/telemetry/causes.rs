//! An error with what caused it, in one line: the message of an error says its own part only, and the log does not look for
//! more.

use std::{error::Error, fmt};

/// An error and its causes, the last effect first: `the database could not commit: connection reset by peer`.
///
/// A cause that is quoted at the end of its effect, as drivers do it, is not said again. No text is made before somebody
/// writes it, so that a line which is not logged costs nothing.
pub fn chain(error: &(dyn Error + 'static)) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let (mut said, mut next) = (String::new(), Some(error));
        while let Some(error) = next {
            next = error.source();
            let words = error.to_string().replace(char::is_control, " ");
            if said.is_empty() {
                f.write_str(&words)?;
            } else if said.ends_with(&words) {
                continue;
            } else {
                write!(f, ": {words}")?;
            }
            said = words;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the queue did not carry out {0}")]
    struct Failed(&'static str, #[source] Quoting);

    #[derive(Debug, thiserror::Error)]
    #[error("the server\nsaid: {0}")]
    struct Quoting(#[source] io::Error);

    fn refused() -> Failed {
        Failed("enqueue", Quoting(io::Error::other("connection refused")))
    }

    #[derive(Debug)]
    struct Unread;

    impl fmt::Display for Unread {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("it is written although it is not logged")
        }
    }

    impl Error for Unread {}

    #[test]
    fn an_error_is_written_with_its_causes_in_one_line_each_once() {
        assert_eq!(
            chain(&refused()).to_string(),
            "the queue did not carry out enqueue: the server said: connection refused"
        );
        let error = anyhow::Error::new(io::Error::other("reset")).context("cannot read").context("no keys");
        assert_eq!(chain(&*error).to_string(), "no keys: cannot read: reset");
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_why_and_a_line_that_is_not_logged_makes_no_text() {
        let written = Written::default();
        let log = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || log.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(error = %chain(&refused()), "the queue takes no jobs");
            tracing::debug!(error = %chain(&Unread), "nobody reads this");
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let why = "error=the queue did not carry out enqueue: the server said: connection refused";
        assert!(line.contains(why) && line.lines().count() == 1, "{line}");
    }
}
