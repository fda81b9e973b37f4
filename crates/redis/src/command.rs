//! Commands in the server's format, packed one after the other.

use std::time::Duration;

use crate::position::Position;

/// Commands that are sent at once and answered in their order.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One command.
    pub(crate) fn one(parts: &[&[u8]]) -> Self {
        let mut commands = Self::new();
        commands.push(parts);
        commands
    }

    /// Adds a command: its name and its arguments.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        self.begin(parts.len());
        for part in parts {
            self.part(part);
        }
    }

    /// Begins a command of this many parts. [`part`](Self::part) then adds each part.
    pub(crate) fn begin(&mut self, parts: usize) {
        self.count += 1;
        self.number(b'*', parts);
    }

    pub(crate) fn part(&mut self, part: &[u8]) {
        self.number(b'$', part.len());
        self.bytes.extend_from_slice(part);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Adds an XREAD of at most `count` entries of each stream after its position. With `block`,
    /// the server waits until there are some.
    pub(crate) fn xread<'a>(
        &mut self,
        count: usize,
        block: Option<Duration>,
        places: impl Iterator<Item = (&'a [u8], Position)>,
    ) {
        let (streams, positions): (Vec<_>, Vec<_>) = places.unzip();
        let waits = if block.is_some() { 2 } else { 0 };
        self.begin(4 + waits + 2 * streams.len());
        self.part(b"XREAD");
        self.part(b"COUNT");
        self.part(count.to_string().as_bytes());
        if let Some(block) = block {
            self.part(b"BLOCK");
            self.part(block.as_millis().to_string().as_bytes());
        }
        self.part(b"STREAMS");
        for stream in streams {
            self.part(stream);
        }
        for position in positions {
            self.part(position.to_string().as_bytes());
        }
    }

    fn number(&mut self, mark: u8, number: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.push(mark);
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of commands, and so of the answers.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Commands;

    #[test]
    fn they_are_packed_as_the_protocol_has_it() {
        let mut commands = Commands::one(&[b"XACK", b"s", b""]);
        commands.push(&[b"PING"]);
        assert_eq!(
            commands.bytes(),
            b"*3\r\n$4\r\nXACK\r\n$1\r\ns\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n"
        );
        assert_eq!(commands.count(), 2);
        commands.clear();
        assert!(commands.is_empty() && commands.bytes().is_empty());
    }

    #[test]
    fn long_numbers_are_whole() {
        let part = vec![b'x'; 12_345];
        let mut commands = Commands::new();
        commands.push(&[&part]);
        assert!(commands.bytes().starts_with(b"*1\r\n$12345\r\nxxx"));
    }
}
