//! What another implementation says of our signatures: the `standardwebhooks` package of Python.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{Secret, Signed};
use crate::clock;

/// Reads cases as JSON lines and checks each with the reference implementation.
const CHECKER: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    case = json.loads(line)
    headers = {name: case[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    try:
        Webhook(case["secret"]).verify(case["body"], headers)
        print("valid")
    except WebhookVerificationError:
        print("invalid")
"#;

fn python() -> PathBuf {
    let tools = std::env::var_os("POSTROOM_TEST_TOOLS")
        .expect("POSTROOM_TEST_TOOLS must name the folder that tests/install makes, target/test-tools");
    let python = PathBuf::from(tools).join("venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/install", python.display());
    python
}

fn checked(cases: &[serde_json::Value]) -> Vec<String> {
    let mut python = Command::new(python())
        .args(["-c", CHECKER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "see the Python traceback above; tests/install installs standardwebhooks"
    );
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn case(secret: &Secret, signed: &Signed, body: &str) -> serde_json::Value {
    json!({"secret": secret.expose(), "body": body, "webhook-id": signed.id,
        "webhook-timestamp": signed.timestamp, "webhook-signature": signed.signature})
}

#[test]
fn the_library_that_receivers_use_takes_our_signatures_and_nothing_else() {
    let (mut cases, mut expected) = (Vec::new(), Vec::new());
    for body in ["{}", r#"{"type":"email.sent","data":{"city":"Köln"}}"#, r#"{"emoji":"😀\n"}"#] {
        for _ in 0..8 {
            // Random secrets: some have `+` and `/` in their base64.
            let (old, new) = (Secret::generate(), Secret::generate());
            let signed = Signed::new(
                "019a8f2e".to_owned(),
                clock::now(),
                body.as_bytes(),
                &[new.clone(), old.clone()],
            );
            cases.extend([case(&old, &signed, body), case(&new, &signed, body)]);
            cases.push(case(&Secret::generate(), &signed, body));
            cases.push(case(&new, &signed, r#"{"other":true}"#));
            expected.extend(["valid", "valid", "invalid", "invalid"]);
        }
    }
    assert_eq!(checked(&cases), expected);
}
