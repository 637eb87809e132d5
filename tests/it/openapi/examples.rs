//! The examples in `/openapi.json` and on `/docs` work as they stand, pasted into a shell one after the other.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::{Answer, Backends, Daemon, Shop, mortal};

/// Where merchants reach this postroom, by its configuration.
const ORIGIN: &str = "https://mails.tea.example";

/// An operation and its example.
struct Example {
    method: String,
    path: String,
    name: String,
    takes_key: bool,
    command: String,
}

fn examples(document: &Value) -> Vec<Example> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    });
    let mut examples: Vec<_> = operations
        .map(|(path, method, operation)| {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            Example {
                method: method.clone(),
                path: path.clone(),
                name: operation["operationId"].as_str().unwrap().to_owned(),
                takes_key: parameters.any(|it| it["name"] == "Idempotency-Key"),
                command: operation["x-codeSamples"][0]["source"].as_str().unwrap().to_owned(),
            }
        })
        .collect();
    examples.sort_by_key(|example| (turn(example), example.path.clone()));
    examples
}

/// What has to be there before the example works: a brand before its members, a thing before it is deleted.
fn turn(example: &Example) -> usize {
    let order = [
        "put /api/v1/brands",
        "put /api/",
        "post /api/v1/import",
        "post /mail",
        "post /webhooks",
        "post /api/v1/actions",
        "post /webhooks/{id}/test",
        "put /webhooks",
        "get ",
        "post /webhooks/{id}/deliveries",
        "post /api/v1/batches/{id}/pause",
        "post /api/v1/batches/{id}/resume",
        "post /api/v1/batches/{id}/cancel",
        "post /api/v1/mails/{id}/cancel",
        "post ",
        "post /api/v1/actions/{id}/confirm",
        "post /api/v1/actions/{id}/stop",
        "post /api/v1/actions/{id}/resume",
        "delete ",
    ];
    let asked = format!("{} {}", example.method, example.path);
    let fitting = order.iter().enumerate().filter(|(_, first)| asked.starts_with(**first));
    fitting.max_by_key(|(_, first)| first.len()).unwrap().0
}

/// What the examples could not know: the ids that postroom makes.
#[derive(Default)]
struct Ids {
    mail: String,
    batch: String,
    webhook: String,
    delivery: String,
    action: String,
    template_version: String,
    partial_version: String,
}

impl Ids {
    fn put_into(&self, example: &Example) -> String {
        let batch_or_delivery =
            if example.path.contains("{delivery}") { &self.delivery } else { &self.batch };
        [
            ("01a2006a-176b-736f-a781-651b646d822c", &self.mail),
            ("01a2010c-2f44-7f0b-8d1e-6a5b4c3d2e1f", &self.action),
            ("01a2008e-8f70-75f6-b1dd-5a9cd123cc7b", &self.webhook),
            ("01a2008e-8f71-7257-a24a-00cfcbac2232", batch_or_delivery),
            ("01a20110-5e61-7c08-a1f3-2b4c6d8e0f13", &self.template_version),
            ("01a20111-07b2-70d5-8c46-93e5a7c9d1f2", &self.partial_version),
        ]
        .iter()
        .fold(example.command.clone(), |command, (shown, id)| command.replace(shown, id))
    }

    fn learn_from(&mut self, example: &Example, answer: &Value) {
        let text = |of: &Value| of.as_str().unwrap().to_owned();
        match example.name.as_str() {
            "mailing_send_mail" => self.mail = text(&answer["data"]["ann"]["transaction_id"]),
            "mailing_send_mails" => self.batch = text(&answer["data"]["batch_id"]),
            "actions_draft" => self.action = text(&answer["id"]),
            "resources_template_versions_list" => self.template_version = text(&answer["data"][0]["id"]),
            "resources_partial_versions_list" => self.partial_version = text(&answer["data"][0]["id"]),
            "webhooks_register" => self.webhook = text(&answer["data"]["id"]),
            "webhooks_test" => self.delivery = text(&answer["data"]["id"]),
            _ => {}
        }
    }
}

/// Runs a command in a shell; returns the status and the body.
fn shell(command: &str, token: &str) -> (String, String) {
    let output = mortal("bash")
        .args(["-c", &format!("{command} -sS -w '\n%{{http_code}}'")])
        .env("TOKEN", token)
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

async fn document(shop: &Shop) -> Value {
    let answer: Answer = shop.get("/openapi.json").await.expect(200);
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_a_request_works_in_a_shell() {
    // There is no relay: what is recorded waits, so it can be paused and cancelled.
    let backends = Backends::sqlite_memory().with("http.public_url", format!("{ORIGIN}/"));
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    let token = shop.new_token("*");
    let mut ids = Ids::default();
    for example in examples(&document(&shop).await) {
        let command = ids.put_into(&example);
        assert!(command.contains(ORIGIN), "{command}");
        let command = command.replace(ORIGIN, &daemon.url());
        if example.takes_key {
            let (status, body) =
                shell(&command.replace("Idempotency-Key: order-17", "Idempotency-Key;"), &token);
            assert!(
                status == "400" && body.contains("Idempotency-Key must be"),
                "{command}: {status} {body}"
            );
        }
        let (status, body) = shell(&command, &token);
        let is_right = match example.path.as_str() {
            // These links are secrets that only a mail has.
            "/passes/{id}" | "/u/{token}" | "/u/{token}/undo" => status == "404",
            // It may be done by now.
            "/api/v1/actions/{id}/stop" | "/api/v1/actions/{id}/resume" => matches!(&*status, "200" | "409"),
            _ => status.starts_with('2'),
        };
        assert!(is_right, "{command}: {status} {body}");
        ids.learn_from(&example, &serde_json::from_str(&body).unwrap_or_default());
    }
    let page = shop.get("/docs").await.expect(200);
    assert!(page.body.contains(&format!("curl {ORIGIN}/mail")), "the page shows the same examples");
    assert!(
        !page.body.contains("<script>") && !page.body.contains(" style="),
        "its policy would forbid that"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_names_the_idempotency_key_where_handlers_read_it() {
    let backends = Backends::sqlite_memory();
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    let described = document(&shop).await;
    let named: BTreeSet<_> =
        examples(&described).into_iter().filter(|it| it.takes_key).map(|it| it.name).collect();
    let handlers = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"));
    let readers =
        handlers.iter().map(|text| text.matches("idempotency: Idempotency,").count()).sum::<usize>();
    assert_eq!(named.len(), readers, "{named:?}");
}

fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: std::path::PathBuf| {
        if path.is_dir() { sources(&path) } else { vec![fs::read_to_string(path).unwrap()] }
    };
    entries.flat_map(of).collect()
}
