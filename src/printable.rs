//! What is shown on a terminal: what agents, files and other programs say, without what could steer
//! it, and whether it has colours.

use std::ffi::OsString;
use std::io::IsTerminal;

/// A text without control characters; line ends stay.
pub fn lines(text: &str) -> String {
    text.trim_end()
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect()
}

/// The same on one line.
pub fn line(text: &str) -> String {
    lines(text).replace('\n', " ")
}

/// Whether an output is shown in colours by itself: it goes to a terminal that has them, to somebody
/// who has not said no, as no-color.org asks.
pub fn is_coloured(output: &impl IsTerminal) -> bool {
    output.is_terminal() && wants_colour(|key| std::env::var_os(key))
}

fn wants_colour(var: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_unwanted = var("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = var("TERM").is_none_or(|term| term == "dumb");
    !(is_unwanted || is_dumb)
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
}
