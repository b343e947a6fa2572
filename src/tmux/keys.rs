//! What is typed into panes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::server::{Tmux, TmuxError, quoted};
use super::{HELD, MARKS, TYPED};

/// Keys for a pane. The server sends the keys and writes the notes about them in one step: whatever
/// happens to the caller, the notes tell whether the keys were sent. A pane whose process is not
/// `pid` gets neither; nor does one whose cursor has moved, or that a person has taken meanwhile, see
/// [`super::Hold`], unless there are no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strokes {
    /// The pane's id.
    pub pane: String,
    /// The process that the keys are for.
    pub pid: u32,
    /// The column and the row of the cursor when the caller looked.
    pub cursor: (usize, usize),
    /// The keys.
    pub keys: Keys,
    /// The note that the pane gets about what was typed; `None`: its note is removed.
    pub typed: Option<Typed>,
    /// What changes in the pane's marks.
    pub mark: Option<Mark>,
}

/// See [`Strokes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// None: only notes are changed.
    None,
    /// Text, byte for byte.
    Text(String),
    /// Keys by their names in tmux, one after the other, each pressed so many times.
    Named(Vec<(&'static str, usize)>),
}

/// A change of a pane's marks. A mark is a word of letters and digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// This mark is set together with the keys; a pane that has it already gets nothing.
    Once(String),
    /// This mark is taken away.
    Gone(String),
}

/// A text that was typed into a pane and that its program has not been seen to take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// The text.
    pub text: String,
    /// How many times Enter was pressed after it.
    pub enters: u32,
}

impl Typed {
    /// The text of the note in a pane: with the process that got the text, since it counts for no
    /// other.
    fn note(&self, pid: u32) -> String {
        format!("{pid} {} {}", self.enters, self.text)
    }

    pub(super) fn parse(note: &str, pid: u32) -> Option<Typed> {
        let mut fields = note.splitn(3, ' ');
        let is_its = fields.next()?.parse() == Ok(pid);
        let enters = fields.next()?.parse().ok()?;
        let text = fields.next()?.to_string();
        is_its.then_some(Typed { text, enters })
    }
}

/// The first words for a process, which are typed once its program waits for input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// A line without control characters.
    pub text: String,
    /// When a program whose screen tells nothing is taken to wait for input.
    pub after: Timestamp,
}

impl Words {
    /// The text of the note in a pane: with the process that the words are for.
    pub(super) fn note(&self, pid: u32) -> String {
        format!("{pid} {} {}", self.after.as_millisecond(), self.text)
    }

    pub(super) fn parse(note: &str, pid: u32) -> Option<Words> {
        let mut fields = note.splitn(3, ' ');
        let is_its = fields.next()?.parse() == Ok(pid);
        let after = Timestamp::from_millisecond(fields.next()?.parse().ok()?).ok()?;
        let text = fields.next()?.to_string();
        is_its.then_some(Words { text, after })
    }
}

impl Tmux {
    /// Sends keys to many panes in few calls; a pane that is gone is passed over. A pane that somebody
    /// has left in copy mode is brought out of it first. [`Tmux::sights`] tells afterwards which panes
    /// have got them.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or no server answers: then it is not known which panes got keys.
    pub fn strike(&self, items: &[Strokes]) -> Result<(), TmuxError> {
        self.each_apart(items.iter().map(|item| {
            let pane = quoted(&item.pane);
            let is = |what: &str, value: usize| format!("#{{==:#{{{what}}},{value}}}");
            let mut conditions = vec![is("pane_pid", item.pid as usize)];
            if item.keys != Keys::None {
                conditions.push(is("cursor_x", item.cursor.0));
                conditions.push(is("cursor_y", item.cursor.1));
                conditions.push(format!("#{{==:{HELD},}}"));
            }
            let mut commands = vec![match &item.typed {
                Some(typed) => {
                    let note = quoted(&typed.note(item.pid));
                    format!("set-option -p -t {pane} {TYPED} {note}")
                }
                None => format!("set-option -p -u -t {pane} {TYPED}"),
            }];
            match &item.mark {
                Some(Mark::Once(mark)) => {
                    conditions.push(format!("#{{==:#{{m:*{mark}*,#{{{MARKS}}}}},0}}"));
                    commands.push(format!("set-option -a -p -t {pane} {MARKS} ' {mark}'"));
                }
                Some(Mark::Gone(mark)) => commands.push(format!(
                    "set-option -F -p -t {pane} {MARKS} '#{{s/{mark}//:{MARKS}}}'"
                )),
                None => {}
            }
            let keys = match &item.keys {
                Keys::None => Vec::new(),
                Keys::Text(text) => vec![format!("-l -- {}", quoted(text))],
                Keys::Named(keys) => keys
                    .iter()
                    .map(|(key, times)| format!("-N {times} {key}"))
                    .collect(),
            };
            if !keys.is_empty() {
                commands.push(format!("copy-mode -q -t {pane}"));
            }
            commands.extend(
                keys.iter()
                    .map(|keys| format!("send-keys -t {pane} {keys}")),
            );
            (item.pane.clone(), all(conditions), commands.join("; "))
        }))
        .map(drop)
    }
}

