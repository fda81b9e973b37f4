//! Escapes keys and groups for servers that allow fewer characters.

/// Turns keys and groups into names that a server allows. The mapping is injective: two keys never
/// get the same name, and neither do two lists of parts that are [joined](Self::join).
///
/// A byte that the server does not allow becomes the mark and two hexadecimal digits. So does the
/// mark itself, which makes the mapping injective. An empty part becomes the mark and an
/// underscore, for servers whose names cannot be empty.
///
/// ```
/// use fanfeed_broker::driver::Escape;
///
/// const TOKEN: Escape = Escape::new(b'=', |byte| byte.is_ascii_alphanumeric() || byte == b'-');
/// assert_eq!(TOKEN.encode("chat.42"), "chat=2E42");
/// assert_eq!(TOKEN.decode("chat=2E42").as_deref(), Some("chat.42"));
/// assert_eq!(TOKEN.join(["chat.42", "", "a=b"], '.'), "chat=2E42.=_.a=3Db");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escape {
    mark: u8,
    plain: fn(u8) -> bool,
}

impl Escape {
    /// Makes an escape with this mark, an ASCII character. Bytes for which `plain` is true stay as
    /// they are, except that the mark and bytes beyond ASCII are always escaped.
    ///
    /// # Panics
    ///
    /// If the mark is not ASCII or is one of `0-9A-F_`, which follow the mark in an escape.
    pub const fn new(mark: u8, plain: fn(u8) -> bool) -> Self {
        assert!(
            mark.is_ascii() && !matches!(mark, b'0'..=b'9' | b'A'..=b'F' | b'_'),
            "the mark is an ASCII character other than 0-9, A-F and _"
        );
        Self { mark, plain }
    }

    /// Returns the name of one part.
    pub fn encode(&self, part: &str) -> String {
        let mut name = String::with_capacity(part.len() + 8);
        self.push(&mut name, part, None);
        name
    }

    /// Returns one name for several parts. A separator inside a part is escaped.
    pub fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>, separator: char) -> String {
        let mut name = String::new();
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                name.push(separator);
            }
            self.push(&mut name, part, Some(separator));
        }
        name
    }

    fn push(&self, name: &mut String, part: &str, separator: Option<char>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        if part.is_empty() {
            name.push(char::from(self.mark));
            name.push('_');
        }
        for byte in part.bytes() {
            let escaped = !byte.is_ascii()
                || byte == self.mark
                || separator == Some(char::from(byte))
                || !(self.plain)(byte);
            if escaped {
                name.push(char::from(self.mark));
                name.push(char::from(DIGITS[usize::from(byte >> 4)]));
                name.push(char::from(DIGITS[usize::from(byte & 15)]));
            } else {
                name.push(char::from(byte));
            }
        }
    }

    /// Returns the part of a name, or `None` if [`encode`](Self::encode) makes no such name.
    pub fn decode(&self, name: &str) -> Option<String> {
        let mut bytes = Vec::with_capacity(name.len());
        let mut rest = name.bytes();
        while let Some(byte) = rest.next() {
            if byte != self.mark {
                bytes.push(byte);
                continue;
            }
            match (rest.next()?, name.len()) {
                (b'_', 2) => {}
                (high, _) => bytes.push(digit(high)? << 4 | digit(rest.next()?)?),
            }
        }
        let part = String::from_utf8(bytes).ok()?;
        // Each part has only one name: another spelling of it is not a name.
        (self.encode(&part) == name).then_some(part)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
