//! What agents, files and other programs say, without what could steer a terminal.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        let hostile = "a\x1b]0;title\x07b\rc\u{9b}2J\nd\n";
        assert_eq!(lines(hostile), "a]0;titlebc2J\nd");
        assert_eq!(line(hostile), "a]0;titlebc2J d");
    }
}
