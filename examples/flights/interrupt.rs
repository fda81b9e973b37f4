//! Ctrl-C.

use std::convert::Infallible;
use std::process;

use crossbeam_channel::Receiver;
use fanfeed::Feed;

use crate::records::Event;

/// Disconnects at the first Ctrl-C, so that whoever waits can wait for that as well.
pub(crate) type Stop = Receiver<Infallible>;

/// From now on Ctrl-C closes the feed and ends what waits for the returned channel.
///
/// Closing the feed is what ends a send that waits for room, however long it would have waited;
/// its subscribers still get all that was sent before. A second Ctrl-C ends the process at once.
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
        // Only now, so that whoever is woken by this finds the feed closed.
        drop(hold.take());
    })?;
    Ok(stop)
}
