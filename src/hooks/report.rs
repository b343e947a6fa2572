//! A report of an agent about itself. It is kept in an option of the agent's pane, so it ends with
//! the pane, and it names the process, so it never counts for another one.

use jiff::Timestamp;

use crate::digest;

/// The most of a question that is kept, in bytes.
const QUESTION: usize = 400;

/// What an agent says that it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It waits for input.
    Free,
    /// It works.
    Busy,
    /// It waits for an answer to this question; empty if the hook does not tell.
    Asks(String),
}

/// A report, as the pane has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub word: Word,
    /// When it was said.
    pub at: Timestamp,
    /// The first process of the pane at that time.
    pub pid: u32,
}

impl Word {
    /// The state in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Word::Free => "free",
            Word::Busy => "busy",
            Word::Asks(_) => "asks",
        }
    }
}

impl Report {
    /// One word of ASCII: `STATE:MILLISECONDS:PID:QUESTION`, the time since 1970, the question in
    /// hexadecimal. `pid` may be a format that tmux replaces by the pid.
    pub fn format(word: &Word, at: Timestamp, pid: impl std::fmt::Display) -> String {
        let question = match word {
            Word::Asks(question) => line(question),
            _ => String::new(),
        };
        let text = format!("{}:{}:{pid}:", word.name(), at.as_millisecond());
        text + &digest::hex(question.as_bytes())
    }

    /// Reads what [`Report::format`] writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Report> {
        let mut parts = text.splitn(4, ':');
        let state = parts.next()?;
        let at = Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?;
        let pid = parts.next()?.parse().ok()?;
        let word = match state {
            "free" => Word::Free,
            "busy" => Word::Busy,
            "asks" => Word::Asks(unhex(parts.next()?)?),
            _ => return None,
        };
        Some(Report { word, at, pid })
    }
}

/// A text on one line, bounded, without what could steer a terminal.
pub fn line(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        let gap = usize::from(!out.is_empty());
        if out.len() + gap + word.len() > QUESTION {
            let rest = QUESTION.saturating_sub(out.len() + gap + '…'.len_utf8());
            let cut = (0..=rest.min(word.len()))
                .rev()
                .find(|n| word.is_char_boundary(*n));
            out.extend([[" ", ""][1 - gap], &word[..cut.unwrap_or(0)], "…"]);
            break;
        }
        out.extend([[" ", ""][1 - gap], word]);
    }
    out
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok().map(|text| line(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(word: Word) -> Report {
        Report {
            word,
            at: "2026-01-01T00:00:00.123Z".parse().unwrap(),
            pid: 42,
        }
    }

    #[test]
    fn reports_are_read_as_they_were_written() {
        for (word, text) in [
            (Word::Free, "free:1767225600123:42:"),
            (Word::Busy, "busy:1767225600123:42:"),
            (Word::Asks(String::new()), "asks:1767225600123:42:"),
            (Word::Asks("Hä?".into()), "asks:1767225600123:42:48c3a43f"),
        ] {
            let report = report(word);
            assert_eq!(Report::format(&report.word, report.at, report.pid), text);
            assert_eq!(Report::parse(text), Some(report));
        }
        for text in [
            "",
            "free",
            "free:x:1:",
            "free:1:-1:",
            "asks:1:1",
            "asks:1:1:4",
            "asks:1:1:zz",
            "asks:1:1:ff",
            "sleeps:1:1:",
        ] {
            let asks_short = text == "asks:1:1:4";
            assert_eq!(Report::parse(text).is_some(), asks_short, "{text}");
        }
    }

    #[test]
    fn a_question_is_one_short_line() {
        assert_eq!(line(" a\n\tb \x1b[31mc\x07 "), "a b [31mc");
        assert_eq!(line(&"x".repeat(1000)).len(), QUESTION);
        assert!(line(&"word ".repeat(1000)).ends_with('…'));
    }

    proptest! {
        #[test]
        fn any_question_comes_back_on_one_line(text in ".*") {
            let before = report(Word::Asks(line(&text)));
            prop_assert!(line(&text).len() <= QUESTION);
            prop_assert!(!line(&text).contains(char::is_control));
            let text = Report::format(&before.word, before.at, before.pid);
            prop_assert_eq!(Report::parse(&text), Some(before));
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = Report::parse(&text);
        }
    }
}
