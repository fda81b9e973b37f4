//! The floors of the crate: each module imports only from lower floors, `lib.rs` only lists, only
//! `sync` names the primitives, and no file outgrows one concept. The table and the rules are in
//! `rules.rs`. These tests read the source itself: every path that it imports or names.

mod rules;
mod trust;

use rules::breaches;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn the_sources_keep_to_their_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    read(&root, "", &mut sources);
    assert!(sources.contains_key("lib.rs"), "no sources were found");
    let breaches = breaches(&sources);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

fn read(folder: &Path, prefix: &str, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read(&path, &format!("{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// The breaches of a house with this source in a file of it.
fn found(name: &str, source: &str) -> Vec<String> {
    let house = [("feed.rs", "mod a;\nmod b;"), (name, source)];
    let sources = house.map(|(name, source)| (name.to_owned(), source.to_owned()));
    breaches(&BTreeMap::from(sources))
}

/// A check that cannot fail holds nothing.
#[test]
fn breaches_are_found() {
    let long = "fn f() {}\n".repeat(501);
    let (below, primitive) = ("import only from below", "only `sync`");
    let parent = "never imports its parent";
    for (name, source, at, why) in [
        ("wait.rs", "\nuse crate::feed::Feed;", ":2", below),
        ("wait.rs", "use super::feed;", ":1", below),
        ("wait/cell.rs", "use super::super::feed::Feed;", ":1", below),
        (
            "wait.rs",
            "use crate::{\n    error::E,\n    feed::{self as f},\n};",
            ":3",
            below,
        ),
        (
            "wait.rs",
            "fn f() {\n    use crate::mux::*;\n}",
            ":2",
            below,
        ),
        ("wait.rs", "pub(crate) use crate::feed as f;", ":1", below),
        (
            "wait.rs",
            "fn f() -> u8 { g(&crate::feed::h::<u8>()) }",
            ":1",
            below,
        ),
        (
            "wait.rs",
            "macro_rules! m { () => { $crate::mux::x!() } }",
            ":1",
            below,
        ),
        (
            "wait.rs",
            "type X = <u8 as crate::feed::T>::Y;",
            ":1",
            below,
        ),
        ("error.rs", "use crate::wait::W;", ":1", below),
        ("feed.rs", "use crate::ring::R;", ":1", below),
        ("mux.rs", "use crate::Feed;", ":1", "crate root"),
        ("mux.rs", "use super::*;", ":1", "crate root"),
        ("feed/a.rs", "use super::Feed;", ":1", parent),
        ("feed/a.rs", "use super::*;", ":1", parent),
        ("feed/a.rs", "use crate::feed::{b, Feed};", ":1", parent),
        ("feed/a.rs", "fn f() { super::g() }", ":1", parent),
        (
            "feed.rs",
            "use std::sync::atomic::AtomicBool;",
            ":1",
            primitive,
        ),
        (
            "feed.rs",
            "use std::{fmt, sync::{Arc, Mutex}};",
            ":1",
            primitive,
        ),
        ("feed.rs", "use std::sync;", ":1", primitive),
        ("feed.rs", "use std::sync::{self, Arc};", ":1", primitive),
        ("feed.rs", "use ::std::sync::*;", ":1", primitive),
        (
            "feed.rs",
            "fn f() { std::thread::yield_now() }",
            ":1",
            primitive,
        ),
        (
            "feed.rs",
            "fn f(x: parking_lot::Mutex<u8>) {}",
            ":1",
            primitive,
        ),
        ("feed.rs", "use arc_swap::ArcSwap;", ":1", primitive),
        ("feed.rs", "extern crate loom;", ":1", primitive),
        ("lib.rs", "mod sync;\nmod cellar;", ":2", "no floor"),
        ("lib.rs", "mod error;\nmod sync;", ":2", "upward"),
        (
            "lib.rs",
            "mod sync;\n#[inline]\npub fn f() {}",
            ":3",
            "only `mod`",
        ),
        ("lib.rs", "mod sync;\nuse error::A;", ":2", "only `mod`"),
        ("lib.rs", "mod error { fn f() {} }", ":1", "only `mod`"),
        ("feed.rs", &long, " has 501", "split"),
    ] {
        let found = found(name, source);
        let is_found = |breach: &&String| {
            breach.starts_with(&format!("src/{name}{at}")) && breach.contains(why)
        };
        assert_eq!(
            found.iter().filter(is_found).count(),
            1,
            "{source}: {found:#?}"
        );
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (name, source) in [
        (
            "feed.rs",
            "use crate::error::X;\nuse crate::{sync::{self, Y}, wait::*};\nfn f() { crate::scope::g() }",
        ),
        (
            "feed.rs",
            "//! [`crate::mux::X`]\n/// use crate::mux::X;\n// use crate::mux::X;",
        ),
        (
            "feed/a.rs",
            "use super::b::B;\nuse crate::feed::b::{self, C};\nmod x {\n    use super::Own;\n}",
        ),
        (
            "feed/a.rs",
            "#[cfg(test)]\nmod tests {\n    use super::*;\n    use std::thread;\n}",
        ),
        ("feed/a/tests.rs", "use super::A;\nuse std::sync::Mutex;"),
        (
            "feed.rs",
            "use std::sync::{Arc, Weak, mpsc};\nuse std::time::Instant;\nuse crossbeam_utils::CachePadded;",
        ),
        (
            "sync/real.rs",
            "pub use std::sync::atomic::*;\npub use parking_lot::Mutex;\npub use loom::thread;",
        ),
        (
            "lib.rs",
            "//! Docs.\n#![warn(missing_docs)]\nmod sync;\n#[cfg(x)]\npub mod error;\npub use error::{\n    A, B,\n};",
        ),
        (
            "feed.rs",
            &format!(
                "{}{}",
                "/// Docs.\n\n".repeat(1000),
                "fn f() {}\n".repeat(500)
            ),
        ),
    ] {
        assert_eq!(found(name, source), Vec::<String>::new());
    }
}
