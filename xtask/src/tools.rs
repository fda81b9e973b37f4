//! The tools that a step needs beyond a plain stable toolchain. A missing tool is installed at a
//! fixed version. If it cannot be installed, an error names it, and
//! [`unavailable`](crate::unavailable) decides whether the run may pass without it.

use crate::invocation::Invocation;
use crate::servers;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) const LOOK: Duration = Duration::from_secs(60);
const INSTALL: Duration = Duration::from_secs(20 * 60);

/// A tool that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tool {
    Rustfmt,
    Clippy,
    Nightly,
    /// The oldest compiler that the crate supports.
    Oldest,
    CargoFuzz,
    /// The interpreter that finds undefined behaviour. It builds the standard library from its
    /// sources.
    Miri,
    /// Redis, Valkey and NATS, old and new.
    Servers,
    /// The headers of OpenSSL, which librdkafka needs for TLS.
    OpenSsl,
    /// The browser that tests the page of an example.
    Chromium,
}

/// The release of cargo-fuzz to install. No other release is used, because it could give other
/// results.
const CARGO_FUZZ: &str = "0.13.1";

/// The tools that have been looked for, so that each is looked for and installed only once.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    known: HashMap<Tool, Result<(), &'static str>>,
}

impl Tools {
    /// # Errors
    /// A text that says why the tool is not available.
    pub(crate) fn ensure(&mut self, tool: Tool) -> Result<(), &'static str> {
        *self.known.entry(tool).or_insert_with(|| find(tool))
    }

    /// Makes a set in which this tool is not available.
    #[cfg(test)]
    pub(crate) fn without(tool: Tool, reason: &'static str) -> Self {
        Tools {
            known: HashMap::from([(tool, Err(reason))]),
        }
    }
}

/// The `+TOOLCHAIN` argument of cargo for the oldest supported compiler.
pub(crate) fn oldest() -> String {
    format!("+{}", env!("CARGO_PKG_RUST_VERSION"))
}

fn find(tool: Tool) -> Result<(), &'static str> {
    match tool {
        Tool::Rustfmt => find_or_add(
            "cargo fmt --version",
            "rustup component add rustfmt",
            "rustfmt is not installed",
        ),
        Tool::Clippy => find_or_add(
            "cargo clippy --version",
            "rustup component add clippy",
            "clippy is not installed",
        ),
        Tool::Nightly => find_toolchain("+nightly", "no nightly toolchain is installed"),
        Tool::Oldest => {
            find_toolchain(&oldest(), "the oldest supported toolchain is not installed")
        }
        Tool::Miri => find_or_add(
            "cargo +nightly miri --version",
            "rustup component add --toolchain nightly miri rust-src",
            "Miri is not installed: `rustup component add --toolchain nightly miri rust-src`",
        ),
        Tool::Servers => servers::ensure(),
        Tool::OpenSsl => {
            let found = || Invocation::new("pkg-config --exists openssl", LOOK).succeeds();
            if found() || (added_by_apt("libssl-dev pkg-config") && found()) {
                Ok(())
            } else {
                Err("the headers of OpenSSL are missing and could not be installed")
            }
        }
        Tool::Chromium => {
            let found = || Invocation::new("chromium --version", LOOK).succeeds();
            if found() || (added_by_apt("chromium") && found()) {
                Ok(())
            } else {
                Err("chromium is missing and could not be installed")
            }
        }
        Tool::CargoFuzz => {
            let look = Invocation::new("cargo fuzz --version", LOOK);
            let found = || {
                let version = look.output(false).0;
                is_version(&version, CARGO_FUZZ)
            };
            let add = format!("cargo install cargo-fuzz --locked --version {CARGO_FUZZ} --force");
            if found() || (added(&add) && found()) {
                Ok(())
            } else {
                Err("this release of cargo-fuzz is missing and could not be installed")
            }
        }
    }
}

/// Whether the output of a tool's `--version` names this version.
fn is_version(said: &str, wanted: &str) -> bool {
    said.split_whitespace().any(|word| word == wanted)
}

fn find_toolchain(toolchain: &str, missing: &'static str) -> Result<(), &'static str> {
    // Looking must not install a toolchain, as rustup may do by itself.
    let look = Invocation::new("cargo", LOOK)
        .arg(toolchain)
        .arg("--version")
        .env("RUSTUP_AUTO_INSTALL", "0");
    if look.succeeds() {
        Ok(())
    } else {
        Err(missing)
    }
}

fn find_or_add(look: &str, add: &str, missing: &'static str) -> Result<(), &'static str> {
    if Invocation::new(look, LOOK).succeeds() {
        return Ok(());
    }
    if added(add) && Invocation::new(look, LOOK).succeeds() {
        Ok(())
    } else {
        Err(missing)
    }
}

pub(crate) fn added(add: &str) -> bool {
    println!("    {add}");
    Invocation::new(add, INSTALL).run().is_ok()
}

/// Installs Debian packages. Updates the package lists once.
pub(crate) fn added_by_apt(packages: &str) -> bool {
    static UPDATED: OnceLock<bool> = OnceLock::new();
    let install = format!("apt-get install -y {packages}");
    *UPDATED.get_or_init(|| added("apt-get update")) && added(&install)
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn another_release_is_not_taken_for_the_one_that_is_wanted() {
        assert!(is_version("cargo-fuzz 0.13.1\n", "0.13.1"));
        assert!(!is_version("cargo-fuzz 0.13.10\n", "0.13.1"));
        assert!(!is_version("", "0.13.1"));
    }
}
