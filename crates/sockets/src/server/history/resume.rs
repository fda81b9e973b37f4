//! Where a client comes back into the history of a channel.

use axum::http::StatusCode;

use crate::server::authorize::{JoinRequest, Refusal};
use crate::wire::{
    HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_GAP, HEADER_CHANNEL_POSITION, Message,
    PARAM_CHANNEL_EPOCH, PARAM_CHANNEL_POSITION,
};

/// The last position that a client has seen.
#[derive(Debug)]
pub(in crate::server) struct Resume {
    epoch: String,
    position: u64,
}

impl Resume {
    /// Reads it from the headers, or else the parameters, of a request. `None` if the client does
    /// not come back.
    pub(in crate::server) fn of(request: &JoinRequest) -> Result<Option<Self>, Refusal> {
        let look = |header: &str, param: &str| {
            let header = request.header(header).map(str::to_owned);
            header.or_else(|| request.param(param))
        };
        let epoch = look(HEADER_CHANNEL_EPOCH, PARAM_CHANNEL_EPOCH);
        let position = look(HEADER_CHANNEL_POSITION, PARAM_CHANNEL_POSITION);
        let (epoch, position) = match (epoch, position) {
            (None, None) => return Ok(None),
            (Some(epoch), Some(position)) => (epoch, position),
            _ => return Err(bad("the last epoch and the last position belong together")),
        };
        match position.parse() {
            Ok(position) => Ok(Some(Self { epoch, position })),
            Err(_) => Err(bad("the last position is not a number")),
        }
    }
}

fn bad(what: &str) -> Refusal {
    let text = format!(
        "{what}: send both headers {HEADER_CHANNEL_EPOCH} and {HEADER_CHANNEL_POSITION}, or both parameters \
         {PARAM_CHANNEL_EPOCH} and {PARAM_CHANNEL_POSITION}, as the last message had them"
    );
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

/// How many messages a client has missed for good.
#[derive(Debug, PartialEq, Eq)]
enum Gap {
    Frames(u64),
    /// The client was in another epoch.
    Unknown,
}

/// Where a client joins.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Place {
    epoch: String,
    /// The position before the first frame that the client gets.
    pub(super) before: u64,
    /// `None` if the client does not come back.
    gap: Option<Gap>,
}

impl Place {
    /// `kept` frames are there, of which the last has the position `last`.
    pub(super) fn find(epoch: &str, last: u64, kept: usize, resume: Option<&Resume>) -> Self {
        let oldest = last - kept as u64;
        let (before, gap) = match resume {
            None => (last, None),
            Some(resume) if resume.epoch != epoch || resume.position > last => {
                (last, Some(Gap::Unknown))
            }
            Some(resume) => (
                resume.position.max(oldest),
                Some(Gap::Frames(oldest.saturating_sub(resume.position))),
            ),
        };
        Self {
            epoch: epoch.to_owned(),
            before,
            gap,
        }
    }

    /// Tells the client in its `join.success`.
    pub(in crate::server) fn tell(&self, welcome: &mut Message) {
        welcome.set_header(HEADER_CHANNEL_EPOCH, self.epoch.as_str());
        welcome.set_header(HEADER_CHANNEL_POSITION, self.before.to_string());
        match self.gap {
            None => {}
            Some(Gap::Frames(missed)) => welcome.set_header(HEADER_CHANNEL_GAP, missed.to_string()),
            Some(Gap::Unknown) => welcome.set_header(HEADER_CHANNEL_GAP, "unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, Place, Resume};

    fn at(epoch: &str, position: u64) -> (u64, Option<Gap>) {
        let resume = Resume {
            epoch: epoch.into(),
            position,
        };
        let place = Place::find("e", 10, 4, Some(&resume));
        (place.before, place.gap)
    }

    #[test]
    fn a_client_gets_what_it_missed_or_is_told_the_gap() {
        assert_eq!(at("e", 10), (10, Some(Gap::Frames(0))));
        assert_eq!(at("e", 6), (6, Some(Gap::Frames(0))));
        assert_eq!(at("e", 2), (6, Some(Gap::Frames(4))));
        assert_eq!(at("e", 11), (10, Some(Gap::Unknown)));
        assert_eq!(at("f", 9), (10, Some(Gap::Unknown)));
        assert_eq!(Place::find("e", 10, 4, None).gap, None);
    }
}
