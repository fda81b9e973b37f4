//! The paths that a file names, in its imports and in its code, each with its inline module.

use crate::tokens::{Kind, Token};

/// One path. An import of a group counts as one path for each of its leaves; a glob ends in `*`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    /// The `mod name { }` around it within the file, from the outside in.
    pub(crate) scope: Vec<String>,
    pub(crate) line: usize,
    /// It stands in an item under `#[cfg(test)]`.
    pub(crate) test: bool,
}

/// A module that a file declares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// With the inline modules around it.
    pub(crate) path: Vec<String>,
    pub(crate) test: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) paths: Vec<Named>,
    pub(crate) modules: Vec<Declared>,
}

pub(crate) fn contents(tokens: &[Token]) -> Contents {
    let test = test_items(tokens);
    let mut contents = Contents::default();
    let mut scope: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let names = |scope: &[(String, usize)]| {
            scope
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        let next_is = |text: &str| tokens.get(at + 1).is_some_and(|next| next.is(text));
        if token.is("{") {
            depth += 1;
        } else if token.is("}") {
            depth -= 1;
            scope.retain(|(_, outside)| *outside < depth);
        } else if token.is("mod")
            && tokens
                .get(at + 1)
                .is_some_and(|next| next.kind == Kind::Name)
        {
            let name = tokens[at + 1].text.clone();
            let mut path = names(&scope);
            path.push(name.clone());
            contents.modules.push(Declared {
                path,
                test: test[at],
            });
            if tokens.get(at + 2).is_some_and(|next| next.is("{")) {
                scope.push((name, depth));
            }
            at += 1;
        } else if (token.is("use") && !next_is("<")) || (token.is("extern") && next_is("crate")) {
            let mut leaves = Vec::new();
            let start = at + if token.is("use") { 1 } else { 2 };
            at = leaves_of(tokens, start, &mut Vec::new(), &mut leaves);
            contents
                .paths
                .extend(leaves.into_iter().map(|(segments, line)| Named {
                    segments,
                    scope: names(&scope),
                    line,
                    test: test[start],
                }));
            continue;
        } else if token.kind == Kind::Name && next_is("::") && starts_a_path(tokens, at) {
            let mut segments = vec![token.text.clone()];
            let mut end = at;
            while tokens.get(end + 1).is_some_and(|next| next.is("::"))
                && tokens
                    .get(end + 2)
                    .is_some_and(|next| next.kind == Kind::Name)
            {
                end += 2;
                segments.push(tokens[end].text.clone());
            }
            contents.paths.push(Named {
                segments,
                scope: names(&scope),
                line: token.lines.0,
                test: test[at],
            });
            at = end;
        }
        at += 1;
    }
    contents
}

/// Keywords that `::std` may follow: they are not part of the path.
const BEFORE_A_GLOBAL_PATH: [&str; 10] = [
    "as", "const", "dyn", "else", "for", "impl", "in", "mut", "return", "where",
];

/// Whether the name at `at`, which `::` follows, is the first of its path. `pub(in path)` grants
/// and does not import.
fn starts_a_path(tokens: &[Token], at: usize) -> bool {
    let before = |count: usize| at.checked_sub(count).map(|at| &tokens[at]);
    if BEFORE_A_GLOBAL_PATH.contains(&tokens[at].text.as_str()) {
        return false;
    }
    let Some(previous) = before(1) else {
        return true;
    };
    if previous.is("::") {
        // `a::b` or `<A as B>::b` goes on; `::std` begins.
        return before(2).is_none_or(|earlier| match earlier.kind {
            Kind::Name => BEFORE_A_GLOBAL_PATH.contains(&earlier.text.as_str()),
            _ => !earlier.is(">"),
        });
    }
    !(previous.is("in") && before(2).is_some_and(|earlier| earlier.is("(")))
}

/// Reads one branch of an import from `at` and returns where it ends: at a `;`, a `,` or a `}`.
fn leaves_of(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    leaves: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let outer = prefix.len();
    while let Some(token) = tokens.get(at) {
        if token.is("{") {
            at += 1;
            while tokens.get(at).is_some_and(|token| !token.is("}")) {
                at = leaves_of(tokens, at, prefix, leaves);
                at += usize::from(tokens.get(at).is_some_and(|token| token.is(",")));
            }
            at += 1;
            break;
        }
        if token.is("*") || token.kind == Kind::Name {
            let own_name = token.is("self") && !prefix.is_empty();
            if !own_name {
                prefix.push(token.text.clone());
            }
            at += 1;
            if !tokens.get(at).is_some_and(|next| next.is("::")) {
                leaves.push((prefix.clone(), token.lines.0));
                if tokens.get(at).is_some_and(|next| next.is("as")) {
                    at += 2;
                }
                break;
            }
        } else if !token.is("::") {
            // Nothing a compiler would take; leave it, and go on behind it.
            at += 1;
            break;
        } else {
            at += 1;
        }
    }
    prefix.truncate(outer);
    at
}

/// For every token, whether it stands in an item under `#[cfg(test)]`.
pub(crate) fn test_items(tokens: &[Token]) -> Vec<bool> {
    marked_items(tokens, "test")
}

/// For every token, whether it stands in an item under `#[cfg(…flag…)]`, the attribute included.
pub(crate) fn marked_items(tokens: &[Token], flag: &str) -> Vec<bool> {
    let mut marked = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        let inside = &tokens[at..end];
        let under_flag = inside.iter().any(|token| token.is("cfg"))
            && inside.iter().any(|token| token.is(flag))
            && !inside.iter().any(|token| token.is("not"));
        if under_flag {
            let end = item_end(tokens, end);
            marked[at..end].fill(true);
            at = end;
        } else {
            at = end;
        }
    }
    marked
}

/// Where the attribute that begins at `at` ends, if one does: behind its bracket.
pub(crate) fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    let text = |at: usize| {
        tokens
            .get(at)
            .filter(|token| token.kind != Kind::Other)
            .map(|token| token.text.as_str())
    };
    let open = match (text(at)?, text(at + 1)?) {
        ("#", "[") => at + 1,
        ("#", "!") if text(at + 2) == Some("[") => at + 2,
        _ => return None,
    };
    let mut depth = 0;
    for (offset, token) in tokens[open..].iter().enumerate() {
        if token.is("[") {
            depth += 1;
        } else if token.is("]") {
            depth -= 1;
            if depth == 0 {
                return Some(open + offset + 1);
            }
        }
    }
    None
}

/// Where the item that begins at `at` ends: behind its first `;`, or the brace that closes its
/// body, or before the brace that closes what it stands in.
pub(crate) fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[at..].iter().enumerate() {
        if ["{", "(", "["].iter().any(|open| token.is(open)) {
            depth += 1;
        } else if ["}", ")", "]"].iter().any(|close| token.is(close)) {
            depth -= 1;
            if depth < 0 {
                return at + offset;
            }
            if depth == 0 && token.is("}") {
                // An import of a group has a `;` behind its brace.
                let end = at + offset + 1;
                return end + usize::from(tokens.get(end).is_some_and(|next| next.is(";")));
            }
        } else if token.is(";") && depth == 0 {
            return at + offset + 1;
        }
    }
    tokens.len()
}
