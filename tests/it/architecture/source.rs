//! The source files of the crate, without their comments, the contents of their literals and their tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// One source file.
pub struct Source {
    /// Below the root of the crate, as in `src/store/mod.rs`.
    pub path: String,
    /// The path of its module, as in `["store", "writer"]`; empty for `lib.rs`.
    pub module: Vec<String>,

    /// What is compiled into the product; literals are empty.
    pub code: String,
}

impl Source {
    /// The module at the root of the crate that it is or belongs to.
    pub fn root_module(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }
}

/// Every source file of the product; files that are only compiled for tests are left out.
pub fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let folders = ["src", "jobs"].map(|folder| files(&root().join(folder)));
        folders.concat().into_iter().filter_map(read).collect()
    });
    assert!(SOURCES.len() > 60, "{} files", SOURCES.len());
    &SOURCES
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with Rust in this folder and those below it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    let mut files: Vec<_> =
        below.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    files.sort();
    files
}

/// As in `src/store/mod.rs`.
pub fn below_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn read(path: PathBuf) -> Option<Source> {
    let text = fs::read_to_string(&path).unwrap();
    let module = module_of(&below_root(&path));
    (!is_test(&path)).then(|| Source {
        path: below_root(&path),
        module,

        code: without_tests(&without_comments_and_literals(&text)),
    })
}

fn module_of(path: &str) -> Vec<String> {
    let below = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let parts = below.split('/').filter(|part| *part != "mod" && *part != "lib");
    parts.map(str::to_owned).collect()
}

/// Whether the file is there only for tests: it is in a folder `tests`, or the module that declares it says so.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let declares = |parent: &PathBuf| {
        let text = fs::read_to_string(parent).unwrap_or_default();
        text.split("#[cfg(test)]\n").skip(1).any(|after| {
            let declaration = after.lines().find(|line| !line.trim().starts_with("#[")).unwrap_or_default();
            declaration.trim().ends_with(&format!("mod {name};"))
        })
    };
    let folder = path.parent().unwrap();
    let parents = [folder.join("mod.rs"), folder.join("lib.rs")];
    path.iter().any(|part| part == "tests" || part == "tests.rs") || parents.iter().any(declares)
}

/// Keeps the lines, so that what is left still stands where it stood.
fn without_comments_and_literals(text: &str) -> String {
    let (mut rest, mut code) = (text, String::with_capacity(text.len()));
    while let Some(first) = rest.chars().next() {
        let may_begin = matches!(first, '/' | '"' | '\'' | 'b' | 'c' | 'r');
        let dropped = if may_begin { comment(rest).or_else(|| literal(rest)) } else { None };
        if let Some(length) = dropped {
            let is_literal = !rest.starts_with('/');
            code.push_str(if is_literal { "\"\"" } else { " " });
            code.extend(rest[..length].matches('\n'));
            rest = &rest[length..];
        } else {
            let word = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
            let length = word.filter(|length| *length > 0).unwrap_or(first.len_utf8());
            code.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    code
}

/// How long the comment is that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        Some(text.find('\n').unwrap_or(text.len()))
    } else if text.starts_with("/*") {
        text.find("*/").map(|end| end + 2)
    } else {
        None
    }
}

/// How long the string or character is that begins here.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            let opening = rest.trim_start_matches(if prefix.ends_with('r') { '#' } else { '"' });
            rest.starts_with('"') || (prefix.ends_with('r') && opening.starts_with('"'))
        })
    });
    if let Some(prefix) = prefix {
        let rest = &text[prefix.len()..];
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let opened = prefix.len() + hashes + 1;
        let end = match prefix.ends_with('r') {
            true => text[opened..].find(&format!("\"{}", "#".repeat(hashes))).map(|end| end + 1 + hashes),
            false => closing(&text[opened..], '"'),
        };
        return Some(opened + end.unwrap_or(text.len() - opened));
    }
    let inner = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?;
    let opened = text.len() - inner.len();
    let mut characters = inner.chars();
    // A lifetime has no second apostrophe.
    let is_character = characters.next()? == '\\' || characters.next()? == '\'';
    if is_character { closing(inner, '\'').map(|end| opened + end) } else { None }
}

/// Where the literal ends, its closing quote included.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let ends = character == quote && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

/// Leaves out every item that is marked `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut parts = code.split("#[cfg(test)]");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + &part[item(part)..])
}

/// How long the item is that begins here, with its attributes.
fn item(code: &str) -> usize {
    let (mut depth, mut is_use) = (0_usize, false);
    for (at, character) in code.char_indices() {
        is_use |= depth == 0 && code[at..].starts_with("use ");
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = character == ';' || (character == '}' && !is_use);
        if depth == 0 && ends {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn tests_comments_and_literals_are_cut_out_of_a_source() {
    let text = "use a::b; // c::d\nlet x = \"e::f\"; let y = r#\"g::\"h\"#; let z = '\"'; fn i<'a>() {}\n\
                #[cfg(test)]\nuse j::{k, l};\n#[cfg(test)]\n#[path = \"m.rs\"]\nmod n;\n\
                #[cfg(test)]\nmod tests { fn o() { p::q() } }\nfn r() {}";
    let code = without_tests(&without_comments_and_literals(text));
    let kept: Vec<_> = code.split_whitespace().collect();
    let expected = "use a::b; let x = \"\"; let y = \"\"; let z = \"\"; fn i<'a>() {} fn r() {}";
    assert_eq!(kept.join(" "), expected);
    assert_eq!(module_of("src/store/mod.rs"), ["store"]);
    assert_eq!(module_of("jobs/send_mail.rs"), ["jobs", "send_mail"]);
    assert!(module_of("src/lib.rs").is_empty());
}
