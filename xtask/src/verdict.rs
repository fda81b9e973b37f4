//! Checks of cargo's output, where its exit status does not say enough.

/// All dependencies of a user of the default features.
const ALLOWED: [&str; 4] = [
    "arc-swap",
    "crossbeam-channel",
    "crossbeam-utils",
    "parking_lot",
];

/// The files that the package must contain.
const PACKAGED: [&str; 6] = [
    "CHANGELOG.md",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "src/lib.rs",
];

/// The folders of the workspace that are not part of the crate.
const NOT_PACKAGED: [&str; 10] = [
    "benches/",
    "crates/",
    "examples/data/",
    "examples/model-checking/",
    "fuzz/",
    "loom-tests/",
    "soak/",
    "target/",
    "tests/",
    "xtask/",
];

/// Checks the output of `cargo tree --depth 1 --prefix none`: the crate, and then its direct
/// dependencies, one on each line.
pub(crate) fn dependencies(tree: &str) -> Result<(), String> {
    let names: Vec<&str> = tree
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let extra: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !ALLOWED.contains(name))
        .collect();
    if names.is_empty() {
        Err("cargo tree named no dependency at all".to_owned())
    } else if extra.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "the default features depend on {}; only {} may be there",
            extra.join(", "),
            ALLOWED.join(", ")
        ))
    }
}

/// Checks the output of `cargo package --list`.
pub(crate) fn package(list: &str) -> Result<(), String> {
    let mut wrong = Vec::new();
    for needed in PACKAGED {
        if !list.lines().any(|line| line == needed) {
            wrong.push(format!("{needed} is not in the package"));
        }
    }
    for line in list.lines() {
        if NOT_PACKAGED.iter().any(|folder| line.starts_with(folder)) {
            wrong.push(format!("{line} is in the package"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// Checks the output of tests: some tests were run, and none was ignored. Otherwise a filter that
/// matches nothing, or a flag that does not reach the code, would pass.
pub(crate) fn tests(output: &str) -> Result<(), String> {
    let (mut passed, mut ignored) = (0, 0);
    for line in output.lines() {
        let Some(counts) = line.strip_prefix("test result: ok. ") else {
            continue;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let number = number.parse::<u64>().unwrap_or(0);
            match what {
                "passed" => passed += number,
                "ignored" => ignored += number,
                _ => {}
            }
        }
    }
    if passed == 0 {
        Err("no test was run".to_owned())
    } else if ignored > 0 {
        Err(format!("{ignored} tests were left out"))
    } else {
        Ok(())
    }
}

/// Adds the names of the failed tests to the reason why a command failed. The summary of a run is
/// far below the output of the command.
pub(crate) fn with_failed_tests(why: &str, output: &str) -> String {
    let failed = output.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(format!("\n    test {name}"))
    });
    failed.fold(why.to_owned(), |why, name| why + &name)
}

#[cfg(test)]
mod tests {
    use super::{dependencies, package, tests, with_failed_tests};

    #[test]
    fn a_dependency_that_nobody_agreed_to_is_named() {
        assert_eq!(
            dependencies("fanfeed v0.1.0\ncrossbeam-channel v0.5.15\nparking_lot v0.12.5\n"),
            Ok(())
        );
        let error =
            dependencies("fanfeed v0.1.0\nparking_lot v0.12.5\nserde v1.0.0\n").unwrap_err();
        assert!(error.contains("depend on serde;"), "{error}");
        assert!(dependencies("fanfeed v0.1.0\n").is_err());
    }

    #[test]
    fn a_package_has_its_licences_and_nothing_of_the_workshop() {
        let good = "CHANGELOG.md\nCargo.toml\nLICENSE-APACHE\nLICENSE-MIT\nREADME.md\nsrc/lib.rs\n";
        assert_eq!(package(good), Ok(()));
        assert!(package(&good.replace("LICENSE-MIT\n", "")).is_err());
        assert!(package(&format!("{good}xtask/src/main.rs\n")).is_err());
    }

    #[test]
    fn a_run_of_no_test_is_no_success() {
        let line = |passed: u32, ignored: u32| {
            format!(
                "test result: ok. {passed} passed; 0 failed; {ignored} ignored; 0 measured; 3 filtered out; finished in 0.00s\n"
            )
        };
        assert_eq!(tests(&(line(0, 0) + &line(2, 0))), Ok(()));
        assert!(tests(&line(0, 0)).is_err() && tests("").is_err());
        assert!(tests(&(line(2, 0) + &line(1, 1))).is_err());
    }

    #[test]
    fn the_tests_that_failed_are_named() {
        let output =
            "test a::b ... ok\ntest a::c ... FAILED\ntest src/x.rs - y (line 1) ... FAILED\n";
        assert_eq!(
            with_failed_tests("exit status: 101", output),
            "exit status: 101\n    test a::c\n    test src/x.rs - y (line 1)"
        );
        assert_eq!(with_failed_tests("stopped", "test a ... ok\n"), "stopped");
    }
}
