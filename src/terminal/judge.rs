//! What a screen shows, held against what the agent itself has reported by its program's hooks.
//!
//! The report comes first: a screen is a guess. But no hook comes when a person presses Esc, and
//! none during a long use of a tool, so a report grows stale; and of drafts, menus and shells the
//! hooks know nothing, so what a screen shows of these stands.

use jiff::{SignedDuration, Timestamp};

use super::{Kind, Look, Question, State};
use crate::hooks::report::{Report, Word};

/// How long a program may take to draw what it has reported.
const DRAWN: SignedDuration = SignedDuration::from_secs(3);

/// How long "busy" counts against a screen on which the program seems to wait.
const STALE: SignedDuration = SignedDuration::from_mins(2);

/// The state of a terminal by its screen and by its agent's last report, if there is one; and
/// whether the two disagree for longer than a program needs to draw.
pub fn judge(
    shown: State,
    report: Option<&Report>,
    look: Option<&Look>,
    now: Timestamp,
) -> (State, bool) {
    let Some(report) = report else {
        return (shown, false);
    };
    let age = now.duration_since(report.at);
    // The clock has been set back since this report, so that its age is not known.
    if age.is_negative() {
        return (shown, false);
    }
    let (drawn, stale) = (age > DRAWN, age > STALE);
    let said = || state(&report.word);
    let state = match (&shown, &report.word) {
        (State::Asks(_) | State::Draft | State::Shell, _) => shown.clone(),
        (State::Unknown, Word::Busy) if stale => State::Unknown,
        (State::Unknown, _) => said(),
        (State::Free, Word::Busy) if !stale => said(),
        (State::Free | State::Busy, Word::Asks(_)) if !drawn => said(),
        // Some hooks report only the end of work: their "free" may be from before this work.
        (State::Busy, Word::Free) if drawn && look.is_some_and(|look| look.reports_begin) => said(),
        _ => shown.clone(),
    };
    let differs = match (&shown, &report.word) {
        (State::Free, Word::Free) | (State::Busy, Word::Busy) => false,
        (State::Asks(_), Word::Asks(_)) => false,
        (State::Free | State::Busy | State::Asks(_), _) => drawn,
        (State::Draft | State::Shell | State::Unknown, _) => false,
    };
    (state, differs)
}

fn state(word: &Word) -> State {
    match word {
        Word::Free => State::Free,
        Word::Busy => State::Busy,
        Word::Asks(text) => State::Asks(Question {
            kind: Kind::Other,
            text: text.clone(),
            choices: Vec::new(),
            headline: String::new(),
            marked: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::look;

    fn asks(text: &str) -> State {
        state(&Word::Asks(text.into()))
    }

    #[test]
    fn reports_and_screens() {
        let (claude, codex) = (look("claude"), look("codex"));
        let question = || Word::Asks("by hook".into());
        for (shown, word, seconds, look, want, differs) in [
            (State::Free, Word::Free, 500, claude, State::Free, false),
            (State::Busy, Word::Busy, 5000, claude, State::Busy, false),
            // The spinner is not drawn yet, or not known.
            (State::Free, Word::Busy, 1, claude, State::Busy, false),
            (State::Free, Word::Busy, 60, claude, State::Busy, true),
            // Somebody pressed Esc: no hook tells.
            (State::Free, Word::Busy, 121, claude, State::Free, true),
            // Words on the screen look like a spinner.
            (State::Busy, Word::Free, 1, claude, State::Busy, false),
            (State::Busy, Word::Free, 4, claude, State::Free, true),
            // Codex tells ends only, also those of its own small turns.
            (State::Busy, Word::Free, 4, codex, State::Busy, true),
            // A dialog opens, and after it the tool runs for long.
            (State::Free, question(), 1, claude, asks("by hook"), false),
            (State::Busy, question(), 1, claude, asks("by hook"), false),
            (State::Busy, question(), 10, claude, State::Busy, true),
            (State::Free, question(), 10, claude, State::Free, true),
            (asks("x"), question(), 10, claude, asks("x"), false),
            (asks("x"), Word::Free, 10, claude, asks("x"), true),
            // Hooks know nothing of these.
            (State::Draft, Word::Free, 10, claude, State::Draft, false),
            (State::Draft, Word::Busy, 10, claude, State::Draft, false),
            (State::Shell, Word::Free, 10, claude, State::Shell, false),
            // Nobody knows how the program looks.
            (State::Unknown, Word::Free, 5000, None, State::Free, false),
            (State::Unknown, Word::Busy, 60, None, State::Busy, false),
            (State::Unknown, Word::Busy, 121, None, State::Unknown, false),
            (
                State::Unknown,
                question(),
                5000,
                None,
                asks("by hook"),
                false,
            ),
            // Of another clock.
            (State::Free, Word::Busy, -10, claude, State::Free, false),
        ] {
            let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let report = Report {
                word,
                at: now - SignedDuration::from_secs(seconds),
                pid: 1,
            };
            let got = judge(shown.clone(), Some(&report), look, now);
            assert_eq!(got, (want, differs), "{shown:?} {report:?}");
            assert_eq!(judge(shown.clone(), None, look, now), (shown, false));
        }
    }
}
