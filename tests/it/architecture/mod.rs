//! The layers hold: imports go one way, between modules and between files; each outside crate has its owners; a folder is
//! a module, and no file is too long.

mod imports;
mod source;

use std::{collections::BTreeSet, fs, sync::LazyLock};

use imports::{Imports, circles};
use source::{Source, below_root, files, root, sources};

/// The modules, those who know most first; a module may use those of later lines.
const LAYERS: [&[&str]; 10] = [
    &["main", "cli", "demo"],
    &["daemon"],
    &["http", "dashboard", "sampler", "scheduler", "rescuer", "heartbeat", "reload"],
    &["jobs"],
    &["app"],
    &["admission", "auth", "signing", "templates"],
    &["worker"],
    &["store", "queue", "limits", "render", "dkim", "smtp", "callback", "cpu_pool", "html", "systemd"],
    &["audit", "shop", "webhook"],
    &["certificates", "keyed_hash", "mail"],
];

/// What all may use: the settings, the clock, the log and the metrics.
const FOR_ALL: [&str; 3] = ["config", "clock", "telemetry"];

/// Modules of one line of which the first may use the second.
const NEIGHBOURS: [(&str, &str); 4] =
    [("dashboard", "http"), ("main", "cli"), ("cli", "demo"), ("rescuer", "scheduler")];

/// The files and folders of `src/store`, those who know most first; each may use those of later lines.
const STORE_LAYERS: [&[&str]; 22] = [
    &["disabled_endpoints", "due"],
    &["actions", "recipients"],
    &["mails", "partials"],
    &["batches", "credentials", "resources", "route_uses"],
    &[
        "activity",
        "attachments",
        "backlog",
        "carts",
        "drained_routes",
        "idempotency",
        "lane_backlogs",
        "merchants",
        "operators",
        "orders",
        "passes",
        "pauses",
        "quotas",
        "sessions",
        "suppressions",
        "template_lists",
        "templates",
        "webhooks",
        "workers",
    ],
    &["audit", "claimable", "events"],
    &["database"],
    &["look_ups"],
    &["documents", "order_traces"],
    &["group_commit", "group_read"],
    &["group", "kept_plans"],
    &["writer"],
    &["writer_thread"],
    &["partial_uses", "target"],
    &["connection", "readers"],
    &["embedded", "kept_connection", "pending_write"],
    &["connections"],
    &["sql"],
    &["cells", "dialect", "gather", "mail_row", "rounds", "row", "statement", "steps"],
    &["flusher"],
    &["opened_file"],
    &["error", "states", "value"],
];

