//! Where the records come from.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::select;

use crate::Failure;
use crate::interrupt::Stop;
use crate::records::Records;

const BUILT_IN: &[u8] = include_bytes!("../data/flights.csv");

/// A source of records; displays as its name.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    BuiltIn,
    StandardInput,
    File(PathBuf),
}

impl Source {
    pub(crate) fn new(input: Option<&Path>) -> Self {
        match input {
            None => Self::BuiltIn,
            Some(path) if path.as_os_str() == "-" => Self::StandardInput,
            Some(path) => Self::File(path.to_owned()),
        }
    }

    fn read(&self) -> Result<Records, String> {
        let unreadable = |error: io::Error| format!("cannot read {self}: {error}");
        let mut data = Vec::new();
        let data = match self {
            Self::BuiltIn => BUILT_IN,
            Self::StandardInput => {
                io::stdin()
                    .lock()
                    .read_to_end(&mut data)
                    .map_err(unreadable)?;
                &data
            }
            Self::File(path) => {
                data = fs::read(path).map_err(unreadable)?;
                &data
            }
        };
        Records::read(data).map_err(|reason| format!("{self}: {reason}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("the built-in file"),
            Self::StandardInput => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Reads the records, or returns `None` if Ctrl-C came first.
///
/// The reading runs on its own thread, because a read of a silent pipe cannot be interrupted.
/// Ctrl-C abandons that thread.
pub(crate) fn load(source: &Source, stop: &Stop) -> Result<Option<Records>, Failure> {
    let (done, loaded) = crossbeam_channel::bounded(1);
    let reader = source.clone();
    thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || done.send(reader.read()))
        .map_err(|error| Failure::Machine(format!("cannot start a thread: {error}")))?;
    select! {
        recv(loaded) -> records => match records {
            Ok(records) => records.map(Some).map_err(Failure::Usage),
            Err(_) => Err(Failure::Machine("the reading thread has panicked".to_owned())),
        },
        recv(stop) -> _ => Ok(None),
    }
}
