//! Programs that are not ours read `/openapi.json`: one judges it, two make clients from it that send mails.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::json;

use crate::support::{Backends, Scene, mortal, tools};

const TYPESCRIPT: &str = include_str!("client.ts");
const PYTHON: &str = include_str!("client.py");

const TSCONFIG: &str = r#"{"files": ["client.ts"], "compilerOptions": {
    "target": "es2022", "module": "es2022", "moduleResolution": "bundler", "lib": ["es2022", "dom"], "types": [],
    "strict": true, "noUncheckedIndexedAccess": true}}"#;

/// The generator does not know how lines of JSON are written.
const GENERATOR: &str = "
post_hooks: []
project_name_override: postroom
package_name_override: postroom_client
content_type_overrides:
  application/x-ndjson: application/octet-stream
";

/// Runs a program in a folder to its end and returns what it printed.
fn run(command: &mut Command, folder: &Path) -> String {
    let ended: Output = command.current_dir(folder).env("NO_PROXY", "*").output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{command:?}: {printed}\n{}", String::from_utf8_lossy(&ended.stderr));
    printed
}

async fn scene_with_document() -> Scene {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let member =
        json!({"brand_id": "tea", "email": "ann@example.net", "first_name": "Ann", "last_name": "Lee"});
    scene.shop.put("/api/v1/members/ann", &member).await.expect(201);
    let document = scene.shop.get("/openapi.json").await.expect(200);
    fs::write(scene.backends.folder().join("openapi.json"), document.body).unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_to_a_validator() {
    let scene = scene_with_document().await;
    let mut validator = mortal(tools().join("venv/bin/openapi-spec-validator"));
    run(validator.args(["--errors", "all", "openapi.json"]), scene.backends.folder());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_the_types_of_openapi_typescript_is_checked_and_sends_a_mail() {
    let scene = scene_with_document().await;
    let folder = scene.backends.folder();
    symlink(tools().join("node/node_modules"), folder.join("node_modules")).unwrap();
    fs::write(folder.join("client.ts"), TYPESCRIPT).unwrap();
    fs::write(folder.join("tsconfig.json"), TSCONFIG).unwrap();
    fs::write(folder.join("package.json"), r#"{"type": "module"}"#).unwrap();
    let node = |script: &str| {
        let mut node = mortal("node");
        node.arg(format!("node_modules/{script}"));
        node
    };
    run(node("openapi-typescript/bin/cli.js").args(["openapi.json", "-o", "api.d.ts"]), folder);
    run(node("typescript/bin/tsc").args(["-p", "."]), folder);
    let mut client = mortal("node");
    client.args(["client.js", &scene.daemon.url(), &scene.shop.new_token("templates.store")]);
    let mail = run(&mut client, folder);
    scene.shop.wait_until(mail.trim(), "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_openapi_python_client_made_sends_a_mail() {
    let scene = scene_with_document().await;
    let folder = scene.backends.folder();
    fs::write(folder.join("client.py"), PYTHON).unwrap();
    fs::write(folder.join("generator.yml"), GENERATOR).unwrap();
    let mut generator = mortal(tools().join("venv/bin/openapi-python-client"));
    generator.args(["generate", "--path", "openapi.json", "--meta", "none", "--config", "generator.yml"]);
    run(generator.args(["--output-path", "generated/postroom_client", "--fail-on-warning"]), folder);
    let mut client = mortal(tools().join("venv/bin/python"));
    let token = scene.shop.new_token("templates.store,mails.read");
    let mail = run(client.args(["client.py", "generated", &scene.daemon.url(), &token]), folder);
    scene.shop.wait_until(mail.trim(), "sent").await;
}
