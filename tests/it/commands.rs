//! Every command: its help, and an example of it that runs on a daemon's database; and how it looks on a terminal and in a pipe.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::support::{Backends, CommandLine, Scene, eventually, mortal, postroom};

/// The commands below these words, as their help lists them.
fn below(commands: &CommandLine, words: &[String]) -> Vec<Vec<String>> {
    let mut asked: Vec<&str> = words.iter().map(String::as_str).collect();
    asked.push("--help");
    let help = commands.run(&asked).expect(0).out;
    assert!(help.contains("Usage: postroom"), "{words:?}: {help}");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let children: Vec<_> = names.map(|name| [words, &[name.to_owned()]].concat()).collect();
    if children.is_empty() {
        return vec![words.to_vec()];
    }
    children.iter().flat_map(|child| below(commands, child)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_has_help_and_an_example_that_runs() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let commands = scene.backends.command_line();
    let mail = scene.shop.send_to("defer@example.net").await;
    scene.shop.wait_until(&mail, "deferred").await;
    let users =
        json!({"brand_id": "tea", "template_id": "welcome", "users": [{"identifier": "defer@example.net"}]});
    let batch = scene.shop.post("/mails", &users).await.expect(200).json()["data"]["batch_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = scene.backends.folder().join("import.ndjson");
    std::fs::write(&file, "{\"merchant\":\"tea-co\",\"kind\":\"members\",\"id\":\"m\",\"brand_id\":\"tea\",\"email\":\"ok@example.net\"}\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let list = scene.backends.folder().join("suppressions.csv");
    std::fs::write(&list, "address,reason\nbob@example.net,complaint\n").unwrap();
    let list = list.to_str().unwrap().to_owned();
    let folder = scene.backends.folder().to_str().unwrap().to_owned();
    let manual = scene.backends.folder().join("man");
    let manual = manual.to_str().unwrap().to_owned();
    let examples: Vec<Vec<&str>> = vec![
        vec!["check", "--offline"],
        vec!["migrate"],
        vec!["merchant", "create", "oak", "--name", "Oak", "--country", "DE"],
        vec!["merchant", "list"],
        vec!["merchant", "show", "oak"],
        vec!["merchant", "update", "oak", "--name", "Oak & Co"],
        vec!["merchant", "suspend", "oak"],
        vec!["merchant", "resume", "oak"],
        vec!["account", "create", "--merchant", "oak", "--username", "ann"],
        vec!["account", "list"],
        vec!["account", "rotate", "--username", "ann"],
        vec!["account", "remove", "--username", "ann"],
        vec!["token", "create", "--merchant", "oak", "--abilities", "mails.read"],
        vec!["token", "list"],
        vec!["token", "revoke", "--id", "LAST TOKEN"],
        vec!["operator", "create", "--name", "ann", "--role", "viewer"],
        vec!["operator", "list"],
        vec!["operator", "remove", "--name", "ann"],
        vec!["queue", "pause", "--lane", "bulk", "--reason", "a wrong list", "--for", "2h"],
        vec!["queue", "list"],
        vec!["queue", "resume", "--lane", "bulk"],
        vec!["audit", "list", "--since", "1h"],
        vec!["reload", "--wait"],
        vec!["import", &file],
        vec!["mail", "list"],
        vec!["mail", "show", &mail],
        vec!["mail", "cancel", &mail],
        vec!["mail", "retry", &mail],
        vec!["mail", "release", "state:held", "--dry-run"],
        vec!["mail", "discard", "state:held", "--dry-run"],
        vec!["mail", "replay", "state:sent", "--dry-run"],
        vec!["mail", "suppress", "state:deferred", "--dry-run"],
        vec!["suppression", "add", "--merchant", "oak", "ann@example.net"],
        vec!["suppression", "list", "--merchant", "oak"],
        vec!["suppression", "export", "--merchant", "oak"],
        vec!["suppression", "remove", "--merchant", "oak", "ann@example.net"],
        vec!["suppression", "import", "--merchant", "oak", &list],
        vec!["action", "list"],
        vec!["action", "show", "LAST ACTION"],
        vec!["action", "confirm", "LAST ACTION"],
        vec!["action", "stop", "LAST ACTION"],
        vec!["action", "resume", "LAST ACTION"],
        vec!["reply", "classify", "550 5.1.1 User unknown"],
        vec!["route", "list"],
        vec!["route", "drain", "main"],
        vec!["route", "undrain", "main"],
        vec!["recipient", "export", "nobody@example.net"],
        vec!["recipient", "erase", "nobody@example.net", "--yes"],
        vec!["batch", "list"],
        vec!["batch", "show", &batch],
        vec!["batch", "pause", &batch],
        vec!["batch", "resume", &batch],
        vec!["batch", "cancel", &batch],
        vec!["top", "--once"],
        vec!["test-mail", "--to", "ok@example.net"],
        vec!["dkim", "generate", "tea.example", "--algorithm", "ed25519", "--out", &folder],
        vec!["completions", "bash"],
        vec!["man", "--dir", &manual],
    ];
    let draft = commands.run(&["mail", "retry", "state:deferred", "--json"]).expect(0).json();
    let action = draft["id"].as_str().unwrap_or_else(|| panic!("{draft}")).to_owned();
    let said_by_others = ["serve", "demo", "mail tail", "doctor"];
    let mut covered: BTreeSet<String> = said_by_others.map(str::to_owned).into();
    let known: Vec<_> = below(&commands, &[]);
    for mut words in examples {
        let tokens = match words.last() {
            Some(&"LAST TOKEN") => {
                commands.run(&["token", "list", "--merchant", "oak", "--json"]).expect(0).json()
            }
            _ => Value::Null,
        };
        if let Some(id) = tokens[0]["id"].as_str() {
            *words.last_mut().unwrap() = id;
        }
        if words.last() == Some(&"LAST ACTION") {
            *words.last_mut().unwrap() = &action;
        }
        let ended = commands.run(&words);
        // An action may be over before it is stopped.
        let may_be_over = words[0] == "action" && ["stop", "resume"].contains(&words[1]);
        assert!(ended.status == 0 || may_be_over && ended.status == 1, "{words:?}: {ended:?}");
        let is_it = |name: &&Vec<String>| {
            words.iter().zip(name.iter()).filter(|(a, b)| *a == b).count() == name.len()
        };
        covered.extend(known.iter().filter(is_it).map(|name| name.join(" ")));
    }
    let missing: Vec<_> =
        known.iter().map(|name| name.join(" ")).filter(|name| !covered.contains(name)).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
    assert!(std::path::Path::new(&manual).join("postroom-queue-pause.1").exists());
}

/// What a command writes to a terminal of this size.
fn on_a_terminal(backends: &Backends, words: &[&str], columns: u16, environment: &[(&str, &str)]) -> String {
    let program = "import fcntl, os, pty, struct, sys, termios\n\
        columns, words = int(sys.argv[1]), sys.argv[2:]\n\
        pid, terminal = pty.fork()\n\
        if pid == 0:\n\
        \x20   fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))\n\
        \x20   os.execv(words[0], words)\n\
        told = b''\n\
        while True:\n\
        \x20   try: part = os.read(terminal, 65536)\n\
        \x20   except OSError: break\n\
        \x20   if not part: break\n\
        \x20   told += part\n\
        sys.stdout.buffer.write(told)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let postroom = postroom().get_program().to_owned();
    let mut command = Command::new("python3");
    command
        .args(["-c", program, &columns.to_string()])
        .arg(postroom)
        .arg("--config")
        .arg(backends.config())
        .args(words);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("TERM", "xterm").envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_list_is_a_table_on_a_terminal_tabs_in_a_pipe_and_says_when_it_is_empty() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    for words in [
        &["merchant", "list"][..],
        &["account", "list"],
        &["token", "list"],
        &["operator", "list"],
        &["batch", "list"],
    ] {
        let ended = commands.run(words).expect(0);
        assert!(ended.out.is_empty() && ended.err.starts_with("there are no "), "{words:?}: {ended:?}");
        assert_eq!(commands.run(&[words, &["--json"]].concat()).expect(0).json(), json!([]));
    }
    let name = "The very long name of a house of tea that has many rooms";
    commands.run(&["merchant", "create", "tea", "--name", name, "--country", "DE"]).expect(0);
    commands.run(&["merchant", "suspend", "tea"]).expect(0);
    let piped = commands.run(&["merchant", "list"]).expect(0).out;
    assert_eq!(piped, format!("tea\t{name}\tDE\t\tsuspended\tlive\n"));

    let shown = on_a_terminal(&backends, &["merchant", "list"], 100, &[]);
    assert!(shown.contains("\x1b[1mID\x1b[0m") && shown.contains("\x1b[33msuspended\x1b[0m"), "{shown:?}");
    for environment in [[("NO_COLOR", "1"), ("TERM", "xterm")], [("NO_COLOR", ""), ("TERM", "dumb")]] {
        let plain = on_a_terminal(&backends, &["merchant", "list"], 100, &environment);
        assert!(plain.starts_with("ID ") && !plain.contains('\x1b'), "{plain:?}");
    }
    for columns in [0, 1, 20, 40, 79] {
        let narrow = on_a_terminal(&backends, &["merchant", "list"], columns, &[("NO_COLOR", "1")]);
        let most = if columns == 0 { 80 } else { usize::from(columns) };
        assert!(narrow.lines().all(|line| line.chars().count() <= most), "{columns}: {narrow:?}");
        on_a_terminal(&backends, &["queue", "list"], columns, &[]);
        on_a_terminal(&backends, &["top", "--once"], columns, &[]);
    }
}

#[test]
fn a_pipe_that_closes_and_a_pager_end_quietly() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    let script = "set -o pipefail; \"$0\" completions bash | head -c 1 >/dev/null";
    let output = Command::new("bash").args(["-c", script]).arg(postroom().get_program()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{output:?}");
    for number in 0..60 {
        let id = format!("tea-{number}");
        let statement = commands.run(&["merchant", "create", &id, "--name", "T", "--country", "DE"]);
        statement.expect(0);
    }
    let paged = on_a_terminal(&backends, &["merchant", "list"], 80, &[("PAGER", "sed 's/^/> /'")]);
    assert!(paged.lines().count() == 61 && paged.lines().all(|line| line.starts_with("> ")), "{paged}");
    let without = on_a_terminal(&backends, &["merchant", "list"], 80, &[("PAGER", "no-such-pager-here")]);
    assert!(without.contains("tea-59"), "{without}");
}

/// Does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

on_both! {
    async fn a_tail_shows_mails_as_they_come_and_change(backends: Backends) {
        let scene = Scene::open(backends.with("retry.first", "1h")).await;
        let commands = scene.backends.command_line();
        let before = scene.shop.send_to("ok@example.net").await;
        scene.shop.wait_until(&before, "sent").await;
        let mut command = mortal(postroom().get_program());
        command.env_clear().arg("--config").arg(scene.backends.config()).args(["mail", "tail", "--json"]);
        let mut tail = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let (sender, told) = std::sync::mpsc::channel();
        let output = BufReader::new(tail.0.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
            }
        });
        let next = |id: &str, state: &str| loop {
            let line = told.recv_timeout(Duration::from_secs(20)).expect("it is shown");
            if line["id"] == id && line["state"] == state {
                return line;
            }
        };
        next(&before, "sent");
        let mail = scene.shop.send_to("defer@example.net").await;
        let line = next(&mail, "deferred");
        assert_eq!((&line["merchant"], &line["test"]), (&json!("tea-co"), &json!(false)));
        commands.run(&["mail", "cancel", &mail]).expect(0);
        next(&mail, "cancelled");
        commands.run(&["mail", "tail", "--merchant", "nobody"]).expect(1);
    }

    async fn a_test_mail_says_what_the_relay_said(backends: Backends) {
        let scene = Scene::open(backends).await;
        let commands = scene.backends.command_line();
        let taken = commands.run(&["test-mail", "--to", "ok@example.net", "--json"]).expect(0).json();
        assert_eq!((&taken["outcome"], &taken["route"], &taken["code"]), (&json!("accepted"), &json!("main"), &json!(250)));
        eventually("it came", async || scene.caught("ok@example.net") == 1).await;
        let refused = commands.run(&["test-mail", "--to", "reject@example.net", "--route", "main", "--json"]).expect(1);
        assert_eq!(refused.json()["outcome"], "permanent", "{refused:?}");
        assert!(commands.run(&["test-mail", "--to", "reject@example.net"]).expect(1).out.contains("permanent"));
        commands.run(&["test-mail", "--to", "ok@example.net", "--route", "nowhere"]).expect(1);
        commands.run(&["test-mail", "--to", "nobody"]).expect(2);
        assert_eq!(commands.run(&["mail", "list", "--json"]).expect(0).json(), json!([]), "it leaves no mail behind");
        let audit = commands.run(&["audit", "list", "--action", "mail.tested", "--json"]).expect(0).json();
        assert_eq!((audit.as_array().unwrap().len(), &audit[0]["target"]), (3, &json!("main")));
        scene.backends.command_line().run(&["route", "drain", "main"]).expect(0);
        commands.run(&["test-mail", "--to", "ok@example.net"]).expect(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_shows_what_waits_and_how_fast_mails_go() {
    let mut scene = Scene::open(Backends::sqlite_memory().with("retry.first", "1h")).await;
    let host = scene.daemon.url().trim_start_matches("http://").split(':').next().unwrap().to_owned();
    scene.backends.set("admin.listen", format!("{host}:8026"));
    let commands = scene.backends.command_line();
    let mail = scene.shop.send_to("defer@example.net").await;
    scene.shop.wait_until(&mail, "deferred").await;
    commands.run(&["queue", "pause", "--lane", "bulk", "--reason", "a wrong list"]).expect(0);
    let shown = commands.run(&["top", "--json"]).expect(0).json();
    let lanes = shown["lanes"].as_array().unwrap();
    assert_eq!((&lanes[0]["lane"], &lanes[0]["later"]), (&json!("transactional"), &json!(1)));
    assert!(lanes.iter().any(|lane| lane["lane"] == "bulk" && lane["paused"] == true), "{shown}");
    assert!(shown["rates"]["recorded"].is_number(), "{shown}");
    let route = &shown["routes"][0];
    assert!(
        route["busy"].is_number() && route["connections"].is_number() && route["away"].is_null(),
        "{shown}"
    );
    assert_eq!(
        (&shown["merchants"][0]["merchant"], &shown["merchants"][0]["later"]),
        (&json!("tea-co"), &json!(1))
    );
    let plain = commands.run(&["top"]).expect(0).out;
    assert!(plain.lines().any(|line| line.starts_with("bulk\t")) && !plain.contains('\x1b'), "{plain}");
    let live = on_a_terminal(&scene.backends, &["top", "--once"], 60, &[("NO_COLOR", "1")]);
    assert!(live.contains("LANE") && live.contains("ROUTE"), "{live}");
}
