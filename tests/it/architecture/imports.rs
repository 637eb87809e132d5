//! Which file uses which: the paths in the code, followed to the files in which their items stand.
//!
//! A `mod.rs` that names a file below it in `mod` or `pub use` shows it to others and does not use it. Who uses what is
//! shown so uses the file in which it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A path from the root of the crate, as in `["store", "StoreError"]`.
type ItemPath = Vec<String>;

/// What the files of the crate use of one another.
pub struct Imports<'a> {
    sources: &'a [Source],
    /// The file of each module.
    files: BTreeMap<ItemPath, usize>,
    /// What the names in each module stand for that come from elsewhere in the crate.
    names: Vec<BTreeMap<String, ItemPath>>,
}

/// A `use` with its braces written out.
struct Use {
    path: ItemPath,
    name: String,
}

impl<'a> Imports<'a> {
    pub fn of(sources: &'a [Source]) -> Self {
        let modules = sources.iter().enumerate().map(|(at, source)| (source.module.clone(), at));
        let mut imports = Self { sources, files: modules.collect(), names: Vec::new() };
        imports.names = sources.iter().map(|source| imports.names_in(source)).collect();
        imports
    }

    fn names_in(&self, source: &Source) -> BTreeMap<String, ItemPath> {
        let tokens = tokens(&source.code);
        let uses = (0..tokens.len()).filter(|at| tokens[*at] == "use").flat_map(|at| {
            let mut uses = Vec::new();
            tree(&tokens, at + 1, &[], &mut uses);
            uses
        });
        uses.filter_map(|used| Some((used.name, self.absolute(&source.module, &used.path)?))).collect()
    }

    /// The path from the root of the crate; `None` where it leads out of it.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<ItemPath> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            first => {
                let child = [module, &[first.to_owned()]].concat();
                return self.files.contains_key(&child).then(|| [module, path].concat());
            }
        };
        let mut rest = &path[1..];
        while rest.first().is_some_and(|first| first == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        Some([base, rest.to_vec()].concat())
    }

    /// The file in which the item stands, or that of the module; and whether it is a module.
    fn file_of(&self, path: &[String]) -> Option<(usize, bool)> {
        let known = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (file, rest) = (self.files[&path[..known]], &path[known..]);
        let Some((item, below)) = rest.split_first() else { return Some((file, true)) };
        match self.names[file].get(item) {
            Some(shown) if !path.starts_with(shown) => self.file_of(&[shown, below].concat()),
            _ => Some((file, false)),
        }
    }

    /// The files that each file uses.
    pub fn edges(&self) -> Vec<BTreeSet<usize>> {
        (0..self.sources.len()).map(|file| self.used_by(file)).collect()
    }

    fn used_by(&self, file: usize) -> BTreeSet<usize> {
        let source = &self.sources[file];
        let below = |used: &ItemPath| used.len() > source.module.len() && used.starts_with(&source.module);
        // What a file shows of those below it, it uses only where it names it again.
        let imported = self.names[file].values().filter(|path| !below(path)).cloned();
        let spoken = self.spoken_in(source, file);
        let used = imported.chain(spoken).filter_map(|path| self.file_of(&path));
        used.filter(|(used, is_module)| !is_module && *used != file).map(|(used, _)| used).collect()
    }

    /// The paths outside of `use`, and the names that stand for something below.
    fn spoken_in(&self, source: &Source, file: usize) -> Vec<ItemPath> {
        let tokens = tokens(&source.code);
        let mut spoken = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if matches!(tokens[at], "use" | "mod") {
                at += tokens[at..]
                    .iter()
                    .position(|token| *token == ";" || *token == "{" && tokens[at] == "mod")
                    .unwrap_or(0);
            } else if is_word(tokens[at]) && (at == 0 || tokens[at - 1] != "::" && tokens[at - 1] != ".") {
                let path = path_at(&tokens, at);
                spoken.extend(match self.names[file].get(&path[0]) {
                    Some(shown) => Some([shown.clone(), path[1..].to_vec()].concat()),
                    None if path.len() > 1 => self.absolute(&source.module, &path),
                    None => None,
                });
            }
            at += 1;
        }
        spoken
    }
}

/// The circles: groups of files of which each uses, over others perhaps, every other one.
pub fn circles(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(|from| reached_from(edges, from)).collect();
    let mut circles = BTreeSet::new();
    for file in 0..edges.len() {
        let circle: Vec<_> =
            reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from(edges: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(edges[file].iter().copied().filter(|used| reached.insert(*used)));
    }
    reached
}

/// Words, `::`, and all else one character each.
fn tokens(code: &str) -> Vec<&str> {
    let (mut rest, mut tokens) = (code.trim_start(), Vec::new());
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            word => word,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn path_at(tokens: &[&str], at: usize) -> ItemPath {
    let following = tokens[at..].chunks(2).take_while(|pair| is_word(pair[0]));
    let mut path = Vec::new();
    for pair in following {
        path.push(pair[0].to_owned());
        if pair.get(1) != Some(&"::") {
            break;
        }
    }
    path
}

/// Reads a tree of `use` from this token on and returns the token after it.
fn tree(tokens: &[&str], at: usize, before: &[String], uses: &mut Vec<Use>) -> usize {
    let (mut path, mut at) = (before.to_vec(), at);
    loop {
        match tokens[at] {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, uses);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "::" => at += 1,
            "as" => {
                uses.push(Use { path, name: tokens[at + 1].to_owned() });
                return at + 2;
            }
            word if is_word(word) || word == "*" => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = path.last().cloned().unwrap_or_default();
    uses.push(Use { path, name });
    at
}

#[test]
fn the_reader_of_imports_follows_them_to_the_files() {
    let source = |path: &str, module: &[&str], code: &str| Source {
        path: path.to_owned(),
        module: module.iter().map(|part| (*part).to_owned()).collect(),

        code: code.to_owned(),
    };
    let sources = [
        source("src/lib.rs", &[], "pub mod store; pub mod http;"),
        source(
            "src/store/mod.rs",
            &["store"],
            "mod writer; mod row; pub use writer::{Writer, self}; pub struct Settings;",
        ),
        source(
            "src/store/writer.rs",
            &["store", "writer"],
            "use super::{Settings, row as r}; fn a() { r::read() }",
        ),
        source(
            "src/store/row.rs",
            &["store", "row"],
            "use std::fmt::{self, Debug}; fn b() { super::Writer::c() }",
        ),
        source(
            "src/http.rs",
            &["http"],
            "use crate::store::{self, Writer as W}; fn d() { store::writer::e() }",
        ),
    ];
    let edges = Imports::of(&sources).edges();
    let expected: [&[usize]; 5] = [&[], &[], &[1, 3], &[2], &[2]];
    assert_eq!(edges, expected.map(|used| used.iter().copied().collect::<BTreeSet<_>>()));
    assert_eq!(circles(&edges), [vec![2, 3]]);
}
