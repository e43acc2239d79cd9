//! A look at Rust text that tells code from comments and literals; it knows no rule.

/// One line of a Rust file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line without comments and with the inside of literals blanked out.
    pub code: String,
    /// Whether anything but blanks and comments stands on it.
    pub net: bool,
}

enum State {
    Code,
    Comment { depth: usize },
    Text { hashes: Option<usize> },
}

/// Splits a Rust file into lines of code.
///
/// The look is lexical: nested block comments, strings, raw strings and character literals are known, macros are not
/// expanded. That is enough to count and to search.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    let mut state = State::Code;
    text.lines().map(|line| scan(line, &mut state)).collect()
}

fn scan(line: &str, state: &mut State) -> Line {
    let chars: Vec<char> = line.chars().collect();
    let mut code = String::with_capacity(line.len());
    let mut net = false;
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        match state {
            State::Comment { depth } => {
                if rest.starts_with(&['*', '/']) {
                    *depth -= 1;
                    at += 2;
                    if *depth == 0 {
                        *state = State::Code;
                    }
                } else if rest.starts_with(&['/', '*']) {
                    *depth += 1;
                    at += 2;
                } else {
                    at += 1;
                }
            }
            State::Text { hashes } => {
                net = true;
                let (taken, over) = text_step(rest, *hashes);
                at += taken;
                code.push(if over { '"' } else { ' ' });
                if over {
                    *state = State::Code;
                }
            }
            State::Code => {
                if rest.starts_with(&['/', '/']) {
                    break;
                }
                if rest.starts_with(&['/', '*']) {
                    *state = State::Comment { depth: 1 };
                    at += 2;
                    continue;
                }
                net |= !rest[0].is_whitespace();
                if let Some((taken, hashes)) = opens_text(rest, chars[..at].last().copied()) {
                    code.push('"');
                    at += taken;
                    *state = State::Text { hashes };
                } else if let Some(taken) = character(rest) {
                    code.push_str("' '");
                    at += taken;
                } else {
                    code.push(rest[0]);
                    at += 1;
                }
            }
        }
    }
    Line { code, net }
}

/// One step inside a literal: how many characters it takes and whether the literal is over.
fn text_step(rest: &[char], hashes: Option<usize>) -> (usize, bool) {
    match hashes {
        None if rest[0] == '\\' => (2.min(rest.len()), false),
        None => (1, rest[0] == '"'),
        Some(count) => {
            let closing = rest[0] == '"' && rest.len() > count && rest[1..=count].iter().all(|c| *c == '#');
            (if closing { 1 + count } else { 1 }, closing)
        }
    }
}

/// Whether a string opens here: characters taken, and the number of hashes of a raw one.
fn opens_text(rest: &[char], before: Option<char>) -> Option<(usize, Option<usize>)> {
    if rest[0] == '"' {
        return Some((1, None));
    }
    if rest[0] != 'r' || before.is_some_and(|c| c != 'b' && c != 'c' && is_word(c)) {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some((2 + hashes, Some(hashes)))
}

/// Whether a character literal (not a lifetime) stands here: how many characters it takes.
fn character(rest: &[char]) -> Option<usize> {
    if rest[0] != '\'' {
        return None;
    }
    match rest.get(1)? {
        '\\' => rest.iter().skip(3).position(|c| *c == '\'').map(|at| at + 4),
        _ => (rest.get(2) == Some(&'\'')).then_some(3),
    }
}

/// Tells whether a character can be part of an identifier.
#[must_use]
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Tells whether `word` stands in `text` with nothing of an identifier on either side.
#[must_use]
pub fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::{has_word, lines};

    fn code(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code.trim_end().to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(code("let a = \"axum\"; // axum"), ["let a = \"    \";"]);
        assert_eq!(code("a /* x /* y */ axum */ b"), ["a  b"]);
        assert_eq!(code("r#\"axum \" \"# + c"), ["\"       \" + c"]);
        assert_eq!(code("let q = '\"'; let l: &'a str;"), ["let q = ' '; let l: &'a str;"]);
        assert_eq!(code("let q = '\\''; x"), ["let q = ' '; x"]);
    }

    #[test]
    fn literals_and_comments_may_span_lines() {
        assert_eq!(code("let a = \"one\ntwo\"; b /* c\nd */ e"), ["let a = \"", "   \"; b", " e"]);
    }

    #[test]
    fn blank_and_comment_lines_are_not_net() {
        let net: Vec<bool> = lines("//! x\n\nfn f() {} // y\n/* z\n*/\n\"\ntext\n\"").iter().map(|l| l.net).collect();
        assert_eq!(net, [false, false, true, false, false, true, true, true]);
    }

    #[test]
    fn words_end_where_identifiers_end() {
        assert!(has_word("use axum::Router", "axum"));
        assert!(!has_word("use axum_extra::x", "axum"));
        assert!(!has_word("my_axum", "axum"));
    }
}
