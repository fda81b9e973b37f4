//! Finds the examples in their folder, so that none is forgotten.
//!
//! An example runs without arguments and without input, and has to end by itself with success. An
//! example that needs something else says so in its header, above the first line of code:
//!
//! ```text
//! // xtask: args --once --quiet         run it with these arguments
//! // xtask: build only, it runs until it is stopped
//! ```

use std::fs;
use std::io;
use std::path::Path;

/// An example and how to run it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) how: How,
}

/// How an example is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    Run(Vec<String>),
    /// The example is only built, for this reason.
    BuildOnly(String),
}

/// Returns the examples in `folder/*.rs` and `folder/*/main.rs`, by name.
pub(crate) fn in_folder(folder: &Path) -> io::Result<Vec<Example>> {
    let mut examples = Vec::new();
    if !folder.is_dir() {
        return Ok(examples);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let main = path.join("main.rs");
        let source = if main.is_file() {
            main
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            path.clone()
        } else {
            continue;
        };
        let name = path
            .file_stem()
            .expect("an entry has a name")
            .to_string_lossy()
            .into_owned();
        examples.push(Example {
            name,
            how: how(&fs::read_to_string(source)?),
        });
    }
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(examples)
}

fn how(source: &str) -> How {
    let header = source
        .lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("//"));
    for line in header {
        let Some(wish) = line.strip_prefix("// xtask:") else {
            continue;
        };
        let wish = wish.trim();
        if let Some(arguments) = wish.strip_prefix("args ") {
            return How::Run(arguments.split_whitespace().map(str::to_owned).collect());
        }
        if let Some(reason) = wish.strip_prefix("build only") {
            return How::BuildOnly(reason.trim_start_matches([',', ' ']).to_owned());
        }
    }
    How::Run(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::{How, how};

    #[test]
    fn the_header_says_how_an_example_is_run() {
        assert_eq!(how("//! Text.\nfn main() {}"), How::Run(vec![]));
        assert_eq!(
            how("//! Text.\n\n// xtask: args --once x\nuse y;"),
            How::Run(vec!["--once".into(), "x".into()])
        );
        assert_eq!(
            how("// xtask: build only, it waits\n"),
            How::BuildOnly("it waits".into())
        );
        assert_eq!(how("fn main() {}\n// xtask: args late"), How::Run(vec![]));
    }
}
