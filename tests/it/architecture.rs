//! The layers hold: imports go one way, and each outside crate has its owners.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The modules, those who know most first; a module may use those of later lines.
const LAYERS: [&[&str]; 10] = [
    &["main", "cli", "demo"],
    &["daemon"],
    &["http", "dashboard", "scheduler", "rescuer", "heartbeat"],
    &["jobs"],
    &["app"],
    &["admission", "auth", "templates"],
    &["worker"],
    &["store", "queue", "limits", "render", "smtp", "callback", "cpu_pool", "html"],
    &["shop", "webhook"],
    &["mail"],
];

/// What all may use: the settings, the clock, the log and the metrics.
const FOR_ALL: [&str; 3] = ["config", "clock", "telemetry"];

/// Modules of one line of which the first may use the second.
const NEIGHBOURS: [(&str, &str); 3] = [("main", "cli"), ("cli", "demo"), ("rescuer", "scheduler")];

/// Outside crates and the modules that may use them.
const OWNERS: [(&str, &[&str]); 13] = [
    ("axum", &["http", "dashboard", "demo", "daemon"]), // the daemon serves their routers
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("http_body", &["http"]),
    ("rustix", &["http"]),
    ("sqlx", &["store"]),
    ("apalis", &["queue"]),
    ("apalis_core", &["queue"]),
    ("redis", &["queue", "limits"]),
    ("lettre", &["render"]),
    ("handlebars", &["render"]),
    ("css_inline", &["render"]),
    ("governor", &["limits"]),
];

/// The crates that speak HTTP to others.
const CALLERS: (&str, &[&str]) = ("reqwest", &["callback", "demo"]);

/// One source file without its comments and its tests.
struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "jobs"] {
        collect(&root.join(folder), &mut found);
    }
    found.retain(|source| source.module != "lib" && source.module != "bin");
    assert!(found.len() > 60, "{} files", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "tests" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path, name) {
            let code = without_comments_and_tests(&fs::read_to_string(&path).unwrap());
            found.push(Source { module: module_of(&path), path, code });
        }
    }
}

/// Whether the module is there only for tests: its parent says so, by name or by path.
fn is_test(path: &Path, name: &str) -> bool {
    let declared = |text: &str| {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        lines.split(|line| *line == "#[cfg(test)]").skip(1).any(|after| {
            let declaration: Vec<_> = after.iter().take_while(|line| line.starts_with("#[path")).collect();
            let module = after.get(declaration.len()).copied().unwrap_or_default();
            let is_named =
                module.strip_suffix(';').is_some_and(|module| module.ends_with(&format!("mod {name}")));
            is_named || declaration.iter().any(|path| path.contains(&format!("\"{name}.rs\"")))
        })
    };
    let folder = path.parent().unwrap();
    let siblings = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let parents = siblings.filter(|parent| parent != path);
    parents.filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| declared(&text))
}

fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut parts = below.iter().map(|part| part.to_str().unwrap());
    match parts.next().unwrap() {
        "jobs" => "jobs".to_owned(),
        _ => parts.next().unwrap().trim_end_matches(".rs").to_owned(),
    }
}

fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that the code names, as `crate::store` or in `crate::{store, …}`.
fn modules_in(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            modules.extend(first_words(list));
        } else {
            modules.insert(first_word(rest));
        }
    }
    modules
}

/// The first word of each element of a list in braces.
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut words, mut expects_word) = (0_usize, Vec::new(), true);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_word = true,
            _ if expects_word && !character.is_whitespace() => {
                words.push(first_word(&list[at..]));
                expects_word = false;
            }
            _ => {}
        }
    }
    words
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

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

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        for used in modules_in(&source.code) {
            // A macro or a type at the root of the crate is no module.
            let is_module = layer_of(&used).is_some() || FOR_ALL.contains(&used.as_str());
            if is_module && !may_use(&source.module, &used) {
                wrong.push(format!("{} uses crate::{used}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_its_layer() {
    for source in sources() {
        let module = source.module.as_str();
        assert!(layer_of(module).is_some() || FOR_ALL.contains(&module), "{}", source.path.display());
    }
}

#[test]
fn each_outside_crate_has_its_owners() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (outside, owners) in OWNERS.iter().chain([&CALLERS]) {
            let names = |at: usize| {
                let before = source.code[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '_' | ':' | '"'))
            };
            let uses = source.code.match_indices(&format!("{outside}::")).any(|(at, _)| names(at));
            if uses && !owners.contains(&source.module.as_str()) {
                wrong.push(format!("{} uses {outside}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Folders of source files below this one, itself included.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let holds_sources = files.iter().any(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let own = holds_sources.then(|| folder.to_owned());
    own.into_iter().chain(folders.iter().flat_map(|folder| self::folders(folder))).collect()
}

#[test]
fn a_folder_is_a_module_with_its_mod_rs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = ["src", "jobs"].map(|folder| folders(&root.join(folder))).concat();
    assert!(below.len() > 20, "{below:?}");
    let is_wrong = |folder: &PathBuf| {
        let has_two_homes = folder.with_extension("rs").exists();
        has_two_homes || (*folder != root.join("src") && !folder.join("mod.rs").exists())
    };
    let wrong: Vec<_> = below.into_iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_imports_reads_them() {
    let code = "use crate::{\n    app::App,\n    mail::{Lane, MailId},\n    queue,\n};\nuse crate::shop::Line;\nlet x = crate::clock::now();";
    let expected = ["app", "clock", "mail", "queue", "shop"].map(str::to_owned);
    assert_eq!(modules_in(code), BTreeSet::from(expected));
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
