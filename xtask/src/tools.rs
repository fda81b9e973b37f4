//! What a step needs beyond a plain stable toolchain. What can be added is added; what cannot is named, not failed.

use crate::invocation::Invocation;
use std::collections::HashMap;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(60);
const INSTALL: Duration = Duration::from_secs(20 * 60);

/// A tool that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tool {
    Rustfmt,
    Clippy,
    Nightly,
    CargoFuzz,
}

/// What has been looked for already, so that it is looked for, and added, once.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    known: HashMap<Tool, Result<(), &'static str>>,
}

impl Tools {
    /// # Errors
    /// Why the tool cannot be had.
    pub(crate) fn ensure(&mut self, tool: Tool) -> Result<(), &'static str> {
        *self.known.entry(tool).or_insert_with(|| find(tool))
    }
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
        Tool::Nightly => {
            // A look must not install a toolchain, which rustup may do by itself.
            let look =
                Invocation::new("cargo +nightly --version", LOOK).env("RUSTUP_AUTO_INSTALL", "0");
            if look.succeeds() {
                Ok(())
            } else {
                Err("no nightly toolchain is installed")
            }
        }
        Tool::CargoFuzz => find_or_add(
            "cargo fuzz --version",
            "cargo install cargo-fuzz --locked",
            "cargo-fuzz is missing and could not be installed",
        ),
    }
}

fn find_or_add(look: &str, add: &str, missing: &'static str) -> Result<(), &'static str> {
    if Invocation::new(look, LOOK).succeeds() {
        return Ok(());
    }
    println!("    {add}");
    let added = Invocation::new(add, INSTALL).run().is_ok();
    if added && Invocation::new(look, LOOK).succeeds() {
        Ok(())
    } else {
        Err(missing)
    }
}
