//! Ctrl-C.

use std::convert::Infallible;
use std::process;

use crossbeam_channel::Receiver;
use fanfeed::Feed;

use crate::records::Event;

/// Disconnects at the first Ctrl-C, so that a thread that waits can wait for that as well.
pub(crate) type Stop = Receiver<Infallible>;

/// Installs the handler: Ctrl-C closes the feed, and then disconnects the returned channel.
///
/// Closing the feed ends a send that waits for room. Subscribers still receive all events that were
/// sent before. A second Ctrl-C ends the process at once.
pub(crate) fn install(feed: &Feed<Event>) -> Result<Stop, ctrlc::Error> {
    let (hold, stop) = crossbeam_channel::bounded(0);
    let mut hold = Some(hold);
    let feed = feed.downgrade();
    ctrlc::set_handler(move || {
        if hold.is_none() {
            process::exit(130);
        }
        if let Some(feed) = feed.upgrade() {
            feed.close();
        }
        // Dropped after the close, so that a thread that this wakes finds the feed closed.
        drop(hold.take());
    })?;
    Ok(stop)
}