/// Outside crates and the modules that may use them.
const OWNERS: [(&str, &[&str]); 57] = [
    ("apalis", &["queue"]),
    ("apalis_core", &["queue"]),
    ("askama", &["html", "http", "demo", "dashboard"]),
    ("argon2", &["auth", "http"]),
    ("async_trait", &["queue", "jobs"]),
    ("axum", &["http", "dashboard", "demo"]),
    ("base16ct", &["auth", "dashboard", "http", "render", "store", "templates"]),
    (
        "base64",
        &[
            "auth",
            "callback",
            "dashboard",
            "demo",
            "dkim",
            "http",
            "jobs",
            "mail",
            "render",
            "shop",
            "smtp",
            "webhook",
        ],
    ),
    ("bytes", &["demo", "http", "smtp"]),
    ("clap", &["cli", "config", "demo"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("css_inline", &["render"]),
    ("governor", &["limits"]),
    ("handlebars", &["render"]),
    ("hmac", &["auth", "callback", "http", "keyed_hash", "shop", "webhook"]),
    ("http_body", &["http"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("idna", &["mail"]),
    ("ipnet", &["callback"]),
    ("jiff", &["clock", "http", "mail", "shop", "webhook"]),
    ("lettre", &["render"]),
    ("mail_parser", &["demo", "render"]),
    ("memchr", &["dkim", "http", "mail", "render", "smtp"]),
    ("mimalloc", &["main"]),
    ("listenfd", &["systemd"]),
    ("moka", &["auth", "http", "render", "store", "templates"]),
    ("mrml", &["render"]),
    ("prometheus_client", &["telemetry"]),
    ("qrcode", &["http"]),
    ("rand", &["auth", "callback", "cli", "demo", "dkim", "http", "jobs", "mail", "queue"]),
    ("redis", &["queue", "limits"]),
    ("regex", &["smtp"]),
    ("regex_syntax", &["smtp"]),
    ("reqwest", &["callback", "demo"]), // who speaks HTTP to others
    ("ring", &["dkim"]),
    ("rsa", &["dkim"]),
    ("rusqlite", &["store"]),
    ("rustix", &["cli", "demo", "http", "reload"]),
    ("rustls", &["callback", "certificates", "demo", "smtp"]),
    ("sd_notify", &["systemd"]),
    ("secrecy", &["auth", "http", "jobs", "smtp", "store"]),
    ("serde_path_to_error", &["config", "http"]),
    ("sha2", &["auth", "dashboard", "http", "keyed_hash", "render", "store", "templates", "webhook"]),
    ("simple_dns", &["cli"]),
    ("sqlx", &["store"]),
    ("tempfile", &["http"]),
    ("tokio_rustls", &["demo", "smtp"]),
    ("toml", &["config", "http", "shop", "smtp"]),
    ("tower", &["http", "queue"]),
    ("tracing_subscriber", &["demo", "telemetry"]),
    ("url", &["callback", "config", "dashboard", "http", "shop", "store", "webhook"]),
    ("utoipa", &["http", "mail", "shop", "webhook"]),
    ("webpki_roots", &["certificates"]),
    // For what has no error type of its own.
    (
        "anyhow",
        &[
            "admission",
            "app",
            "auth",
            "cli",
            "daemon",
            "demo",
            "heartbeat",
            "http",
            "jobs",
            "main",
            "reload",
            "rescuer",
            "scheduler",
            "telemetry",
        ],
    ),
    ("uuid", &["cli", "http", "jobs", "mail", "queue", "store", "worker"]),
];

/// Outside crates that are no matter of one module.
const FOR_ALL_CRATES: [&str; 7] =
    ["futures_util", "serde", "serde_json", "thiserror", "tokio", "tokio_util", "tracing"];

/// The most lines of a file.
const MOST_LINES: usize = 400;

/// Files that are longer, and why.
const LONG_FILES: [(&str, &str); 0] = [];

/// Imports that may close a circle: who uses whom, and why.
const CIRCULAR_IMPORTS: [(&str, &str, &str); 0] = [];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn may_use(user: &str, used: &str) -> bool {
    let is_for_all = FOR_ALL.contains(&used);
    // The configuration gathers the settings of the components.
    let is_config = user == "config" || user == "telemetry" || user == "clock";
    match (layer_of(user), layer_of(used)) {
        _ if user == used || is_for_all || NEIGHBOURS.contains(&(user, used)) => true,
        (None, Some(layer)) => is_config && layer >= 7,
        (Some(user), Some(used)) => user < used,
        _ => false,
    }
}

/// The files that each of the sources uses.
fn edges() -> &'static [BTreeSet<usize>] {
    static EDGES: LazyLock<Vec<BTreeSet<usize>>> = LazyLock::new(|| Imports::of(sources()).edges());
    &EDGES
}

/// Every pair of a file and one that it uses.
fn imports() -> impl Iterator<Item = (&'static Source, &'static Source)> {
    let pairs =
        edges().iter().enumerate().flat_map(|(user, used)| used.iter().map(move |used| (user, *used)));
    pairs.map(|(user, used)| (&sources()[user], &sources()[used]))
}

fn show((user, used): &(&Source, &Source)) -> String {
    format!("{} uses {}", user.path, used.path)
}

#[test]
fn imports_go_one_way() {
    let is_wrong = |(user, used): &(&Source, &Source)| !may_use(user.root_module(), used.root_module());
    let wrong: Vec<_> = imports().filter(|pair| is_wrong(pair)).map(|pair| show(&pair)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_its_layer() {
    for source in sources().iter().filter(|source| source.root_module() != "lib") {
        let module = source.root_module();
        assert!(layer_of(module).is_some() || FOR_ALL.contains(&module), "{}", source.path);
    }
}

/// The file or folder of the store that it is or belongs to; the store's own `mod.rs` is none.
fn part_of_the_store(source: &Source) -> Option<&str> {
    let is_there = source.root_module() == "store";
    source.module.get(1).filter(|_| is_there).map(String::as_str)
}

fn layer_in_the_store(part: &str) -> Option<usize> {
    STORE_LAYERS.iter().position(|layer| layer.contains(&part))
}

#[test]
fn imports_go_one_way_inside_the_store() {
    let parts: BTreeSet<_> = sources().iter().filter_map(part_of_the_store).collect();
    let homeless: Vec<_> = parts.iter().filter(|part| layer_in_the_store(part).is_none()).collect();
    assert!(homeless.is_empty(), "not in the layers of the store: {homeless:?}");
    let is_wrong =
        |(user, used): &(&Source, &Source)| match (part_of_the_store(user), part_of_the_store(used)) {
            // Within a folder the files are free, but for circles.
            (Some(user), Some(used)) => user != used && layer_in_the_store(user) >= layer_in_the_store(used),
            (Some(_), None) => used.module == ["store"],
            _ => false,
        };
    let wrong: Vec<_> = imports().filter(|pair| is_wrong(pair)).map(|pair| show(&pair)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = sources();
    let mut edges = edges().to_vec();
    for (user, used, reason) in CIRCULAR_IMPORTS {
        let place = |path: &str| sources.iter().position(|source| source.path == path);
        let (Some(user_at), Some(used_at)) = (place(user), place(used)) else {
            panic!("no {user} or {used}")
        };
        assert!(edges[user_at].remove(&used_at), "{user} does not use {used} any more: {reason}");
    }
    let wrong = circles(&edges).into_iter().flat_map(|circle| {
        let among = |file: usize| edges[file].iter().filter(|used| circle.contains(used)).copied();
        let pairs: Vec<_> = circle.iter().flat_map(|file| among(*file).map(|used| (*file, used))).collect();
        pairs.into_iter().map(|(user, used)| show(&(&sources[user], &sources[used]))).collect::<Vec<_>>()
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_outside_crate_has_its_owners() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (outside, owners) in OWNERS {
            let names = |at: usize| {
                let before = source.code[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '_' | ':'))
            };
            let uses = source.code.match_indices(&format!("{outside}::")).any(|(at, _)| names(at));
            if uses && !owners.contains(&source.root_module()) {
                wrong.push(format!("{} uses {outside}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_has_its_owners_or_is_for_all() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines = section.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    let names: BTreeSet<_> = names.collect();
    assert!(names.len() > 40, "{names:?}");
    let listed = OWNERS.iter().map(|(name, _)| *name).chain(FOR_ALL_CRATES);
    assert_eq!(names, listed.map(str::to_owned).collect());
}

#[test]
fn a_folder_is_a_module_with_its_mod_rs() {
    let below: Vec<_> =
        ["src", "jobs", "tests"].iter().flat_map(|folder| files(&root().join(folder))).collect();
    let folders: BTreeSet<_> = below.iter().map(|path| path.parent().unwrap().to_owned()).collect();
    assert!(folders.len() > 20, "{folders:?}");
    let is_wrong = |folder: &&std::path::PathBuf| {
        let has_two_homes = folder.with_extension("rs").exists();
        let is_root = **folder == root().join("src") || **folder == root().join("tests/it");
        has_two_homes || (!is_root && !folder.join("mod.rs").exists())
    };
    let wrong: Vec<_> = folders.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_too_long() {
    let below = ["src", "jobs", "tests"].iter().flat_map(|folder| files(&root().join(folder)));
    let long = below.filter(|path| fs::read_to_string(path).unwrap().lines().count() > MOST_LINES);
    let long: BTreeSet<_> = long.map(|path| below_root(&path)).collect();
    assert_eq!(long, LONG_FILES.map(|(path, _)| path.to_owned()).into());
}

#[test]
fn a_module_may_use_those_of_later_layers_only() {
    for (user, used, may) in [
        ("http", "store", true),
        ("store", "http", false),
        ("store", "queue", false),
        ("shop", "mail", true),
        ("mail", "shop", false),
        ("smtp", "clock", true),
        ("config", "store", true),
        ("config", "http", false),
        ("scheduler", "http", false),
    ] {
        assert_eq!(may_use(user, used), may, "{user} {used}");
    }
}
