//! A channel that was joined.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::error::PublishError;
use super::event::{LeaveReason, without_query};
use super::member::{Member, Phase};
use super::publisher::{ClientPublisher, PublishFuture, RequestFuture, request};
use crate::wire::Message;

/// Where a [`Membership`] stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MembershipState {
    /// There is a connection.
    Connected,
    /// The connection was lost, and the client is making another one.
    Reconnecting,
    /// It is over.
    Over(LeaveReason),
}

/// A channel at a host that a client has joined.
///
/// Clones are the same membership. Dropping them leaves nothing: the membership ends with
/// [`leave`](Self::leave), with its client, or from the server's side.
#[derive(Clone)]
pub struct Membership {
    core: Arc<Core>,
    member: Arc<Member>,
}

impl Membership {
    pub(super) fn new(core: Arc<Core>, member: Arc<Member>) -> Self {
        Self { core, member }
    }

    /// The host, as it was given when the channel was joined.
    pub fn host(&self) -> &str {
        &self.member.host
    }

    /// The channel.
    pub fn channel(&self) -> &str {
        &self.member.channel
    }

    /// The id that the server gave to this connection, once its `join.success` has come. A new
    /// connection gets a new id.
    pub fn client_id(&self) -> Option<Arc<str>> {
        self.member.client_id()
    }

    /// Where it stands. It may have changed when the caller looks at the answer, except that what
    /// is over stays over.
    pub fn state(&self) -> MembershipState {
        match &*self.member.phase().borrow() {
            Phase::Connected(_) => MembershipState::Connected,
            Phase::Reconnecting => MembershipState::Reconnecting,
            Phase::Over(reason) => MembershipState::Over(reason.clone()),
        }
    }

    /// Waits until the server's `join.success` has come, and returns the client id.
    ///
    /// # Errors
    /// If the membership is over before that.
    pub async fn joined(&self) -> Result<Arc<str>, LeaveReason> {
        let mut phase = self.member.phase();
        let met = phase
            .wait_for(|phase| matches!(phase, Phase::Connected(Some(_)) | Phase::Over(_)))
            .await;
        match met.as_deref() {
            Ok(Phase::Connected(Some(id))) => Ok(Arc::clone(id)),
            Ok(Phase::Over(reason)) => Err(reason.clone()),
            // The sender is a part of `self`, so this cannot be.
            Ok(_) | Err(_) => Err(LeaveReason::ClientClosed),
        }
    }

    /// Waits until the membership is over, and says why.
    pub async fn over(&self) -> LeaveReason {
        let mut phase = self.member.phase();
        let met = phase
            .wait_for(|phase| matches!(phase, Phase::Over(_)))
            .await;
        match met.as_deref() {
            Ok(Phase::Over(reason)) => reason.clone(),
            // The sender is a part of `self`, so this cannot be.
            Ok(_) | Err(_) => LeaveReason::ClientClosed,
        }
    }

    /// Leaves the channel: sends what was published, then a close frame, and waits until the server
    /// has answered that, up to the close timeout. Leaving while the client reconnects ends the
    /// attempts. Leaving again does nothing more.
    ///
    /// Messages that wait for their listeners are not handled any more. A listener that runs is not
    /// interrupted, and may itself call this.
    pub async fn leave(&self) {
        self.member.leave.cancel();
        self.over().await;
    }
}

impl ClientPublisher for Membership {
    /// Sends on this channel, whichever the message names.
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        self.member
            .try_publish(message, self.core.settings.max_publish)
    }

    fn publish(&self, message: Message) -> PublishFuture<'_> {
        Box::pin(self.member.publish(message, self.core.settings.max_publish))
    }

    fn request(&self, message: Message, timeout: Duration) -> RequestFuture<'_> {
        Box::pin(request(&self.core, &self.member, message, timeout))
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("host", &without_query(self.host()))
            .field("channel", &self.channel())
            .field("state", &self.state())
            .finish()
    }
}
