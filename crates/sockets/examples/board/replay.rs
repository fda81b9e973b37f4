//! Sends each event of the timetable on the channels of its airports, when it is due.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfeed_sockets::{BodyError, Message, Server};

use crate::nodes::Nodes;
use crate::timetable::{Position, Timetable};

/// A replay that is this far behind goes on at the present: the machine slept, and nobody wants an
/// hour of messages at once. The numbers tell the pages what they missed.
const TOO_LATE: Duration = Duration::from_secs(10);

/// How far back a server begins that takes over from one that was killed: as far as that one may
/// have been behind, and a second more than it takes to notice. Pages leave out what comes twice.
const TAKEN_OVER: Duration = Duration::from_secs(14);

/// So many events are sent at once, before the rest of the server has a turn.
const BURST: u32 = 64;

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns only if a body cannot be JSON.
pub(crate) async fn run(
    timetable: Arc<Timetable>,
    server: Server,
    nodes: Arc<Nodes>,
) -> Result<Infallible, BodyError> {
    let mut position = timetable.next(now());
    let mut led = nodes.leads(&server);
    let mut burst = 0;
    let mut too_late = TOO_LATE;
    loop {
        let due = timetable.due(position);
        // The timer's resolution is a millisecond, and many events may be due in one.
        let wait = due.saturating_sub(now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
            burst = 0;
            too_late = TOO_LATE;
        } else if burst == BURST {
            tokio::task::yield_now().await;
            burst = 0;
        }
        burst += 1;
        if now() > due + too_late {
            position = timetable.next(now());
            continue;
        }
        let leads = nodes.leads(&server);
        if leads && !led {
            // The server that led before may have ended a while ago.
            position = timetable.next(now().saturating_sub(TAKEN_OVER));
            too_late = TAKEN_OVER + TOO_LATE;
        } else {
            if leads {
                send(&timetable, position, &server)?;
            }
            position = timetable.after(position);
        }
        led = leads;
    }
}

fn send(timetable: &Timetable, position: Position, server: &Server) -> Result<(), BodyError> {
    let kind = timetable.kind(position).name();
    for (airport, body) in timetable.bodies(position) {
        let message = Message::new(kind, "", airport).with_body(&body)?;
        server.broadcast(airport, message);
    }
    Ok(())
}
