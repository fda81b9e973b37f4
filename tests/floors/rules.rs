//! The rules of the crate's layout, as the table below states them, and the places where a source
//! tree breaks them.

use crate::paths::{Contents, Named, attribute_end, contents, item_end, marked_items};
use crate::tokens::{Token, code_lines, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// The top-level modules, each on its floor. A module imports only from floors below its own.
const FLOORS: &[(&str, u32)] = &[
    ("sync", 0),
    ("error", 1),
    ("events", 1),
    ("backoff", 1),
    ("wait", 1),
    ("subscription", 2),
    ("scope", 2),
    ("attempts", 2),
    ("resubscribe", 2),
    ("publish", 3),
    ("overflow", 1),
    ("carrier", 3),
    ("channel", 3),
    ("feed", 3),
    ("ring", 3),
    ("mux", 4),
    ("broker", 5),
    ("bus", 6),
    ("socket", 6),
    ("docs", 7),
];

/// The imports that are allowed on one floor: a module, and the modules it may import. The pairs
/// make no cycle.
const NEIGHBOURS: &[(&str, &[&str])] = &[
    ("backoff", &["error"]),
    ("events", &["wait"]),
    ("wait", &["error"]),
    ("scope", &["subscription"]),
    ("resubscribe", &["attempts", "subscription"]),
    ("carrier", &["overflow"]),
    ("channel", &["carrier", "overflow"]),
    ("feed", &["carrier", "channel", "overflow", "publish"]),
    ("ring", &["carrier", "overflow", "publish"]),
];

/// What only `sync` may name: where it stands in for something, loom must be able to stand in for
/// it. `Arc` and `Weak` are not here, and neither is `mpsc`: no protocol leans on the ordering of
/// their insides.
const PRIMITIVES: &[&str] = &[
    "arc_swap",
    "core::cell::UnsafeCell",
    "core::hint::spin_loop",
    "core::sync",
    "crossbeam_utils::atomic",
    "crossbeam_utils::sync",
    "crossbeam_utils::thread",
    "loom",
    "parking_lot",
    "std::cell::UnsafeCell",
    "std::hint::spin_loop",
    "std::sync::*",
    "std::sync::Barrier",
    "std::sync::Condvar",
    "std::sync::LazyLock",
    "std::sync::Mutex",
    "std::sync::Once",
    "std::sync::OnceLock",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::thread",
    "std::thread_local",
];

/// The most lines of code in a file: more is two concepts.
const LONGEST_FILE: usize = 500;

struct File {
    /// From `src`, with slashes.
    name: String,
    /// The module it is: empty for `lib.rs`.
    module: Vec<String>,
    tokens: Vec<Token>,
    contents: Contents,
}

impl File {
    fn new(name: &str, source: &str) -> Self {
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let module = if stem == "lib" {
            Vec::new()
        } else {
            stem.split('/').map(str::to_owned).collect()
        };
        let tokens = tokens(source);
        let contents = contents(&tokens);
        File {
            name: name.to_owned(),
            module,
            tokens,
            contents,
        }
    }

    fn at(&self, line: usize) -> String {
        format!("src/{}:{line}", self.name)
    }
}

/// Every breach in a tree of sources, given by their names from `src` on.
pub(crate) fn breaches(sources: &BTreeMap<String, String>) -> Vec<String> {
    let files: Vec<File> = sources
        .iter()
        .map(|(name, source)| File::new(name, source))
        .collect();
    let mut modules = BTreeSet::new();
    let mut tests = BTreeSet::new();
    for file in &files {
        modules.extend((0..=file.module.len()).map(|depth| file.module[..depth].to_vec()));
        for declared in &file.contents.modules {
            let path = [file.module.as_slice(), declared.path.as_slice()].concat();
            if declared.test {
                tests.insert(path.clone());
            }
            modules.insert(path);
        }
    }
    let mut breaches = Vec::new();
    for file in &files {
        let lines = code_lines(&file.tokens);
        if lines > LONGEST_FILE {
            breaches.push(format!(
                "src/{} has {lines} lines of code; split it at {LONGEST_FILE}",
                file.name
            ));
        }
        let whole_file_is_test =
            (1..=file.module.len()).any(|depth| tests.contains(&file.module[..depth]));
        for path in &file.contents.paths {
            let test = path.test || whole_file_is_test;
            let broken = if test {
                None
            } else {
                names_a_primitive(file, path)
            };
            let broken = broken.or_else(|| {
                resolve(file, path).and_then(|to| reaches_up(file, &to, test, &modules))
            });
            if let Some(why) = broken {
                breaches.push(format!(
                    "{}: `{}`: {why}",
                    file.at(path.line),
                    path.segments.join("::")
                ));
            }
        }
        if file.module.is_empty() {
            breaches.extend(root(file));
        }
    }
    breaches
}

fn floor(module: &str) -> Option<u32> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

fn names_a_primitive(file: &File, path: &Named) -> Option<String> {
    if file.module.first().is_some_and(|top| top == "sync") {
        return None;
    }
    let named = path.segments.join("::");
    // The module by itself brings everything in it along.
    let whole = named == "std::sync";
    let primitive = PRIMITIVES.iter().find(|primitive| {
        named
            .strip_prefix(**primitive)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    (whole || primitive.is_some())
        .then(|| "only `sync` names the primitives; use `crate::sync`".to_owned())
}

/// The place in the crate that a path leads to, from the root on; nothing for a path into another
/// crate, or to what is in reach without leaving the module.
fn resolve(file: &File, path: &Named) -> Option<Vec<String>> {
    let mut place = [file.module.as_slice(), path.scope.as_slice()].concat();
    let mut rest = path.segments.as_slice();
    match rest.first()?.as_str() {
        "crate" => {
            place.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {}
        _ => return None,
    }
    while rest.first().is_some_and(|segment| segment == "super") {
        place.pop();
        rest = &rest[1..];
    }
    place.extend_from_slice(rest);
    Some(place)
}

/// Why a file may not go there, if it may not: the floors, and children and their parents.
fn reaches_up(
    file: &File,
    to: &[String],
    test: bool,
    modules: &BTreeSet<Vec<String>>,
) -> Option<String> {
    let own = file.module.first()?;
    let top = to
        .first()
        .filter(|top| modules.contains(std::slice::from_ref(*top)));
    let Some(top) = top else {
        let why =
            "this is an item of the crate root, which hides its floor; import it from its module";
        return (!test).then(|| why.to_owned());
    };
    if top != own {
        // A module that is not in the table is told of once, at `lib.rs`.
        let (from, onto) = (floor(own)?, floor(top)?);
        let neighbours = NEIGHBOURS
            .iter()
            .any(|(who, whom)| who == own && whom.contains(&top.as_str()));
        return (onto >= from && !neighbours).then(|| {
            format!(
                "`{own}` is on floor {from} and `{top}` on floor {onto}; import only from below"
            )
        });
    }
    if test {
        return None;
    }
    // The parents of this file, the nearest last: of each, only what is a module of its own may be
    // named.
    (1..file.module.len())
        .rev()
        .map(|depth| &file.module[..depth])
        .find_map(|parent| {
            let child = to.get(..=parent.len());
            let of_parent =
                to.starts_with(parent) && child.is_none_or(|child| !modules.contains(child));
            of_parent.then(|| {
                format!(
                    "a child never imports its parent `{}`; move this to a module of its own",
                    parent.join("::")
                )
            })
        })
}

/// What is wrong with `lib.rs`: it has docs, attributes, modules in the order of their floors, and
/// re-exports.
fn root(file: &File) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut highest = ("", 0);
    for declared in file
        .contents
        .modules
        .iter()
        .filter(|declared| declared.path.len() == 1 && !declared.test)
    {
        let name = &declared.path[0];
        match floor(name) {
            None => breaches.push(format!("src/lib.rs: `mod {name}` has no floor; add it to tests/floors/rules.rs")),
            Some(floor) if floor < highest.1 => breaches.push(format!(
                "src/lib.rs: `mod {name}` (floor {floor}) stands below `mod {}` (floor {}); list the floors upward",
                highest.0, highest.1
            )),
            Some(floor) => highest = (name, floor),
        }
    }
    // What exists only for rustdoc's tests (the README's examples) is no logic.
    let for_doctests = marked_items(&file.tokens, "doctest");
    let mut at = 0;
    while at < file.tokens.len() {
        if for_doctests[at] {
            at += 1;
        } else if let Some(end) = attribute_end(&file.tokens, at) {
            at = end;
        } else {
            let end = item_end(&file.tokens, at);
            if !is_listing(&file.tokens[at..end]) {
                let line = file.tokens[at].lines.0;
                breaches.push(format!(
                    "{}: only `mod`, `pub use` and docs stand here",
                    file.at(line)
                ));
            }
            at = end;
        }
    }
    breaches
}

/// Whether an item is `mod x;`, a re-export, or a `compile_error!`, which says where the crate does
/// not exist.
fn is_listing(item: &[Token]) -> bool {
    let mut item = item;
    let public = item.first().is_some_and(|token| token.is("pub"));
    if public {
        item = &item[1..];
        if item.first().is_some_and(|token| token.is("(")) {
            let close = item.iter().position(|token| token.is(")")).unwrap_or(0);
            item = &item[close + 1..];
        }
    }
    let first = |text: &str| item.first().is_some_and(|token| token.is(text));
    (first("mod") && item.last().is_some_and(|token| token.is(";")))
        || (first("use") && public)
        || first("compile_error")
}
