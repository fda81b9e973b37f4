//! The headers of a message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::lossy::Lossy;
use super::text;

/// Names with lists of values, sorted by name.
///
/// A name that is set here is written in its canonical form: `x-my-key` becomes `X-My-Key`, as in
/// HTTP. A name that a peer sent keeps its spelling. Look-ups do not distinguish upper and lower
/// case, in either.
///
/// ```
/// use fanfeed_sockets::Headers;
///
/// let mut headers = Headers::new();
/// headers.set("x-origin", "board");
/// headers.add("X-ORIGIN", "second");
/// assert_eq!(headers.get("x-origin"), Some("board"));
/// assert_eq!(headers.iter().next(), Some(("X-Origin", &["board".to_owned(), "second".to_owned()][..])));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Sorted by name, no name twice.
    entries: Vec<(String, Vec<String>)>,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// All values of a header, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self
            .entries
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// Sets a header to one value, whatever it had before.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.entry(canonical(name).into_owned()).push(value.into());
    }

    /// Adds a value to a header, after those that it has.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        let named = |(known, _): &&mut (String, Vec<String>)| known.eq_ignore_ascii_case(name);
        match self.entries.iter_mut().rfind(named) {
            Some((_, values)) => values.push(value.into()),
            None => self.entry(canonical(name).into_owned()).push(value.into()),
        }
    }

    /// Removes a header with all its values, and says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.entries.len() < before
    }

    /// All headers, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.entries
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all names and values.
    pub fn bytes(&self) -> usize {
        let size = |(name, values): &(String, Vec<String>)| {
            name.len() + values.iter().map(String::len).sum::<usize>()
        };
        self.entries.iter().map(size).sum()
    }

    /// The values of the header with exactly this name.
    fn entry(&mut self, name: String) -> &mut Vec<String> {
        let found = self
            .entries
            .binary_search_by(|(known, _)| known.as_str().cmp(&name));
        let at = found.unwrap_or_else(|at| {
            self.entries.insert(at, (name, Vec::new()));
            at
        });
        &mut self.entries[at].1
    }

    /// About how many bytes [`push`](Self::push) appends.
    pub(super) fn length(&self) -> usize {
        let marks: usize = self
            .entries
            .iter()
            .map(|(_, values)| 6 + 3 * values.len())
            .sum();
        2 + self.bytes() + marks
    }

    pub(super) fn push(&self, out: &mut String) {
        out.push('{');
        for (at, (name, values)) in self.entries.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            text::push_string(out, name);
            out.push_str(":[");
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                text::push_string(out, value);
            }
            out.push(']');
        }
        out.push('}');
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(each: I) -> Self {
        let mut headers = Self::new();
        headers.extend(each);
        headers
    }
}

/// Each pair is [added](Headers::add).
impl<N: AsRef<str>, V: Into<String>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, each: I) {
        let entries = &mut self.entries;
        let known = entries.iter().enumerate();
        // The last of several spellings counts, as in `add`.
        let mut places: HashMap<String, usize> = known
            .map(|(at, (name, _))| (name.to_ascii_lowercase(), at))
            .collect();
        for (name, value) in each {
            let name = name.as_ref();
            let place = places.entry(name.to_ascii_lowercase()).or_insert_with(|| {
                entries.push((canonical(name).into_owned(), Vec::new()));
                entries.len() - 1
            });
            entries[*place].1.push(value.into());
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
}

/// Headers may carry credentials, so `Debug` shows only their names.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

/// The names keep their spelling; of a name that comes twice the last is kept. A value, or a list,
/// may be null.
impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of arrays of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, values)) =
                    map.next_entry::<Lossy<'_>, Option<Vec<Option<Lossy<'_>>>>>()?
                {
                    let values = values.unwrap_or_default().into_iter();
                    let values = values.map(|value| value.unwrap_or_default().into_string());
                    entries.push((name.into_string(), values.collect()));
                }
                // A peer may send names by the ten thousand, in any order: they are sorted once.
                // The last of equal names comes first here, and stays first.
                entries.reverse();
                entries.sort_by(|(a, _): &(String, Vec<String>), (b, _)| a.cmp(b));
                entries.dedup_by(|(later, _), (first, _)| later == first);
                Ok(Headers { entries })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// The canonical form of a name: a letter that begins a part between hyphens is upper case, the
/// others lower. A name that has a character that HTTP does not take in a name stays as it is.
fn canonical(name: &str) -> Cow<'_, str> {
    if !name.bytes().all(is_token) {
        return Cow::Borrowed(name);
    }
    let mut begins = true;
    let mut change = |byte: u8| {
        let changed = if begins {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        };
        begins = byte == b'-';
        char::from(changed)
    };
    Cow::Owned(name.bytes().map(&mut change).collect())
}

/// Whether HTTP takes the byte in the name of a header (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
