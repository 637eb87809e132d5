//! Debian's Chromium, used by a program of Playwright's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use super::{place::mortal, tools::tools};

/// Runs a program of the tests' folder in the browser, does what it asks for, and returns what it saw.
pub async fn in_browser(program: &str, known: &Value, mut does: impl AsyncFnMut(&str)) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let program = ["support/playwright.py", program]
        .map(|file| fs::read_to_string(folder.join(file)).unwrap())
        .concat();
    let mut command = mortal(tools().join("venv/bin/python"));
    command.args(["-c", &program]).arg(known.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let (mut orders, mut last) = (process.stdin.take().unwrap(), String::new());
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        last = line.unwrap();
        if last.starts_with('{') {
            break;
        }
        does(&last).await;
        writeln!(orders).unwrap();
    }
    let status = process.wait().unwrap();
    assert!(status.success(), "see the Python traceback above; the last line is {last}");
    serde_json::from_str(&last).unwrap()
}
