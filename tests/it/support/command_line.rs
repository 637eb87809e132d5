//! One `postroom` command, run to its end.

use std::{
    ffi::OsString,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The `postroom` command with a configuration file.
#[derive(Clone)]
pub struct CommandLine {
    config: PathBuf,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl CommandLine {
    /// Commands that are given `--config` with this file.
    pub fn new(config: PathBuf) -> Self {
        Self { config }
    }

    /// Runs a command, as in `["mail", "list"]`.
    pub fn run(&self, words: &[&str]) -> Ended {
        self.run_with_input(words, "")
    }

    /// Runs a command with something on its standard input.
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Ended {
        let mut process = postroom()
            .arg("--config")
            .arg(&self.config)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        Ended {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Fails the test unless the command ended with this status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The JSON that was printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// The binary under test; another build of it where the environment names one. The crash test, which is no test to
/// Cargo, has its own beside it.
pub fn binary() -> OsString {
    std::env::var_os("POSTROOM_TEST_BINARY").unwrap_or_else(|| match option_env!("CARGO_BIN_EXE_postroom") {
        Some(binary) => binary.into(),
        None => std::env::current_exe().unwrap().parent().unwrap().with_file_name("postroom").into(),
    })
}

/// The binary under test, in an environment of its own.
pub fn postroom() -> Command {
    let mut command = Command::new(binary());
    command.env_clear();
    command
}
