//! Ends the program if a run hangs, and names that run.

use std::process::exit;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How often the watchdog looks: seldom enough for nobody to feel it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches runs from a thread of its own: a thread that hangs inside of a peer can be ended only
/// with the program.
#[derive(Debug)]
pub struct Watchdog {
    watched: Arc<Mutex<Option<(String, Instant)>>>,
}

impl Watchdog {
    /// Starts to watch runs, none of which takes longer than `limit`.
    pub fn start(limit: Duration) -> Self {
        let watched = Arc::new(Mutex::new(None::<(String, Instant)>));
        let seen = Arc::clone(&watched);
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                loop {
                    thread::sleep(INTERVAL);
                    let seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if let Some((what, begun)) = &*seen
                        && begun.elapsed() > limit
                    {
                        eprintln!("hangs, for {} seconds: {what}", limit.as_secs());
                        exit(1);
                    }
                }
            })
            .expect("a thread starts");
        Self { watched }
    }

    /// Runs it under watch.
    pub fn watch<R>(&self, what: String, run: impl FnOnce() -> R) -> R {
        self.set(Some((what, Instant::now())));
        let result = run();
        self.set(None);
        result
    }

    fn set(&self, watched: Option<(String, Instant)>) {
        *self
            .watched
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = watched;
    }
}
