//! Sends each event of the timetable on the channels of its airports, when it is due.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfeed_sockets::{BodyError, Message, Server};

use crate::nodes::Nodes;
use crate::timetable::{Position, Timetable};

/// A replay that is this far behind goes on at the present: the machine slept, and nobody wants an hour of messages at once. The
/// numbers tell the pages what they missed.
const TOO_LATE: Duration = Duration::from_secs(10);

/// How far back a server begins that takes over from one that was killed: a second more than it takes to notice.
const TAKEN_OVER: Duration = Duration::from_secs(5);

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
    loop {
        let due = timetable.due(position);
        tokio::time::sleep(due.saturating_sub(now())).await;
        if now() > due + TOO_LATE {
            position = timetable.next(now());
            continue;
        }
        let leads = nodes.leads(&server);
        if leads && !led {
            // The server that led before may have ended a while ago.
            position = timetable.next(now().saturating_sub(TAKEN_OVER));
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
