//! The pages match the settings and each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown page of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages =
        vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("benches/README.md")];
    for folder in ["docs", "docs/decisions"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}

/// The lines of a page that are not part of an example.
fn prose(text: &str) -> Vec<&str> {
    let mut is_example = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_example = !is_example;
        } else if !is_example {
            lines.push(line);
        }
    }
    lines
}

/// The anchors that a page's headings have when it is shown as HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

/// Where the links of a page lead: a file relative to the page, and a heading.
fn links(text: &str) -> Vec<(String, Option<String>)> {
    let text = prose(text).join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets =
        targets.filter(|target| !target.starts_with("http") && !target.contains(char::is_whitespace));
    let parts = |target: &str| match target.split_once('#') {
        Some((file, heading)) => (file.to_owned(), Some(heading.to_owned())),
        None => (target.to_owned(), None),
    };
    targets.map(parts).collect()
}

#[test]
fn the_operators_table_has_every_setting_and_no_other() {
    let defaults: toml::Table = read(&root().join("config.toml")).parse().unwrap();
    let mut settings = BTreeSet::new();
    for (section, keys) in &defaults {
        match keys.as_table() {
            Some(keys) => settings.extend(keys.keys().map(|key| format!("{section}.{key}"))),
            None => drop(settings.insert(section.clone())),
        }
    }
    let page = read(&root().join("docs/operations.md"));
    let first_cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<_> = first_cells
        .filter(|cell| match cell.split_once('.') {
            Some((section, _)) => defaults.contains_key(section),
            None => defaults.get(*cell).is_some_and(|value| !value.is_table()),
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, settings);
}

#[test]
fn decisions_are_numbered_without_gaps_and_listed() {
    let folder = root().join("docs/decisions");
    let list = read(&folder.join("README.md"));
    let mut titles = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        let number: usize = name[..4].parse().unwrap();
        let heading = read(&folder.join(&name)).lines().next().unwrap().to_owned();
        assert!(heading.starts_with(&format!("# {number}. ")), "{name} begins with `{heading}`");
        assert!(titles.insert(number, name).is_none(), "two decisions have the number {number}");
    }
    for (expected, (number, name)) in (1..).zip(&titles) {
        assert_eq!(*number, expected);
        let is_listed =
            |line: &str| line.starts_with(&format!("{number}. [")) && line.ends_with(&format!("({name})"));
        assert!(list.lines().any(is_listed), "docs/decisions/README.md does not list {name}");
    }
}

#[test]
fn every_link_leads_to_a_page_and_to_one_of_its_headings() {
    for page in pages() {
        for (file, heading) in links(&read(&page)) {
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(&file) };
            assert!(target.exists(), "{} links to {file}", page.display());
            if let Some(heading) = heading {
                let anchors = anchors(&read(&target));
                assert!(anchors.contains(&heading), "{} links to {file}#{heading}", page.display());
            }
        }
    }
}
