//! The floors of the crate: each module imports only from lower floors, `lib.rs` only lists, only
//! `sync` names the primitives, and no file outgrows one concept. The table and the rules are in
//! `rules.rs`. These tests read the source itself: every path that it imports or names.

mod paths;
mod rules;
mod tokens;
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
    assert!(
        breaches.is_empty(),
        "{} breaches:\n{}",
        breaches.len(),
        breaches.join("\n")
    );
}

fn read(folder: &Path, prefix: &str, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources can be read") {
        let path = entry.expect("a folder of sources can be read").path();
        let name = format!(
            "{prefix}{}",
            path.file_name()
                .expect("an entry has a name")
                .to_string_lossy()
        );
        if path.is_dir() {
            read(&path, &format!("{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.insert(
                name,
                fs::read_to_string(&path).expect("a source can be read"),
            );
        }
    }
}

/// The rules on trees made to break them: a check that cannot fail holds nothing.
mod the_rules {
    use super::breaches;

    const LIB: &str = "mod sync;\nmod error;\nmod wait;\nmod subscription;\nmod scope;\nmod feed;\nmod ring;\nmod mux;";

    /// The breaches of a house with these files in it, besides a `lib.rs` that lists its floors.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let modules = [
            "sync.rs",
            "error.rs",
            "wait.rs",
            "subscription.rs",
            "scope.rs",
            "feed.rs",
            "ring.rs",
            "mux.rs",
        ];
        let house = modules
            .into_iter()
            .map(|name| (name, ""))
            .chain([("lib.rs", LIB)]);
        let files = house.chain(files.iter().copied());
        breaches(
            &files
                .map(|(name, source)| (name.to_owned(), source.to_owned()))
                .collect(),
        )
    }

    #[track_caller]
    fn kept(files: &[(&str, &str)]) {
        assert_eq!(found(files), Vec::<String>::new());
    }

    #[track_caller]
    fn broken(files: &[(&str, &str)], at: &str, why: &str) {
        let found = found(files);
        assert!(
            found.len() == 1 && found[0].starts_with(at) && found[0].contains(why),
            "{files:?}\n{found:#?}"
        );
    }

    const UP: &str = "import only from below";

    #[test]
    fn a_module_imports_from_below() {
        kept(&[(
            "feed.rs",
            "use crate::error::X;\nuse crate::{sync::{self, Y}, wait::*};\nfn f() { crate::scope::g() }",
        )]);
    }

    #[test]
    fn an_import_from_above_is_found() {
        broken(
            &[("wait.rs", "\nuse crate::feed::Feed;")],
            "src/wait.rs:2: `crate::feed::Feed`",
            UP,
        );
        broken(&[("wait.rs", "use super::feed;")], "src/wait.rs:1", UP);
        broken(
            &[("wait/cell.rs", "use super::super::feed::Feed;")],
            "src/wait/cell.rs:1",
            UP,
        );
    }

    #[test]
    fn an_import_from_above_is_found_in_any_place_and_form() {
        let nested = "use crate::{\n error::E,\n feed::{self as f},\n};";
        broken(&[("wait.rs", nested)], "src/wait.rs:3: `crate::feed`", UP);
        broken(
            &[("wait.rs", "fn f() {\n use crate::mux::*;\n}")],
            "src/wait.rs:2",
            UP,
        );
        broken(
            &[("wait.rs", "pub(crate) use crate::feed as f;")],
            "src/wait.rs:1",
            UP,
        );
    }

    #[test]
    fn a_path_in_the_code_counts_as_an_import() {
        broken(
            &[("wait.rs", "fn f() -> u8 { g(&crate::feed::h::<u8>()) }")],
            "src/wait.rs:1: `crate::feed::h`",
            UP,
        );
        broken(
            &[("wait.rs", "macro_rules! m { () => { $crate::mux::x!() } }")],
            "src/wait.rs:1",
            UP,
        );
        broken(
            &[("wait.rs", "type X = <u8 as crate::feed::T>::Y;")],
            "src/wait.rs:1: `crate::feed::T`",
            UP,
        );
        broken(
            &[(
                "wait.rs",
                "mod inner { fn f() { super::super::feed::g() } }",
            )],
            "src/wait.rs:1",
            UP,
        );
    }

    #[test]
    fn comments_and_strings_import_nothing() {
        kept(&[(
            "wait.rs",
            r###"
            //! [`crate::feed::Feed`]
            /// use crate::feed::Feed;
            /* use crate::feed::Feed; /* nested */ use crate::mux::X; */
            const A: &str = "use crate::feed::Feed; \" // crate::feed::Feed";
            const B: &str = r#"" use crate::feed::Feed; "#;
            const C: (char, u8, &'static str) = ('"', b'\'', "crate::feed::X");
            "###,
        )]);
    }

    #[test]
    fn what_follows_a_string_or_a_character_is_still_read() {
        broken(
            &[(
                "wait.rs",
                "const A: char = '\"'; use crate::feed::F; const B: char = '\"';",
            )],
            "src/wait.rs:1",
            UP,
        );
        broken(
            &[("wait.rs", "const A: &str = r#\"\"\"#;\nuse crate::feed::F;")],
            "src/wait.rs:2",
            UP,
        );
        broken(
            &[(
                "wait.rs",
                "const A: &str = \"\n\n\\\"\";\nfn f<'a>(x: crate::mux::X<'a>) {}",
            )],
            "src/wait.rs:4",
            UP,
        );
    }

    #[test]
    fn neighbours_are_stated() {
        kept(&[
            ("wait.rs", "use crate::error::E;"),
            ("scope.rs", "use crate::subscription::S;"),
        ]);
        broken(&[("error.rs", "use crate::wait::W;")], "src/error.rs:1", UP);
        broken(&[("feed.rs", "use crate::ring::R;")], "src/feed.rs:1", UP);
    }

    #[test]
    fn the_crate_root_is_no_module_to_import_from() {
        broken(
            &[("mux.rs", "use crate::Feed;")],
            "src/mux.rs:1",
            "crate root",
        );
        broken(&[("mux.rs", "use super::*;")], "src/mux.rs:1", "crate root");
    }

    #[test]
    fn children_import_siblings_and_never_their_parent() {
        let siblings = [
            (
                "feed/a.rs",
                "use super::b::B;\nuse crate::feed::b::{self, C};\nmod x { use super::Own; }",
            ),
            ("feed/b.rs", ""),
        ];
        kept(&siblings);
        for import in [
            "use super::Feed;",
            "use super::*;",
            "use crate::feed::{b, Feed};",
            "fn f() { super::g() }",
        ] {
            broken(
                &[("feed/a.rs", import), ("feed/b.rs", "")],
                "src/feed/a.rs:1",
                "never imports its parent",
            );
        }
    }

    #[test]
    fn unit_tests_see_their_module_and_the_real_primitives() {
        kept(&[
            (
                "feed.rs",
                "#[cfg(test)]\nmod tests { use super::*; use std::thread; }\n#[cfg(test)]\nmod more;",
            ),
            ("feed/more.rs", "use super::Feed;\nuse std::sync::Mutex;"),
        ]);
        let code_after = "#[cfg(test)]\nmod tests { use super::*; }\nuse std::thread;";
        broken(&[("feed.rs", code_after)], "src/feed.rs:3", "only `sync`");
        broken(
            &[(
                "wait.rs",
                "#[cfg(test)]\nmod tests { use crate::feed::Feed; }",
            )],
            "src/wait.rs:2",
            UP,
        );
    }

    #[test]
    fn only_sync_names_the_primitives() {
        let allowed = "use std::sync::{Arc, Weak, mpsc};\nuse std::time::Instant;\nuse crossbeam_utils::CachePadded;";
        let real =
            "pub use std::sync::atomic::*;\npub use parking_lot::Mutex;\npub use loom::thread;";
        kept(&[
            ("feed.rs", allowed),
            ("sync/real.rs", real),
            ("sync.rs", "use std::thread;"),
        ]);
        for named in [
            "use std::sync::atomic::AtomicBool;",
            "use std::{fmt, sync::{Arc, Mutex}};",
            "use std::sync;",
            "use ::std::sync::*;",
            "fn f() { std::thread::yield_now() }",
            "fn f() { return ::std::thread::yield_now() }",
            "fn f(x: parking_lot::Mutex<u8>) {}",
            "use core::sync::atomic;",
            "use arc_swap::ArcSwap;",
            "use loom as l;",
            "extern crate loom;",
        ] {
            broken(&[("feed.rs", named)], "src/feed.rs:1", "only `sync`");
        }
    }

    #[test]
    fn a_module_without_a_floor_is_found() {
        broken(
            &[("lib.rs", "mod sync;\nmod cellar;")],
            "src/lib.rs: `mod cellar`",
            "has no floor",
        );
    }

    #[test]
    fn lib_lists_the_floors_upward() {
        broken(
            &[("lib.rs", "mod error;\nmod sync;")],
            "src/lib.rs: `mod sync`",
            "list the floors upward",
        );
    }

    #[test]
    fn lib_holds_no_logic() {
        kept(&[(
            "lib.rs",
            "//! Docs.\n#![warn(missing_docs)]\n#[cfg(not(target_has_atomic = \"64\"))]\ncompile_error!(\"no\");\n\
             mod sync;\n#[cfg(x)]\npub mod error;\npub use error::{A, B};\n\
             #[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]\npub struct Readme;\n",
        )]);
        for logic in [
            "pub fn f() {}",
            "struct X;",
            "use error::A;",
            "macro_rules! m { () => {} }",
            "mod error { fn f() {} }",
        ] {
            broken(
                &[("lib.rs", &format!("mod sync;\n#[inline]\n{logic}\n"))],
                "src/lib.rs:3",
                "only `mod`",
            );
        }
    }

    #[test]
    fn a_file_of_more_than_500_lines_of_code_is_found_and_comments_are_free() {
        let docs = "/// Docs.\n\n/* more */\n".repeat(1000);
        kept(&[(
            "feed.rs",
            &format!("{docs}{}", "fn f() {} fn g() {}\n".repeat(500)),
        )]);
        broken(
            &[("feed.rs", &"fn f() {} // why\n".repeat(501))],
            "src/feed.rs has 501",
            "split",
        );
        broken(
            &[(
                "feed.rs",
                &format!("const A: &str = \"{}\";", "x\n".repeat(500)),
            )],
            "src/feed.rs has 501",
            "split",
        );
    }
}
