//! The commands on the pages work: every call of `postroom` is one that it understands, and the first hour runs as written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use postroom::demo::catcher::{Catcher, CatcherOptions};

use super::support::{mortal, own_address};

fn read(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

/// The operators' pages, and what a newcomer reads.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.extend([root.join("README.md"), root.join("monitoring/alerts.yml")]);
    pages
}

/// A block of shell commands.
struct Block {
    commands: String,
    /// Whether it has a terminal of its own, because it does not end.
    keeps_running: bool,
}

fn blocks(page: &str) -> Vec<Block> {
    let parts: Vec<&str> = page.split("```sh\n").collect();
    let block = |pair: &[&str]| Block {
        commands: pair[1].split("```").next().unwrap().to_owned(),
        keeps_running: pair[0].ends_with("<!-- keeps running -->\n"),
    };
    parts.windows(2).map(block).collect()
}

/// What follows the word `postroom` where it is called, up to the end of that command.
fn calls(page: &str) -> Vec<String> {
    let in_blocks = blocks(page).into_iter().flat_map(|block| {
        let lines = block.commands.replace("\\\n", " ");
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let in_prose = page.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
    let mut calls = Vec::new();
    for line in in_blocks.chain(in_prose) {
        let line = line.split(" #").next().unwrap().trim();
        // Who runs it, and where its output goes.
        let line = ["sudo ", "-u postroom ", "until "]
            .iter()
            .fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line));
        let line = line.split_once("=$(").map_or(line, |(_, command)| command);
        let line = line.replace(" > ", " | ");
        let command = line.split(&['|', ')', ';'][..]).next().unwrap().trim();
        // Tables name several commands at once, as in `list|show`, or leave the rest out; `postroom starts` is in the log.
        let names_several = line.contains('|') && !line.contains(" | ");
        let is_whole = !names_several && !command.contains('…') && command != "postroom starts";
        if let Some(words) = command.strip_prefix("postroom ").filter(|_| is_whole) {
            calls.push(words.to_owned());
        }
    }
    calls
}

/// What stands on the pages for something of the reader's own, and an example of it.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("<id>", ID),
    ("<the last id>", ID),
    ("\"$MAIL\"", ID),
    ("\"$BATCH\"", ID),
    ("<address>", "ann@example.net"),
    ("{{ $labels.route }}", "main"),
];
const ID: &str = "01a20000-0000-7000-8000-000000000000";

#[test]
fn every_call_of_postroom_on_the_pages_is_one_that_it_understands() {
    let mut count = 0;
    for page in pages() {
        for call in calls(&fs::read_to_string(&page).unwrap()) {
            // An unknown word comes to light before the help does.
            let fill =
                |call: String, (placeholder, example): &(&str, &str)| call.replace(placeholder, example);
            let call = PLACEHOLDERS.iter().fold(call, fill).replace(['<', '>'], "");
            let script = format!("exec \"$0\" {call} --help");
            let asked =
                Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_postroom")]).output().unwrap();
            let said = String::from_utf8_lossy(&asked.stderr);
            assert!(asked.status.success(), "{}: postroom {call}: {said}", page.display());
            count += 1;
        }
    }
    assert!(count > 60, "only {count} calls were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_hour_runs_as_it_is_written() {
    let catcher = Catcher::start(CatcherOptions::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = read("docs/first-hour.md");
    let mut script = "set -eu\n".to_owned();
    for block in blocks(&page) {
        let commands = block.commands;
        if commands == "postroom demo\n" || commands.starts_with("rm -r ") {
            continue; // the catcher is here already; the folder goes with the test
        }
        if block.keeps_running {
            // What it starts ends with the test, whatever happens.
            script.push_str(&format!("(\n{commands}) 2>&1 &\nsleep 1\n"));
        } else {
            script.push_str(&commands);
        }
    }
    let here = own_address().to_string();
    for (written, used) in [
        ("127.0.0.1", here.as_str()),
        ("/tmp/first-mail", folder.path().to_str().unwrap()),
        ("port = 8028", &format!("port = {}", catcher.smtp_addr().port())),
        (&format!("host = \"{here}\""), &format!("host = \"{}\"", catcher.smtp_addr().ip())),
        // On a busy machine a mail may take longer than the page says.
        (
            "sleep 1\npostroom mail show",
            "until postroom mail show \"$MAIL\" | grep -q accepted; do sleep 0.2; done\npostroom mail show",
        ),
        (
            "sleep 1\npostroom mail list",
            "until postroom mail list --state failed | grep -q 5.1.1; do sleep 0.2; done\npostroom mail list",
        ),
        ("postroom serve", "setpriv --pdeathsig KILL -- postroom serve"),
        ("python3 /", "setpriv --pdeathsig KILL -- python3 /"),
    ] {
        assert!(script.contains(written), "the page has no `{written}`");
        script = script.replace(written, used);
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_postroom"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let shell = mortal("timeout")
        .args(["60", "bash", "-c", &format!("trap 'kill $(jobs -p)' EXIT\n{script}")])
        .env("PATH", path)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    assert!(shell.status.success(), "{said}");
    for expected in
        ["accepted at final", "finished         1000 of 1000", "\"link\":\"", "550 5.1.1", "webhook.test"]
    {
        assert!(said.contains(expected), "`{expected}` is not in what the page printed:\n{said}");
    }
}
