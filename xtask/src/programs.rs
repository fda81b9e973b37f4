//! Programs for a fuzz target, generated from its seeds: any number of them, the same in each run.

use std::fs;
use std::io;
use std::path::PathBuf;

/// The longest program, in bytes.
const LONGEST: usize = 1024;
/// The most changes between a seed and a program.
const CHANGES: u64 = 8;

/// The seeds, and where the programs go.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) seeds: PathBuf,
    /// Everything else in it is removed.
    pub(crate) folder: PathBuf,
    /// How many programs there are besides the seeds.
    pub(crate) count: u32,
}

impl Programs {
    pub(crate) fn write(&self) -> io::Result<()> {
        let mut names: Vec<PathBuf> = fs::read_dir(&self.seeds)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        names.sort();
        let seeds: Vec<Vec<u8>> = names.iter().map(fs::read).collect::<io::Result<_>>()?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&self.folder)?,
        }
        for (number, program) in draw(&seeds, self.count).iter().enumerate() {
            fs::write(self.folder.join(format!("{number:05}")), program)?;
        }
        Ok(())
    }
}

/// Returns the seeds, and then `count` programs that are generated from them.
fn draw(seeds: &[Vec<u8>], count: u32) -> Vec<Vec<u8>> {
    let mut dice = Dice(0);
    let mut programs = seeds.to_vec();
    for _ in 0..count {
        let mut program = dice.one_of(seeds).clone();
        for _ in 0..=dice.below(CHANGES) {
            change(&mut program, seeds, &mut dice);
        }
        program.truncate(LONGEST);
        programs.push(program);
    }
    programs
}

/// Makes one of the changes that fuzzers make.
fn change(program: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.index(program.len() + 1);
    let end = (at + 1 + dice.index(16)).min(program.len());
    match dice.below(6) {
        0 => program.insert(at, dice.byte()),
        1 => drop(program.drain(at.min(end)..end)),
        2 if at < program.len() => program[at] = dice.byte(),
        3 if at < program.len() => program[at] ^= 1 << dice.below(8),
        // A copy of a part of it, elsewhere.
        4 => {
            let part = program[at.min(end)..end].to_vec();
            let to = dice.index(program.len() + 1);
            drop(program.splice(to..to, part));
        }
        // Its beginning, and the end of another seed.
        5 => {
            let other = dice.one_of(seeds);
            program.truncate(at);
            program.extend(&other[dice.index(other.len() + 1)..]);
        }
        _ => {}
    }
}

/// SplitMix64: pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn index(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn one_of<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a Vec<u8> {
        &seeds[self.index(seeds.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Programs, draw};
    use std::collections::HashSet;
    use std::fs;

    fn seeds() -> Vec<Vec<u8>> {
        vec![b"a first seed".to_vec(), (0..=255).collect(), Vec::new()]
    }

    #[test]
    fn a_second_draw_is_the_same() {
        assert_eq!(draw(&seeds(), 500), draw(&seeds(), 500));
    }

    #[test]
    fn programs_begin_with_the_seeds_and_differ() {
        let programs = draw(&seeds(), 500);
        assert_eq!(programs[..3], seeds());
        assert!(programs.iter().all(|program| program.len() <= LONGEST));
        let different: HashSet<_> = programs.iter().collect();
        assert!(different.len() > 400, "{}", different.len());
    }

    #[test]
    fn what_was_in_the_folder_is_gone() {
        let folder = std::env::temp_dir().join(format!("fanfeed-xtask-{}", std::process::id()));
        let programs = Programs {
            seeds: folder.join("seeds"),
            folder: folder.join("programs"),
            count: 2,
        };
        fs::create_dir_all(&programs.seeds).unwrap();
        fs::write(programs.seeds.join("one"), "seed").unwrap();
        programs.write().unwrap();
        fs::write(programs.folder.join("left"), "of an earlier run").unwrap();
        programs.write().unwrap();
        assert_eq!(fs::read_dir(&programs.folder).unwrap().count(), 3);
        assert_eq!(fs::read(programs.folder.join("00000")).unwrap(), b"seed");
        fs::remove_dir_all(&folder).unwrap();
    }
}
