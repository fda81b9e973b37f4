//! What nodes tell each other: a line of JSON, and then a frame as it goes on the wire, or members
//! as JSON.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of the envelope.
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header<'a> {
    fanfeed: u64,
    /// The identity of the node that sent it.
    #[serde(borrow)]
    pub(super) origin: Cow<'a, str>,
    /// Differs in all messages of one origin.
    pub(super) number: u64,
    #[serde(borrow)]
    pub(super) what: What<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What<'a> {
    /// A frame for the members of a channel.
    Frame {
        #[serde(borrow)]
        channel: Cow<'a, str>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        question: Option<Question<'a>>,
    },
    /// A channel is closed.
    Close {
        #[serde(borrow)]
        channel: Cow<'a, str>,
    },
    /// A frame for one client.
    Direct {
        #[serde(borrow)]
        client: Cow<'a, str>,
    },
    /// A frame that a member sent as the answer to a question.
    Answer {
        #[serde(borrow)]
        question: Cow<'a, str>,
    },
    /// The node that sent it asks for a snapshot.
    Want,
    /// The node is alive, and has had this many changes.
    Beat {
        interval: u64,
        version: u64,
        /// The node has just started, and knows no other.
        hello: bool,
    },
    /// The changes after the first version up to the second.
    Changes { from: u64, to: u64 },
    /// A part of all members that there were at a version.
    Snapshot {
        interval: u64,
        version: u64,
        part: usize,
        parts: usize,
    },
    /// The node goes for good.
    Bye,
}

/// A frame is a question, and its answers go to the node that sent it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    /// How long an answer is of use, in milliseconds.
    pub(super) wait: u64,
}

/// A member, as nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) client: String,
    pub(super) channel: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) user: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) app: String,
    /// When the channel expires, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Join(Entry),
    Leave(String),
}

#[derive(Deserialize)]
struct Version {
    fanfeed: u64,
}

pub(super) fn write(origin: &str, number: u64, what: What<'_>, body: &str) -> Bytes {
    let header = Header {
        fanfeed: VERSION,
        origin: origin.into(),
        number,
        what,
    };
    let mut bytes = Vec::with_capacity(192 + body.len());
    serde_json::to_writer(&mut bytes, &header).expect("numbers and text are JSON");
    bytes.push(b'\n');
    bytes.extend_from_slice(body.as_bytes());
    bytes.into()
}

/// Takes the first line off. The second result is where the body begins.
pub(super) fn read(bytes: &[u8]) -> Result<(Header<'_>, usize), String> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or("there is no line break after the header")?;
    let line = &bytes[..end];
    match serde_json::from_slice::<Header<'_>>(line) {
        Ok(header) if header.fanfeed == VERSION => Ok((header, end + 1)),
        Ok(Header { fanfeed, .. }) => Err(other_version(fanfeed)),
        Err(error) => Err(match serde_json::from_slice(line) {
            Ok(Version { fanfeed }) if fanfeed != VERSION => other_version(fanfeed),
            _ => error.to_string(),
        }),
    }
}

fn other_version(found: u64) -> String {
    format!(
        "the envelope has the version {found}, and this node reads version {VERSION}: update the older nodes"
    )
}

/// Lists of JSON values of bounded size, of which each has at least one value unless there are none
/// at all.
pub(super) fn lists<T: Serialize>(
    values: impl IntoIterator<Item = T>,
    limit: usize,
) -> Vec<(String, u64)> {
    let (mut lists, mut list, mut count) = (Vec::new(), String::from("["), 0);
    for value in values {
        let text = serde_json::to_string(&value).expect("text and numbers are JSON");
        if count > 0 && list.len() + text.len() + 2 > limit {
            list.push(']');
            lists.push((std::mem::replace(&mut list, String::from("[")), count));
            count = 0;
        }
        if count > 0 {
            list.push(',');
        }
        list.push_str(&text);
        count += 1;
    }
    list.push(']');
    lists.push((list, count));
    lists
}

#[cfg(test)]
mod tests {
    use super::{What, lists, read, write};

    #[test]
    fn the_body_is_kept_byte_for_byte() {
        let what = What::Frame {
            channel: "a\n\"b".into(),
            question: None,
        };
        let bytes = write("node", 7, what, "{\n}\n");
        let (header, body) = read(&bytes).unwrap();
        assert_eq!((&*header.origin, header.number), ("node", 7));
        assert!(matches!(header.what, What::Frame { channel, .. } if channel == "a\n\"b"));
        assert_eq!(&bytes[body..], b"{\n}\n");
    }

    #[test]
    fn what_is_no_envelope_is_told() {
        assert!(read(b"{}").unwrap_err().contains("no line break"));
        assert!(read(b"{}\n").unwrap_err().contains("missing field"));
        assert!(
            read(b"{\"fanfeed\":2}\n")
                .unwrap_err()
                .contains("version 2")
        );
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(lists::<u64>([], 10), [("[]".to_owned(), 0)]);
        let parts = lists(10..16, 10);
        assert_eq!(
            parts,
            [("[10,11,12]".to_owned(), 3), ("[13,14,15]".to_owned(), 3)]
        );
    }
}
