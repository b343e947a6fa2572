//! Makes what agents, files and other programs say fit for a terminal, without characters that
//! could steer it; and tells whether the terminal has colours.

use std::ffi::OsString;
use std::io::IsTerminal;

/// A text without control characters; line ends stay.
pub fn lines(text: &str) -> String {
    text.trim_end()
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect()
}

/// A text without control characters, on one line.
pub fn line(text: &str) -> String {
    lines(text).replace('\n', " ")
}

/// Whether an output has colours by default: it goes to a terminal that has them, and `NO_COLOR`
/// (see no-color.org) is not set.
pub fn is_coloured(output: &impl IsTerminal) -> bool {
    output.is_terminal() && wants_colour(|key| std::env::var_os(key))
}

fn wants_colour(var: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_unwanted = var("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = var("TERM").is_none_or(|term| term == "dumb");
    !(is_unwanted || is_dumb)
}

/// The most names that a sentence lists.
const NAMED: usize = 5;

/// Names as a sentence lists them: of many only the first, and how many more there are.
pub fn names(names: &[String]) -> String {
    match names.len().saturating_sub(NAMED) {
        // A single name more is as short as "and 1 more".
        0 | 1 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        let hostile = "a\x1b]0;title\x07b\rc\u{9b}2J\nd\n";
        assert_eq!(lines(hostile), "a]0;titlebc2J\nd");
        assert_eq!(line(hostile), "a]0;titlebc2J d");
    }

    #[test]
    fn who_wants_colours() {
        for (no_color, term, want) in [
            (None, Some("xterm"), true),
            (Some(""), Some("xterm"), true),
            (Some("0"), Some("xterm"), false),
            (None, Some("dumb"), false),
            (None, None, false),
        ] {
            let var = |key: &str| match key {
                "NO_COLOR" => no_color.map(OsString::from),
                _ => term.map(OsString::from),
            };
            assert_eq!(wants_colour(var), want, "{no_color:?} {term:?}");
        }
    }

    #[test]
    fn many_names_are_counted() {
        let all: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
        for (count, want) in [
            (0, ""),
            (1, "1"),
            (6, "1, 2, 3, 4, 5, 6"),
            (7, "1, 2, 3, 4, 5 and 2 more"),
        ] {
            assert_eq!(names(&all[..count]), want);
        }
    }
}
