//! Rust source as tokens, without comments; the contents of strings are not names.

/// What a token is; `::` is one [`Punctuation`](Kind::Punctuation), every other mark stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Name,
    Punctuation,
    /// A string, a character, a number or a lifetime: nothing that a path is made of.
    Other,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// The first and last line it stands on, from 1. Only a string has more than one.
    pub(crate) lines: (usize, usize),
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Other && self.text == text
    }
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        source: source.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks_and_comments();
        let (start, first_line) = (lexer.at, lexer.line);
        let Some(kind) = lexer.token() else {
            return tokens;
        };
        let text = lexer.source[start..lexer.at].iter().collect::<String>();
        let text = text.strip_prefix("r#").map_or(text.clone(), str::to_owned);
        tokens.push(Token {
            kind,
            text,
            lines: (first_line, lexer.line),
        });
    }
}

/// How many lines hold code: blank lines and comments are none.
pub(crate) fn code_lines(tokens: &[Token]) -> usize {
    let (mut count, mut counted) = (0, 0);
    for token in tokens {
        let (first, last) = token.lines;
        count += (last + 1).saturating_sub(first.max(counted + 1));
        counted = counted.max(last);
    }
    count
}

struct Lexer {
    source: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.source.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(ahead, c)| self.peek(ahead) == c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn ended(&self) -> bool {
        self.at >= self.source.len()
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while !self.ended() && wanted(self.peek(0)) {
            self.skip(1);
        }
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            if self.starts_with("//") {
                self.skip_while(|c| c != '\n');
            } else if self.starts_with("/*") {
                self.block_comment();
            } else {
                return;
            }
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.ended() {
            if self.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.skip(1);
            }
        }
    }

    fn token(&mut self) -> Option<Kind> {
        if self.ended() {
            return None;
        }
        let first = self.peek(0);
        if let Some(prefix) = self.string_prefix() {
            self.string(prefix);
            return Some(Kind::Other);
        }
        if first == '\'' || (first == 'b' && self.peek(1) == '\'') {
            self.character_or_lifetime(usize::from(first == 'b'));
            return Some(Kind::Other);
        }
        if first.is_ascii_digit() {
            self.skip_while(is_name);
            return Some(Kind::Other);
        }
        if is_name(first) {
            self.skip(if self.starts_with("r#") { 2 } else { 0 });
            self.skip_while(is_name);
            return Some(Kind::Name);
        }
        self.skip(if self.starts_with("::") { 2 } else { 1 });
        Some(Kind::Punctuation)
    }

    /// The length of what stands before the hashes or the quote, if a string begins here.
    fn string_prefix(&self) -> Option<usize> {
        ["", "b", "c", "r", "br", "cr"]
            .into_iter()
            .find_map(|prefix| {
                let mut ahead = prefix.len();
                if prefix.ends_with('r') {
                    while self.peek(ahead) == '#' {
                        ahead += 1;
                    }
                }
                (self.starts_with(prefix) && self.peek(ahead) == '"').then_some(prefix.len())
            })
    }

    fn string(&mut self, prefix: usize) {
        let raw = prefix > 0 && self.peek(prefix - 1) == 'r';
        self.skip(prefix);
        let mut end = String::from("\"");
        while self.peek(0) == '#' {
            end.push('#');
            self.skip(1);
        }
        self.skip(1);
        while !self.ended() && !self.starts_with(&end) {
            self.skip(if !raw && self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.skip(end.len());
    }

    fn character_or_lifetime(&mut self, prefix: usize) {
        self.skip(prefix + 1);
        if self.peek(0) == '\\' {
            self.skip(2);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(1) == '\'' {
            self.skip(2);
        } else {
            self.skip_while(is_name);
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
