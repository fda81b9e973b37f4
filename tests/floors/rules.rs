//! The rules of the crate's layout, and the places where a source tree breaks them. The sources are
//! formatted, so lines are enough to find comments, imports and test modules.

use std::collections::BTreeMap;

/// The top-level modules, each on its floor. A module imports only from floors below its own.
const FLOORS: &[(&str, u32)] = &[
    ("sync", 0),
    ("error", 1),
    ("events", 1),
    ("backoff", 1),
    ("overflow", 1),
    ("traits", 1),
    ("wait", 1),
    ("subscription", 2),
    ("scope", 2),
    ("attempts", 2),
    ("resubscribe", 2),
    ("carrier", 3),
    ("publish", 3),
    ("receive", 3),
    ("feed", 3),
    ("ring", 3),
    ("meters", 4),
    ("mux", 4),
    ("docs", 5),
];

/// The imports that are allowed on one floor: a module, and the modules it may import. The pairs
/// make no cycle.
const NEIGHBOURS: &[(&str, &[&str])] = &[
    ("backoff", &["error"]),
    ("events", &["wait"]),
    ("wait", &["error"]),
    ("scope", &["subscription"]),
    ("resubscribe", &["attempts", "subscription"]),
    ("feed", &["carrier", "publish", "receive"]),
    ("ring", &["carrier", "publish", "receive"]),
];

/// What only `sync` may name: where it stands in for something, loom must be able to stand in for
/// it. `Arc` and `Weak` are not here, and neither is `mpsc`: no protocol relies on the ordering of
/// their insides. (`clippy::disallowed_types` cannot tell `crate::sync::Mutex` from the type that
/// it names.)
const PRIMITIVES: &[&str] = &[
    "arc_swap",
    "core::cell::UnsafeCell",
    "core::hint",
    "core::sync",
    "crossbeam_utils::atomic",
    "crossbeam_utils::sync",
    "crossbeam_utils::thread",
    "loom",
    "parking_lot",
    "shuttle",
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
    "std::sync::self",
    "std::thread",
    "std::thread_local",
];

/// The most lines of code in a file: more is two concepts.
const LONGEST_FILE: usize = 500;

/// The lines that hold code, with their numbers, up to the test module. Comments and blank lines
/// hold none.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = source.find("\nmod tests {").unwrap_or(source.len());
    let lines = (1..).zip(source[..end].lines());
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

/// All paths that a source names, with their lines: those of its imports, one for each leaf, and
/// those in its code.
fn paths(source: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    // The prefixes of the groups that are open in an import.
    let mut groups: Vec<String> = Vec::new();
    let mut is_inline = false;
    for (number, line) in code(source) {
        // In a module within the file, `super` is the file.
        is_inline = line.contains("mod ") && line.ends_with('{') || is_inline && line != "}";
        // In a line of a group, each word is a path. Elsewhere a path has at least two names.
        let is_import = !groups.is_empty() || line.contains("use ");
        let mut word = String::new();
        for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
            if c.is_alphanumeric() || c == '_' || c == ':' || c == '*' && word.ends_with("::") {
                word.push(c);
                continue;
            }
            let prefix = groups.concat();
            let path = format!("{prefix}{word}");
            let path = path.trim_matches(':');
            let path = path
                .strip_prefix("super::")
                .filter(|_| is_inline)
                .unwrap_or(path);
            if c == '{' && is_import && word.ends_with("::") {
                groups.push(std::mem::take(&mut word));
                continue;
            }
            let is_name = word == "as"
                || line[..at].ends_with(&format!(" as {word}")) && !word.contains("::");
            if !word.is_empty() && !is_name && (path.contains("::") || line.starts_with("extern")) {
                paths.push((number, path.to_owned()));
            }
            word.clear();
            if c == '}' {
                groups.pop();
            }
        }
    }
    paths
}

