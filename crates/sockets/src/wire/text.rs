//! JSON text as Go's encoder writes it: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, with its quotes.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let width = match byte {
            b'"' | b'\\' | b'<' | b'>' | b'&' | 0..0x20 => 1,
            0xE2 if is_separator(&bytes[at..]) => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        out.push_str(&text[plain..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => push_escape(out, &bytes[at..]),
        }
        at += width;
        plain = at;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Appends a valid JSON text without insignificant whitespace, escaped. Numbers keep their
/// spelling, objects their duplicate keys.
pub(super) fn push_normal(out: &mut String, json: &str) {
    if is_normal(json) {
        out.push_str(json);
        return;
    }
    let bytes = json.as_bytes();
    let (mut plain, mut at) = (0, 0);
    let mut in_string = false;
    while at < bytes.len() {
        let byte = bytes[at];
        let width = match byte {
            b'"' => {
                in_string = !in_string;
                at += 1;
                continue;
            }
            // The escaped character may be a quote.
            b'\\' => {
                at += 2;
                continue;
            }
            b'<' | b'>' | b'&' => 1,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => 1,
            0xE2 if is_separator(&bytes[at..]) => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        out.push_str(&json[plain..at]);
        if !byte.is_ascii_whitespace() {
            push_escape(out, &bytes[at..]);
        }
        at += width;
        plain = at;
    }
    out.push_str(&json[plain..]);
}

/// Whether [`push_normal`] would certainly leave the text as it is. Text with a space inside a
/// string gives `false`.
fn is_normal(json: &str) -> bool {
    // A chunk is examined whole, without a branch for each byte, so that it becomes vector code.
    json.as_bytes().chunks(64).all(|chunk| {
        !chunk.iter().fold(false, |found, &byte| {
            found
                | (byte <= b' ')
                | (byte == b'<')
                | (byte == b'>')
                | (byte == b'&')
                | (byte == 0xE2)
        })
    })
}

/// Whether the bytes begin with U+2028 or U+2029.
fn is_separator(bytes: &[u8]) -> bool {
    matches!(bytes, [0xE2, 0x80, 0xA8 | 0xA9, ..])
}

/// Appends `\uXXXX` for the character that the bytes begin with: an ASCII character, U+2028 or
/// U+2029.
fn push_escape(out: &mut String, bytes: &[u8]) {
    match bytes {
        [0xE2, _, 0xA8, ..] => out.push_str("\\u2028"),
        [0xE2, ..] => out.push_str("\\u2029"),
        _ => {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(bytes[0] >> 4)]));
            out.push(char::from(HEX[usize::from(bytes[0] & 15)]));
        }
    }
}

/// The JSON of a value, as [`push_normal`] would leave it.
pub(super) fn to_normal(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Box<str>> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaping))?;
    Ok(String::from_utf8(out)
        .expect("the serializer and the formatter write text")
        .into_boxed_str())
}

/// Writes compact JSON with the escapes of Go.
struct Escaping;

impl Formatter for Escaping {
    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        match escape {
            // As in the other fields of a message, and as Go wrote them until 1.22.
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }

    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // A fragment has no quotes, backslashes or control characters, and is not empty.
        if is_normal(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut escaped = String::with_capacity(fragment.len() + 8);
        push_string(&mut escaped, fragment);
        writer.write_all(&escaped.as_bytes()[1..escaped.len() - 1])
    }

    fn write_raw_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut normal = String::with_capacity(fragment.len());
        push_normal(&mut normal, fragment);
        writer.write_all(normal.as_bytes())
    }
}
