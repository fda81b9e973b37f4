//! A test whose body runs alone, in its own process, because it changes what cannot be changed
//! back.

use std::env;
use std::process::Command;

/// Names the test that a process runs in place of its parent.
const CHILD: &str = "FANFEED_TEST_CHILD";

/// Runs `body` in a child process with these variables, and fails with what the child says if
/// `body` fails.
///
/// `test` is the name of the calling test, with its modules. The child runs that test alone, and so
/// comes here again.
#[track_caller]
pub(crate) fn in_child(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1", "--nocapture"])
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The variable by which no thread can be made: no address space holds a stack of 2^50 bytes.
pub(crate) const WITHOUT_THREADS: (&str, &str) = ("RUST_MIN_STACK", "1125899906842624");