fn floor(module: &str) -> Option<u32> {
    let row = FLOORS.iter().find(|(name, _)| *name == module);
    row.map(|(_, floor)| *floor)
}

/// Why a path may not stand in a file of this module, if it may not. `is_module` says whether a
/// path from the root is that of a file.
fn fault(module: &[&str], path: &str, is_module: impl Fn(&[&str]) -> bool) -> Option<String> {
    let own = *module.first()?;
    let is_in = |primitive: &&&str| {
        let rest = path.strip_prefix(**primitive);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if own != "sync" && (path == "std::sync" || PRIMITIVES.iter().find(is_in).is_some()) {
        return Some("only `sync` names the primitives; use `crate::sync`".to_owned());
    }
    let names: Vec<&str> = path.split("::").collect();
    let mut place = match names[0] {
        "crate" => Vec::new(),
        "super" => module.to_vec(),
        _ => return None,
    };
    for name in names.iter().skip(usize::from(names[0] == "crate")) {
        match *name {
            "super" => drop(place.pop()),
            "self" => {}
            name => place.push(name),
        }
    }
    let Some(onto) = place.first().and_then(|top| floor(top)) else {
        return Some("this is an item of the crate root; import it from its module".to_owned());
    };
    let from = floor(own)?;
    if place[0] != own {
        let neighbours = NEIGHBOURS.iter().find(|(name, _)| *name == own);
        let is_allowed =
            onto < from || neighbours.is_some_and(|(_, allowed)| allowed.contains(&place[0]));
        return (!is_allowed).then(|| {
            format!(
                "`{own}` is on floor {from} and `{}` on {onto}; import only from below",
                place[0]
            )
        });
    }
    // Of each parent, only what is a module of its own may be named.
    let is_of_parent = (1..module.len()).any(|depth| {
        place.starts_with(&module[..depth]) && !is_module(&place[..place.len().min(depth + 1)])
    });
    is_of_parent
        .then(|| "a child never imports its parent; move this to a module of its own".to_owned())
}

/// Every breach in a tree of sources, given by their names from `src` on.
pub(crate) fn breaches(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, source) in sources {
        let lines = code(source).count();
        if lines > LONGEST_FILE {
            breaches.push(format!(
                "src/{name} has {lines} lines of code; split it at {LONGEST_FILE}"
            ));
        }
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        let module: Vec<&str> = stem.split('/').collect();
        if stem == "lib" {
            breaches.extend(root(source));
        } else if !stem.ends_with("tests") {
            let is_module = |place: &[&str]| {
                let (name, parent) = place.split_last().expect("a path names something");
                let parent = sources.get(&format!("{}.rs", parent.join("/")));
                parent.is_some_and(|parent| parent.contains(&format!("mod {name};")))
            };
            for (line, path) in paths(source) {
                if let Some(why) = fault(&module, &path, is_module) {
                    breaches.push(format!("src/{name}:{line}: `{path}`: {why}"));
                }
            }
        }
    }
    breaches
}

/// What is wrong with `lib.rs`: it has docs, modules in the order of their floors, and re-exports.
fn root(source: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut highest = 0;
    for (number, line) in code(source) {
        let at = format!("src/lib.rs:{number}");
        let item = line.trim_start_matches("pub ");
        if let Some(name) = item
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            match floor(name) {
                None => breaches.push(format!(
                    "{at}: `{name}` has no floor; add it to tests/floors"
                )),
                Some(floor) if floor < highest => {
                    breaches.push(format!("{at}: list the floors upward"));
                }
                Some(floor) => highest = floor,
            }
        } else if ["fn ", "struct ", "impl", "macro_rules", "const ", "static ", "use ", "mod "]
            .iter()
            .any(|logic| item.starts_with(logic) && !line.starts_with("pub use "))
            // What exists for the tests of rustdoc.
            && !line.contains("Readme")
        {
            breaches.push(format!("{at}: only `mod`, `pub use` and docs stand here"));
        }
    }
    breaches
}