/// A format that is true when all of these are: tmux's `&&` joins only two.
fn all(conditions: Vec<String>) -> String {
    let both = |all: String, one: String| format!("#{{&&:{all},{one}}}");
    conditions.into_iter().reduce(both).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tmux::Pane;
    use crate::tmux::lab::Lab;

    #[test]
    fn keys_are_sent_once_to_the_process_and_the_line_they_are_for() {
        let lab = Lab::new("once");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("second", Path::new("/"), &[], &cat)
            .unwrap();
        tmux.run(&["copy-mode", "-t", "=first:"]).unwrap();
        let panes = tmux.panes().unwrap();
        let want = "it's \"odd\" #{pid} $HOME;";
        let note = |enters| Typed {
            text: want.into(),
            enters,
        };
        let text = |pane: &Pane, pid, column| Strokes {
            pane: pane.id.clone(),
            pid,
            cursor: (column, 0),
            keys: Keys::Text(want.into()),
            typed: Some(note(0)),
            mark: Some(Mark::Once("t1".into())),
        };
        let gone = Pane {
            id: "%99".into(),
            ..panes[0].clone()
        };
        let items = [
            text(&gone, gone.pid, 0),
            text(&panes[0], panes[0].pid, 0),
            text(&panes[0], panes[0].pid, 0),
            text(&panes[1], panes[1].pid + 1, 0),
            text(&panes[1], panes[1].pid, 1),
        ];
        let ids: Vec<String> = ["%0", "%1", "%99"].map(String::from).to_vec();
        for _ in 0..2 {
            tmux.strike(&items).unwrap();
        }
        lab.wait("the text", |tmux| {
            tmux.sights(&ids).unwrap()["%0"].screen.lines == [want]
        });
        let sights = tmux.sights(&ids).unwrap();
        assert_eq!(sights.len(), 2);
        assert_eq!(sights["%0"].typed, Some(note(0)));
        assert_eq!((sights["%0"].pid, sights["%0"].dead), (panes[0].pid, false));
        assert_eq!(sights["%0"].marks, ["t1"]);
        let second = &sights["%1"];
        assert!(second.screen.lines.is_empty() && second.typed.is_none());
        assert!(second.marks.is_empty());

        let after = |keys, enters: Option<u32>, mark| Strokes {
            cursor: (want.len(), 0),
            keys,
            typed: enters.map(note),
            mark: Some(mark),
            ..text(&panes[0], panes[0].pid, 0)
        };
        let enter = after(
            Keys::Named(vec![("Enter", 1)]),
            Some(1),
            Mark::Once("e1".into()),
        );
        // The cursor has moved by the second time.
        tmux.strike(&[enter.clone(), enter.clone()]).unwrap();
        lab.wait("the line", |tmux| {
            tmux.sights(&ids).unwrap()["%0"].screen.row == 2
        });
        tmux.strike(std::slice::from_ref(&enter)).unwrap();
        let sight = &tmux.sights(&ids).unwrap()["%0"];
        assert_eq!(sight.screen.lines, [want, want]);
        assert_eq!(sight.typed, Some(note(1)));
        assert_eq!(sight.marks, ["t1", "e1"]);
        let forget = after(Keys::None, None, Mark::Gone("t1".into()));
        tmux.strike(&[forget]).unwrap();
        let sight = &tmux.sights(&ids).unwrap()["%0"];
        assert_eq!(
            (sight.typed.clone(), &*sight.marks),
            (None, &["e1".into()][..])
        );
    }
}
