//! The page "Why you can trust this" names only checks that exist. It omits no model, program or
//! target, and no file with `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("src/docs/trust.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names in one column of all tables of promises.
fn column(page: &str, index: usize) -> BTreeSet<String> {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches('|').count() == 7);
    let cells = rows.map(|row| row.split('|').nth(index + 1).unwrap());
    cells.flat_map(quoted).map(str::to_owned).collect()
}

/// The names of the files of Rust in a folder.
fn files(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(".rs") && name != "main.rs")
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_files_that_it_names_are_there() {
    let page = page();
    let named: Vec<_> = quoted(&page)
        .filter(|quoted| quoted.contains('/') && quoted.ends_with(".rs") && !quoted.contains(' '))
        .collect();
    assert!(named.len() > 40, "{named:?}");
    for path in named {
        assert!(
            root().join(path).is_file(),
            "{path} is named, and is not there"
        );
    }
}

#[test]
fn it_names_all_models_programs_and_targets() {
    let page = page();
    assert_eq!(column(&page, 2), files("loom-tests/tests/models"));
    let mut programs = column(&page, 3);
    // It is about the programs themselves.
    programs.insert("replay.rs".to_owned());
    assert_eq!(programs, files("shuttle-tests/tests"));
    let targets = column(&page, 4).into_iter();
    let targets: BTreeSet<_> = targets.map(|target| format!("{target}.rs")).collect();
    assert_eq!(targets, files("fuzz/fuzz_targets"));
}

#[test]
fn it_names_all_files_with_unsafe_in_them() {
    let page = page();
    let named: BTreeSet<_> = quoted(&page).collect();
    let mut all = Vec::new();
    sources(&root().join("src"), &mut all);
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let is_unsafe = ["unsafe {", "unsafe impl", "unsafe fn"]
            .iter()
            .any(|what| text.contains(what));
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
        assert!(!is_unsafe || named.contains(path), "{path} is not named");
    }
}

/// What `cargo mutants` is told to run, and to leave out, is there.
#[test]
fn the_mutants_are_run_against_tests_that_are_there() {
    let settings = fs::read_to_string(root().join(".cargo/mutants.toml")).unwrap();
    let targets: Vec<_> = settings
        .split("\"--test\", \"")
        .skip(1)
        .map(|rest| rest.split_once('"').unwrap().0)
        .collect();
    assert!(targets.len() > 5, "{targets:?}");
    for target in targets {
        let paths = [
            format!("tests/{target}.rs"),
            format!("tests/{target}/main.rs"),
        ];
        let is_there = paths.iter().any(|path| root().join(path).is_file());
        assert!(is_there, "there is no test `{target}`");
    }
    let excluded = settings.lines().filter_map(|line| {
        let (path, _) = line.trim().strip_prefix('\'')?.split_once("\\.rs")?;
        Some(format!("{path}.rs"))
    });
    for path in excluded {
        assert!(root().join(&path).is_file(), "there is no {path}");
    }
}
