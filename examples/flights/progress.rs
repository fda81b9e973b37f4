//! The progress of the replay.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::note;
use crate::table::grouped;

/// A bar on standard error, or a line now and then where standard error is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    every: Duration,
    next: Instant,
}

impl Progress {
    pub(crate) fn new(flights: u64, repeat: u64) -> Self {
        let bar = ProgressBar::new(flights.saturating_mul(repeat));
        let style = "{elapsed_precise} [{bar:30.cyan/blue}] {percent:>3} %  {human_pos} of {human_len} events";
        let style = ProgressStyle::with_template(style).expect("the template is valid");
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        let every = match bar.is_hidden() {
            true => Duration::from_secs(1),
            false => Duration::from_millis(50),
        };
        // At a slow pace there are seconds without an event, in which the clock goes on.
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            every,
            next: Instant::now() + every,
        }
    }

    /// Shows the number of events sent, unless it showed one a moment ago.
    pub(crate) fn sent(&mut self, events: u64, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        self.bar.set_position(events);
        if self.bar.is_hidden() {
            let all = self.bar.length().unwrap_or(events);
            note(format_args!(
                "replayed {} of {} events",
                grouped(events),
                grouped(all)
            ));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
