//! The channels, their access check, and the handlers of questions.

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;

use axum::http::StatusCode;
use fanfeed_sockets::{
    BuildError, Identity, JoinRequest, Limits, Refusal, Request, Server, SlowMembers,
};

use crate::nodes::Nodes;
use crate::replay::now;
use crate::timetable::Timetable;

/// One page joins a channel for each airport, and several pages can come from one address.
const CONNECTIONS_PER_ADDRESS: usize = 2000;

/// A server with a channel for each airport. It answers `clock`, by which a page learns how its
/// clock differs, and `aloft`, with the flights that are in the air when the page joins.
pub(crate) fn server(timetable: &Arc<Timetable>, nodes: &Nodes) -> Result<Server, BuildError> {
    let airports: HashSet<String> = timetable
        .flights()
        .map(|(code, _)| code.to_owned())
        .collect();
    let timetable = Arc::clone(timetable);
    nodes
        .join(Server::builder())
        .authorize(move |request: JoinRequest| {
            ready(match airports.contains(request.channel()) {
                true => Ok(Identity::anonymous()),
                false => Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    format!("{:?} is not an airport of these flights", request.channel()),
                )),
            })
        })
        // The answer bears the time at which it was made.
        .direct_handler("clock", |request: Request| async move {
            Ok(Some(request.reply("clock")))
        })
        .direct_handler("aloft", move |request: Request| {
            let flights = timetable.aloft(request.channel(), now());
            let reply = request.reply("aloft").with_body(&flights);
            ready(reply.map(Some).map_err(Into::into))
        })
        .limits(
            Limits::default()
                .connections_per_address(CONNECTIONS_PER_ADDRESS)
                // The numbers of the messages tell a slow page what it missed.
                .slow_members(SlowMembers::DropOldest),
        )
        .build()
}
