//! A temporary folder that is removed on drop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A temporary folder of this process. It is removed on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a new, empty folder whose name contains `name`.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        // ORDERING: the number only has to be unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("fanfeed-{name}-{}-{number}", process::id());
        let path = std::env::temp_dir().join(folder);
        // A process with the same id may have been killed before it removed its folder.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{} cannot be made: {error}", path.display()));
        Folder(path)
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
