//! Why a model must fail.

/// What the end of a model that must fail has to be. Another end proves nothing: a mutant that
/// crashes, or a thread that looks for something that never comes until the checker gives up, may
/// not be what the model is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Threads wait for one another, or for a wake-up that does not come.
    Deadlock,
    /// Accesses to the same memory that are in no order, as the checker says.
    Race,
    /// A panic with this in its message: of an assertion of the model, or of the library.
    Says(&'static str),
    /// The same, for a mutant with several effects, of which the schedule decides which comes first.
    SaysOneOf(&'static [&'static str]),
}

impl Why {
    /// Whether a model that ended like this ended for that reason.
    pub(crate) fn explains(self, said: &str) -> bool {
        let Some((_, reason)) = said.split_once(" executions: fails, ") else {
            // A signal.
            return false;
        };
        match self {
            Self::Deadlock => reason.starts_with("deadlock"),
            Self::Race => [
                // loom's
                "Causality violation: ",
                "currently reading from cell",
                "currently writing to cell",
                // and that of the cells under shuttle
                "a cell is read while it is written",
                "assertion `left == right` failed: a cell is written while it is accessed",
            ]
            .iter()
            .any(|start| reason.starts_with(start)),
            Self::Says(what) => reason.contains(what),
            Self::SaysOneOf(several) => several.iter().any(|what| reason.contains(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Why;

    #[test]
    fn an_end_has_one_reason() {
        let deadlock = "7 executions: fails, deadlock; threads = [...] (rt/execution.rs:1:2)";
        let race =
            "7 executions: fails, Causality violation: Concurrent accesses (location.rs:1:2)";
        let assertion = "7 executions: fails, assertion failed: out of order (tests/x.rs:1:2)";
        let given_up = "7 executions: fails, Model exceeded maximum number of branches. (x.rs:1:2)";
        let reasons = [Why::Deadlock, Why::Race, Why::Says("out of order")];
        for (index, said) in [deadlock, race, assertion].into_iter().enumerate() {
            for (other, why) in reasons.into_iter().enumerate() {
                assert_eq!(why.explains(said), index == other, "{why:?}: {said}");
            }
        }
        for said in [
            given_up,
            "signal: 11 (SIGSEGV)",
            "7 executions: holds, 1.0s",
        ] {
            assert!(!reasons.into_iter().any(|why| why.explains(said)), "{said}");
        }
    }
}
