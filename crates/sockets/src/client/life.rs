//! The task of a membership: one connection after the other, until it is over.

use std::sync::Arc;
use std::time::Duration;

use fanfeed::Backoff;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::core::{Core, Counted};
use super::dial::{Dialer, Socket};
use super::drive::{End, drive};
use super::event::{ClientEventKind, Ended, LeaveReason};
use super::listen::{Inbox, Inboxed, listen};
use super::member::{Member, Outgoing};
use super::stats::Connected;

/// A connection that has been made, and what is to be written to it.
pub(super) type Connection = (Socket, mpsc::Receiver<Outgoing>);

/// Runs a membership, beginning with a connection that has been made. The membership is over when
/// the future is dropped, also before it is polled: its runtime may shut down at any time.
pub(super) async fn live(mut over: Over, dialer: Arc<Dialer>, connection: Connection) {
    let (core, member) = (Arc::clone(&over.core), Arc::clone(&over.member));
    let (inbox, received) = Inbox::new(&core);
    let listening = listen_while_open(Arc::clone(&core), Arc::clone(&member), received);
    drop(core.runtime.spawn(listening));
    let reason = connections(&core, &member, &dialer, connection, &inbox).await;
    // The listeners get what came before the end, unless the client is closed.
    drop(inbox);
    over.reason = Some(reason);
}

/// Calls the listeners of a membership. It may be over before they are done, so the client ends
/// them itself.
async fn listen_while_open(
    core: Arc<Core>,
    member: Arc<Member>,
    received: mpsc::Receiver<Inboxed>,
) {
    let listening = listen(Arc::clone(&core), member, received);
    tokio::select! {
        biased;
        () = core.closed.cancelled() => {}
        () = listening => {}
    }
}

/// Ends the membership when it is dropped: after the task's work, or because its runtime shuts
/// down.
pub(super) struct Over {
    core: Arc<Core>,
    member: Arc<Member>,
    reason: Option<LeaveReason>,
    _counted: Counted,
}

impl Over {
    pub(super) fn new(core: Arc<Core>, member: Arc<Member>, counted: Counted) -> Self {
        Self {
            core,
            member,
            reason: Some(LeaveReason::ClientClosed),
            _counted: counted,
        }
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.core.forget(&self.member);
            self.member.end(reason.clone());
            self.core.tell(&self.member, ClientEventKind::Left(reason));
        }
    }
}

async fn connections(
    core: &Arc<Core>,
    member: &Arc<Member>,
    dialer: &Arc<Dialer>,
    connection: Connection,
    inbox: &Inbox,
) -> LeaveReason {
    let (mut socket, mut queue) = connection;
    let mut again = false;
    let mut retries = Retries::new(core.settings.reconnect);
    loop {
        let connected = Connected::new(&core.counters, &core.meters);
        core.tell(member, ClientEventKind::Connected { again });
        let was_made_again = std::mem::replace(&mut again, true);
        let began = Instant::now();
        let mut heard = false;
        let ended = match drive(core, member, socket, queue, inbox, &mut heard).await {
            End::Left => return LeaveReason::Left,
            End::ClientClosed => return LeaveReason::ClientClosed,
            End::ChannelExpired => return LeaveReason::ChannelExpired,
            End::ChannelClosed => return LeaveReason::ChannelClosed,
            End::Ended(ended) => ended,
        };
        drop(connected);
        core.tell(member, ClientEventKind::Disconnected(ended.clone()));
        if is_final(&ended) || core.settings.reconnect.is_none() {
            return LeaveReason::Ended(ended);
        }
        if heard {
            retries.failed = 0;
        } else if was_made_again {
            // The attempt came to nothing.
            retries.failed += 1;
            let most = core.settings.attempts;
            if most.is_some_and(|most| retries.failed >= most) {
                return LeaveReason::Ended(ended);
            }
        }
        let attempts = async { retries.connect(core, member, dialer, began.elapsed()).await };
        socket = tokio::select! {
            made = attempts => match made {
                Ok(socket) => socket,
                Err(reason) => return reason,
            },
            () = member.leave.cancelled() => return LeaveReason::Left,
            () = core.closed.cancelled() => return LeaveReason::ClientClosed,
        };
        queue = member.connect(core.settings.outbox);
    }
}

/// Whether the client stays away after such an end.
///
/// A close frame with code 1000, or without a code, is how a server says that it wants the client
/// to leave. A message over the limit would come again.
fn is_final(ended: &Ended) -> bool {
    match ended {
        Ended::Closed { code, .. } => matches!(code, None | Some(1000 | 1005)),
        Ended::TooLarge(_) => true,
        Ended::Eof
        | Ended::Failed(_)
        | Ended::Silent(_)
        | Ended::Stalled(_)
        | Ended::Unfinished(_)
        | Ended::NotText(_)
        | Ended::Protocol(_) => false,
    }
}

/// The attempts to connect again.
struct Retries {
    backoff: Backoff,
    /// How many failed since something was heard from the server.
    failed: u32,
}

impl Retries {
    fn new(max_wait: Option<Duration>) -> Self {
        Self {
            backoff: Backoff::new(max_wait.unwrap_or_default()),
            failed: 0,
        }
    }

    /// Connects again. `lasted` is how long the last connection lasted.
    async fn connect(
        &mut self,
        core: &Core,
        member: &Member,
        dialer: &Arc<Dialer>,
        mut lasted: Duration,
    ) -> Result<Socket, LeaveReason> {
        loop {
            let attempt = self.failed + 1;
            // A failed attempt may take long, and is no connection that lasted.
            let wait = self.backoff.next_wait(std::mem::take(&mut lasted));
            core.tell(member, ClientEventKind::Retrying { attempt, wait });
            sleep(wait).await;
            let error = match Arc::clone(dialer).dial(member.seen()).await {
                Ok(socket) => return Ok(socket),
                Err(error) => Arc::new(error),
            };
            self.failed = attempt;
            core.counters.failed_attempts.add(1);
            core.tell(
                member,
                ClientEventKind::RetryFailed {
                    attempt,
                    error: Arc::clone(&error),
                },
            );
            if core.settings.attempts.is_some_and(|most| attempt >= most) {
                return Err(LeaveReason::GaveUp {
                    attempts: attempt,
                    error,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::{LeaveReason, Over, live};
    use crate::client::dial::{Dialer, Noted};
    use crate::client::{Client, JoinOptions, Membership};

    /// The runtime is shut down between the upgrade and the task.
    #[tokio::test]
    async fn a_membership_whose_task_never_ran_is_over() {
        let client = Client::builder().build().unwrap();
        let core = client.core();
        let (host, options) = ("ws://localhost", JoinOptions::new());
        let dialer = Dialer::new(host, "room", &options, &core.settings, &core.tls).unwrap();
        let member = core.reserve(host, "room").unwrap().fill();
        let (near, _far) = tokio::io::duplex(64);
        let near = Noted::new(Box::new(near));
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let over = Over::new(Arc::clone(core), Arc::clone(&member), core.count_task());
        let connection = (socket, member.connect(1));
        drop(live(over, Arc::new(dialer), connection));
        let membership = Membership::new(Arc::clone(core), member);
        let over = tokio::time::timeout(Duration::from_secs(60), membership.over()).await;
        assert!(matches!(over, Ok(LeaveReason::ClientClosed)), "{over:?}");
        client.close().await;
        assert!(!client.has_channel("room"));
    }
}
