//! The steps that may be left out under `CI`. A run passes there only if every other step ran.

/// The steps that cannot be run where the project's CI runs, with the reasons. Under `CI`, any
/// other step that is not run fails the run.
const UNAVAILABLE: &[(&str, &str)] = &[
    (
        "msrv",
        "the machine has the current stable and nightly toolchains alone",
    ),
    (
        "miri",
        "the machine's nightly toolchain may have no sources of the standard library",
    ),
];

/// Whether this is CI, by the variable that nearly every service sets.
pub(crate) fn is_ci() -> bool {
    says_ci(std::env::var("CI").ok().as_deref())
}

fn says_ci(variable: Option<&str>) -> bool {
    variable.is_some_and(|value| !matches!(value, "" | "0" | "false"))
}

/// Returns why this step may be left out under `CI`, or `None` if it may not. The table names a
/// step by its name, or by its part of a group (`msrv` for `redis/msrv`).
pub(crate) fn excuse(step: &str) -> Option<&'static str> {
    let part = step.rsplit('/').next().unwrap_or(step);
    let entry = UNAVAILABLE.iter().find(|(name, _)| *name == part);
    entry.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::{UNAVAILABLE, excuse, says_ci};
    use crate::steps;

    #[test]
    fn a_variable_says_whether_this_is_ci() {
        assert!(says_ci(Some("true")) && says_ci(Some("1")));
        assert!(!says_ci(None) && !says_ci(Some("")) && !says_ci(Some("false")));
    }

    #[test]
    fn only_what_stands_in_the_table_is_excused() {
        assert!(excuse("loom").is_none() && excuse("fuzz/feed").is_none());
        assert!(excuse("redis/msrv").is_some() && excuse("redis/test").is_none());
        for (name, reason) in UNAVAILABLE {
            assert_eq!(excuse(name), Some(*reason));
        }
    }

    /// An entry without a step would excuse the next step of that name.
    #[test]
    fn every_entry_of_the_table_is_a_step_and_has_a_reason() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let steps = steps::all().unwrap();
        for (name, reason) in UNAVAILABLE {
            assert!(steps.iter().any(|step| step.name == *name), "{name}");
            assert!(!reason.is_empty(), "{name}");
        }
    }
}
