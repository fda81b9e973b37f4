//! The machine that the figures were taken on.

use std::process::Command;
use std::{fs, thread};

/// The machine and the software, as pairs of what and which.
#[derive(Debug, Clone)]
pub struct Machine {
    facts: Vec<(&'static str, String)>,
}

/// Whose versions are told.
const CRATES: [&str; 11] = [
    "fanfeed",
    "disruptor",
    "crossbeam-channel",
    "kanal",
    "flume",
    "crossfire",
    "rtrb",
    "tokio",
    "bus",
    "async-broadcast",
    "asyncband",
];

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let mut facts = vec![
            ("processor", processor()),
            ("cores", cores()),
            ("system", system()),
            ("compiler", compiler()),
        ];
        facts.extend(CRATES.map(|name| (name, version(name))));
        Self { facts }
    }

    /// All that is known.
    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }

    /// One line for a chart.
    pub fn line(&self) -> String {
        let facts = self.facts[..4].iter().map(|(_, fact)| fact.as_str());
        facts.collect::<Vec<_>>().join(", ")
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn cores() -> String {
    match thread::available_parallelism() {
        Ok(cores) => format!("{cores} cores"),
        Err(_) => "cores unknown".to_owned(),
    }
}

fn system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Its maker's suffix says nothing to others.
    let release = release.trim().split('-').next().unwrap_or_default();
    format!("{} {release}", std::env::consts::OS)
        .trim_end()
        .to_owned()
}

/// What cargo compiled with just now, and so this.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.ok().and_then(|it| String::from_utf8(it.stdout).ok());
    // "rustc 1.89.0 (hash date)"
    let words = version.unwrap_or_default();
    match words.split_whitespace().nth(1) {
        Some(number) => format!("rustc {number}"),
        None => "rustc unknown".to_owned(),
    }
}

/// The version that is locked.
fn version(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let is_ours = |package: &&str| {
        let mut lines = package.lines().map(str::trim);
        lines.any(|line| line.strip_prefix("name = ") == Some(&format!("\"{name}\"")))
    };
    let version = |package: &str| {
        let mut lines = package.lines();
        lines.find_map(|line| {
            Some(
                line.strip_prefix("version = ")?
                    .trim_matches('"')
                    .to_owned(),
            )
        })
    };
    let packages = lock.split("[[package]]").filter(is_ours);
    packages
        .filter_map(version)
        .collect::<Vec<_>>()
        .join(" and ")
}
