//! The few questions that may be answered for a person, because a setting says so.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Kind, Question, Reader, State};
use crate::tmux::{Keys, Mark, Sight, Strokes, Tmux, TmuxError};

/// The choice that agrees, word for word. A dialog with other words is left to the person.
const AGREE: &[(Kind, &str)] = &[
    (Kind::Trust, "Yes, I trust this folder"),
    (Kind::Bypass, "Yes, I accept"),
];

/// How long a program may take to close an answered dialog: long, for many may start at once.
const CLOSED: Duration = Duration::from_secs(10);

/// How often we look whether the dialog is closed.
const LOOK: Duration = Duration::from_millis(100);

/// Keys for a dialog.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// They mark the choice that agrees.
    Mark(Keys),
    /// They agree.
    Agree(Keys),
}

/// The next keys to agree. These dialogs take the number of a choice; those whose choices have no
/// numbers take Enter, for the marked one.
fn step(question: &Question) -> Option<Step> {
    let (_, agree) = AGREE.iter().find(|(kind, _)| *kind == question.kind)?;
    let at = question.choices.iter().position(|choice| choice == agree)?;
    let key = |key, times| Keys::Named(vec![(key, times)]);
    match question.marked {
        None if at < 9 => Some(Step::Agree(Keys::Text((at + 1).to_string()))),
        None => None,
        Some(marked) if marked < at => Some(Step::Mark(key("Down", at - marked))),
        Some(marked) if marked > at => Some(Step::Mark(key("Up", marked - at))),
        Some(_) => Some(Step::Agree(key("Enter", 1))),
    }
}

/// Whether a dialog is about this directory: it shows the whole path in a line of its own.
pub fn is_about(question: &Question, dir: &Path) -> bool {
    let dir = dir.to_string_lossy();
    question.text.lines().any(|line| line.trim() == dir)
}

/// Whether we may answer a question of the process that the pane has now: we know it, have answered
/// none of its kind, and no person has the pane for something else.
pub fn is_open(sight: &Sight, question: &Question) -> bool {
    let answered = sight.marks.contains(&mark(question.kind, sight.pid));
    step(question).is_some() && sight.hold.is_none() && !answered
}

/// tmux looks for a mark anywhere among the marks: without its last letter it would be in one of a
/// longer pid.
fn mark(kind: Kind, pid: u32) -> String {
    format!("a{}p{pid}p", kind.word())
}

/// Agrees, if that very question is still on the screen; at most once for each process. Gives
/// whether the dialog is gone afterwards.
///
/// # Errors
/// tmux fails: then it is not known whether the question was answered.
pub fn agree(
    tmux: &Tmux,
    pane: &str,
    reader: &Reader,
    question: &Question,
) -> Result<bool, TmuxError> {
    let panes = [pane.to_string()];
    let asked = |sight: &Sight| match reader.state(&sight.screen) {
        State::Asks(now) if now.is_same(question) => Some(now),
        _ => None,
    };
    let deadline = Instant::now() + CLOSED;
    let mut marks = false;
    loop {
        let sights = tmux.sights(&panes)?;
        let sight = sights.get(pane).filter(|sight| !sight.dead);
        let sight = sight.filter(|sight| is_open(sight, question));
        let Some((sight, now)) = sight.and_then(|sight| Some((sight, asked(sight)?))) else {
            return Ok(false);
        };
        let strike = |keys, mark| {
            tmux.strike(&[Strokes {
                pane: pane.into(),
                pid: sight.pid,
                cursor: (sight.screen.column, sight.screen.row),
                keys,
                typed: sight.typed.clone(),
                mark,
            }])
        };
        match step(&now) {
            Some(Step::Agree(keys)) => {
                strike(keys, Some(Mark::Once(mark(question.kind, sight.pid))))?;
                break;
            }
            // Once: the program may not have read the keys yet, and more would go too far.
            Some(Step::Mark(keys)) if !marks => strike(keys, None)?,
            Some(Step::Mark(_)) if Instant::now() < deadline => {}
            _ => return Ok(false),
        }
        marks = true;
        std::thread::sleep(LOOK);
    }
    while Instant::now() < deadline {
        std::thread::sleep(LOOK);
        match tmux.sights(&panes)?.get(pane) {
            Some(now) if asked(now).is_some() => {}
            now => return Ok(now.is_some()),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmux::Hold;

    #[test]
    fn only_what_is_known_word_for_word() {
        let question = |kind, choices: &[&str]| Question {
            kind,
            text: "Accessing workspace:\n/home/me/gt/mayor\nQuick safety check".into(),
            choices: choices.iter().map(|c| c.to_string()).collect(),
            headline: String::new(),
            marked: None,
        };
        for (kind, choices, want) in [
            (
                Kind::Trust,
                ["Yes, I trust this folder", "No, exit"],
                Some("1"),
            ),
            (Kind::Bypass, ["No, exit", "Yes, I accept"], Some("2")),
            (Kind::Trust, ["Yes, proceed", "No, exit"], None),
            (Kind::Other, ["Yes, I accept", "No"], None),
            (Kind::Key, ["Yes, I accept", "No"], None),
        ] {
            let want = want.map(|key| Step::Agree(Keys::Text(key.into())));
            assert_eq!(step(&question(kind, &choices)), want, "{kind:?}");
        }
        let choices = ["No, exit", "Yes, I accept", "Ask later"];
        for (marked, want) in [
            (0, Step::Mark(Keys::Named(vec![("Down", 1)]))),
            (1, Step::Agree(Keys::Named(vec![("Enter", 1)]))),
            (2, Step::Mark(Keys::Named(vec![("Up", 1)]))),
        ] {
            let bypass = Question {
                marked: Some(marked),
                ..question(Kind::Bypass, &choices)
            };
            assert_eq!(step(&bypass), Some(want));
            assert!(bypass.is_same(&question(Kind::Bypass, &choices)));
        }
        let trust = question(Kind::Trust, &["Yes, I trust this folder"]);
        let sight = |marks: &[String], hold| Sight {
            pid: 12,
            marks: marks.to_vec(),
            hold,
            ..Sight::default()
        };
        let of_123 = mark(Kind::Trust, 123);
        assert!(!of_123.contains(&mark(Kind::Trust, 12)));
        for (marks, hold, want) in [
            (&[][..], None, true),
            (&[of_123, mark(Kind::Bypass, 12)], None, true),
            (&[mark(Kind::Trust, 12)], None, false),
            (&[], Some(Hold::Mode), false),
            (&[], Some(Hold::Synchronized), false),
        ] {
            assert_eq!(is_open(&sight(marks, hold), &trust), want, "{marks:?}");
        }
        assert!(is_about(&trust, Path::new("/home/me/gt/mayor")));
        assert!(!is_about(&trust, Path::new("/home/me/gt")));
    }
}
