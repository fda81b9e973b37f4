//! Medians and spreads, and what the system says of this process.

use std::fs;

/// The figures of some rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * part) as usize]
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The median and the quartiles.
    pub(crate) fn told(&self) -> String {
        format!(
            "{:.1} ({:.1}-{:.1})",
            self.at(0.5),
            self.at(0.25),
            self.at(0.75)
        )
    }
}

/// Prints a line for each candidate: its figures, and how the first candidate's median compares
/// with it.
pub(crate) fn compare(title: &str, candidates: &[(&str, &Rounds)]) {
    println!("{title}");
    let own = candidates[0].1.median();
    for (name, rounds) in candidates {
        println!(
            "  {name:<34} {:>28} {:>8.2}",
            rounds.told(),
            own / rounds.median()
        );
    }
}

/// The processor time of all threads of this process, in nanoseconds.
pub(crate) fn processor() -> u64 {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// The memory of this process in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// How many files this process may have open.
pub(crate) fn files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX)
}
