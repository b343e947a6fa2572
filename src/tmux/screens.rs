//! What panes show.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver};
use std::thread::{Scope, ScopedJoinHandle};

use super::ansi;
use super::keys::{Typed, Words};
use super::panes::Pane;
use super::server::{Tmux, TmuxError, is_server, quoted};
use super::{MARKS, TYPED, WORDS};

/// The most rows that tmux gives a window.
const ROWS: usize = 10_000;

/// How many panes one call asks for, at most: tmux takes no more than 16 KiB of commands, what
/// the panes show has to fit into [`tools::OUTPUT_LIMIT`], and the server does nothing else meanwhile.
/// Each client costs a server of many sessions more than a hundred screens do: when it leaves, the
/// server goes through all windows.
const SCREENS: usize = 200;

/// The server option with the format of what [`Tmux::sights`] asks about a pane beside its screen.
const HEAD: &str = "@gastown_head";

/// What a pane shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// Its lines, without trailing blanks.
    pub lines: Vec<String>,
    /// The same lines with blanks for what is shown faint, as hints are.
    pub solid: Vec<String>,
    /// The column of the cursor, from 0.
    pub column: usize,
    /// The line of the cursor, from 0; it may be below `lines`.
    pub row: usize,
    /// How many columns and rows its pane has; 0 where that is not known.
    pub size: (usize, usize),
    /// Whether the cursor is shown; programs that hide it draw their own elsewhere.
    pub cursor: bool,
    /// How many lines have scrolled off.
    pub history: u64,
    /// Whether it is the alternate screen, which editors, pagers and the like have to themselves.
    pub alternate: bool,
    /// The name of the process group in the foreground.
    pub command: String,
    /// The pane's title, which the program in it sets.
    pub title: String,
}

/// A pane at one moment: what it shows, whose it is, and what is noted about what was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// What it shows.
    pub screen: Screen,
    /// Its first process.
    pub pid: u32,
    /// That process has ended.
    pub dead: bool,
    /// See [`super::Mark`].
    pub marks: Vec<String>,
    /// What was typed to this process last, unless the process was seen to take it.
    pub typed: Option<Typed>,
    /// The first words that this process is still to get.
    pub words: Option<Words>,
    /// What a person has the pane for.
    pub hold: Option<Hold>,
}

/// What a person has a pane for, so that nothing is to be typed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Somebody who is attached reads back in it, or chooses from a list that tmux shows there.
    Mode,
    /// What is typed there goes to the other panes of the window too.
    Synchronized,
    /// A program of which nothing is known has the alternate screen, as editors and pagers do.
    Covered,
}

impl Hold {
    /// The same in words.
    pub fn words(self) -> &'static str {
        match self {
            Hold::Mode => "a person reads back in it, or has a list of tmux's open there",
            Hold::Synchronized => {
                "its window has 'synchronize-panes' on, so that all its panes would get what is typed"
            }
            Hold::Covered => {
                "a program has the whole terminal, as editors and pagers do; if it is the agent's \
                 own, 'ready_prompt_prefix' in the settings tells what its input line begins with"
            }
        }
    }

    fn parse(text: &str) -> Option<Hold> {
        match text.chars().next()? {
            'm' => Some(Hold::Mode),
            's' => Some(Hold::Synchronized),
            _ => None,
        }
    }
}

/// What agents' panes show, by pane.
pub type Sights = Result<HashMap<String, Sight>, TmuxError>;

/// A look at all panes, in a thread of its own: the list of panes comes first, what they show
/// later.
#[derive(Debug)]
pub struct Look<'scope> {
    panes: Receiver<Result<Vec<Pane>, TmuxError>>,
    sights: ScopedJoinHandle<'scope, Sights>,
}

impl Look<'_> {
    /// Waits for the list of all panes; to be called once.
    ///
    /// # Errors
    /// As of [`Tmux::panes`].
    pub fn panes(&self) -> Result<Vec<Pane>, TmuxError> {
        self.panes.recv().unwrap_or_else(|_| Err(ended_early()))
    }

    /// Waits for what the agents' panes show.
    ///
    /// # Errors
    /// As of [`Tmux::sights`].
    pub fn sights(self) -> Sights {
        self.sights.join().unwrap_or_else(|_| Err(ended_early()))
    }
}

fn ended_early() -> TmuxError {
    TmuxError::Failed("the look at it ended early".into())
}

impl Screen {
    /// A pane's id and its screen: from `#{pane_id} #{cursor_x} #{cursor_y} #{cursor_flag}
    /// #{history_size} #{alternate_on} #{pane_current_command}`, a tab and `#{pane_title}`, and the lines that
    /// `capture-pane -e` prints.
    pub fn parse<'a>(
        head: &str,
        shown: impl IntoIterator<Item = &'a str>,
    ) -> Option<(String, Screen)> {
        let (numbers, title) = head.split_once('\t')?;
        let mut fields = numbers.splitn(7, ' ');
        let pane = fields.next()?.to_string();
        let mut number = || fields.next()?.parse::<u32>().ok();
        let (column, row, cursor, history) = (number()?, number()?, number()?, number()?);
        let alternate = number()? == 1;
        let mut text = ansi::parse(shown.into_iter().take(ROWS));
        while text.lines.last().is_some_and(String::is_empty) {
            text.lines.pop();
            text.solid.pop();
        }
        let screen = Screen {
            lines: text.lines,
            solid: text.solid,
            column: column as usize,
            row: row as usize,
            size: (0, 0),
            cursor: cursor == 1,
            history: history.into(),
            alternate,
            command: fields.next()?.to_string(),
            title: title.trim().to_string(),
        };
        Some((pane, screen))
    }
}

impl Tmux {
    /// Lists all panes, and then reads what the agents' panes show, in another thread.
    pub fn look<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Look<'scope> {
        let (tell, panes) = mpsc::channel();
        let sights = scope.spawn(move || {
            let panes = self.panes();
            let ours = panes.iter().flatten();
            let ours = ours.filter(|pane| !pane.dead && pane.owner.is_some());
            let ids: Vec<String> = ours.map(|pane| pane.id.clone()).collect();
            // This fails if nobody asks for the list of panes any more.
            let _ = tell.send(panes);
            self.sights(&ids)
        });
        Look { panes, sights }
    }

    /// What panes show, by pane id; one call for up to 200. Panes that are gone are left out.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn screens(&self, panes: &[String]) -> Result<HashMap<String, Screen>, TmuxError> {
        let sights = self.sights(panes)?.into_iter();
        Ok(sights.map(|(id, sight)| (id, sight.screen)).collect())
    }

    /// Panes as they are now, by id; one call for up to 200. Panes that are gone are left out, and
    /// panes that show more than can be read.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn sights(&self, panes: &[String]) -> Result<HashMap<String, Sight>, TmuxError> {
        let mut found = HashMap::new();
        // Our own fields come first, because a program chooses its name and its title.
        let format = format!(
            "#{{pane_pid}} #{{pane_dead}} #{{pane_width}} #{{pane_height}} \
             #{{?#{{&&:#{{pane_in_mode}},#{{session_attached}}}},m,}}#{{?#{{pane_synchronized}},s,}}\t#{{{MARKS}}}\t#{{{TYPED}}}\t#{{{WORDS}}}\t\
             #{{pane_id}} #{{cursor_x}} #{{cursor_y}} #{{cursor_flag}} #{{history_size}} #{{alternate_on}} \
             #{{pane_current_command}}\t#{{pane_title}}"
        );
        // The format is long: the server keeps it in an option, so that it is not sent for each
        // pane. For the same reason the commands have their short names.
        let head = format!("#{{E:{HEAD}}}");
        let mut chunks: Vec<&[String]> = panes.chunks(SCREENS).collect();
        while let Some(panes) = chunks.pop() {
            // No pane shows this: it is the time of this very call.
            let rule = format!("~{:x}", jiff::Timestamp::now().as_nanosecond());
            let format = format!("{rule} {format}");
            let mut list = vec!["set-option", "-g", HEAD, &format, ";"];
            for pane in panes {
                list.extend(["display", "-p", "-t", pane, &head, ";"]);
                list.extend(["capturep", "-ep", "-t", pane, ";"]);
            }
            let text = match self.run(&list) {
                // A pane that is gone ends the list. Run apart, which takes the server twice as
                // long, its commands alone are passed over.
                Err(TmuxError::NotFound) => self.each_apart(panes.iter().map(|pane| {
                    let target = quoted(pane);
                    let commands = format!(
                        "display-message -p -t {target} {}; capture-pane -e -p -t {target}",
                        quoted(&head)
                    );
                    (pane.clone(), "#{pane_id}".to_string(), commands)
                })),
                text => text,
            };
            match (text, panes) {
                (Err(TmuxError::TooMuch), [pane]) => {
                    log::warn!("Pane {pane} shows more than can be read, going on without");
                }
                (Err(TmuxError::TooMuch), _) => {
                    let (some, others) = panes.split_at(panes.len() / 2);
                    chunks.extend([some, others]);
                }
                (text, _) => found.extend(parse_sights(&text?, &rule)),
            }
        }
        Ok(found)
    }

    /// The last lines of the screen of a pane of the server with this pid, at most `lines`, without
    /// trailing blanks and without the line that tmux itself writes into a dead pane; nothing when
    /// the pane is gone.
    ///
    /// # Errors
    /// tmux fails.
    pub fn screen(&self, pane: &str, server: u32, lines: usize) -> Result<String, TmuxError> {
        // To write into a dead pane, tmux first moves the screen's first line into the history.
        let capture = format!("capture-pane -p -S -1 -t {}", quoted(pane));
        let pane = (pane.to_string(), is_server(server), capture);
        let text = self.each_apart(std::iter::once(pane))?;
        let mut shown: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_filler = |line: &&str| line.is_empty() || line.starts_with("Pane is dead (");
        while shown.last().is_some_and(is_filler) {
            shown.pop();
        }
        let skip = shown.len().saturating_sub(lines);
        Ok(shown[skip..].join("\n"))
    }
}

/// Panes as [`Tmux::sights`] asks for them: each behind a line of `rule`, pid, whether it has
/// ended, its width and height, marks, notes, and what [`Screen::parse`] takes, with tabs in between.
pub fn parse_sights(text: &str, rule: &str) -> HashMap<String, Sight> {
    let mut lines = text.lines().peekable();
    let mut sights = HashMap::new();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix(rule) else {
            continue;
        };
        let mut texts = head.trim_start().splitn(5, '\t');
        let [numbers, marks, typed, words, head] =
            std::array::from_fn(|_| texts.next().unwrap_or_default());
        let shown = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with(rule)));
        let Some((pane, mut screen)) = Screen::parse(head, shown) else {
            continue;
        };
        let hold = numbers.split(' ').nth(4).and_then(Hold::parse);
        let mut numbers = numbers.split(' ').map(str::parse::<u32>);
        let [pid, dead, width, height] =
            std::array::from_fn(|_| numbers.next().and_then(Result::ok).unwrap_or_default());
        screen.size = (width as usize, height as usize);
        let sight = Sight {
            screen,
            pid,
            dead: dead == 1,
            marks: marks.split_whitespace().map(String::from).collect(),
            typed: Typed::parse(typed, pid),
            words: Words::parse(words, pid),
            hold,
        };
        sights.insert(pane, sight);
    }
    sights
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tmux::lab::Lab;

    #[test]
    fn a_huge_pane_hides_no_other() {
        let lab = Lab::new("huge");
        let tmux = &lab.0;
        let one = r"\033[1;4;38;2;201;202;203;48;2;104;105;106mx\033[0;9;38;2;211;212;213;48;2;114;115;116my";
        let line = format!("$(for i in $(seq 300); do printf '{one}'; done)");
        let fill = format!("yes \"{line}\" | head -n 500; exec cat");
        let huge = ["new-session", "-d", "-x", "600", "-y", "450", "-P", "-F"];
        let huge = [&huge[..], &["#{pane_id}", "sh", "-c", &fill]].concat();
        let huge = tmux.run(&huge).unwrap().trim().to_string();
        let scrolled = ["display-message", "-p", "-t", &huge, "#{history_size}"];
        lab.wait("a full screen", |tmux| {
            tmux.run(&scrolled).unwrap().trim().parse::<u32>().unwrap() > 49
        });
        let cat = ["cat".to_string()];
        let small = tmux
            .new_session("small", Path::new("/"), &[], &cat)
            .unwrap();
        let ids = ["%0".to_string(), huge, small.clone(), "%99".to_string()];
        let mut seen: Vec<String> = tmux.sights(&ids).unwrap().into_keys().collect();
        seen.sort();
        assert_eq!(seen, ["%0".to_string(), small]);
    }

    #[test]
    fn a_pane_that_a_person_has_for_something_else_is_told() {
        let lab = Lab::new("hold");
        let hold = || {
            let sights = lab.0.sights(&["%0".to_string()]).unwrap();
            sights["%0"].hold
        };
        assert_eq!(hold(), None);
        lab.0
            .run(&["set-option", "-w", "-t", "%0", "synchronize-panes", "on"])
            .unwrap();
        assert_eq!(hold(), Some(Hold::Synchronized));
        lab.0
            .run(&["set-option", "-w", "-t", "%0", "synchronize-panes", "off"])
            .unwrap();
        // Whoever has left it like this reads no more.
        lab.0.run(&["copy-mode", "-t", "%0"]).unwrap();
        assert_eq!(hold(), None);
        let one = parse_sights("R 8 0 80 24 m\t\t\t\t%1 3 1 1 7 1 vi x\ta\nx\n", "R ");
        assert_eq!(one["%1"].hold, Some(Hold::Mode));
        assert_eq!(one["%1"].screen.size, (80, 24));
    }

    #[test]
    fn panes_are_told_apart() {
        let text = "R 8 0 80 24\t t1 e1\t8 2 a text\t8 5 Be it\t%1 3 1 1 7 1 vi x\ta title\n\x1b[2mhel\x1b[0mlo  \n> R %2\n\n\nR 9 1\t\t8 0 x\t8 5 Be it\t%2 0 0 0 0 0 sh\t\n\n\n";
        let sights = parse_sights(text, "R ");
        assert_eq!(sights.len(), 2);
        let one = &sights["%1"];
        let typed = Typed {
            text: "a text".into(),
            enters: 2,
        };
        assert_eq!((one.pid, one.dead, &one.typed), (8, false, &Some(typed)));
        assert_eq!(one.marks, ["t1", "e1"]);
        assert_eq!(one.words.as_ref().map(|w| w.text.as_str()), Some("Be it"));
        let screen = &one.screen;
        assert_eq!(screen.lines, ["hello", "> R %2"]);
        assert_eq!(screen.solid, ["   lo", "> R %2"]);
        assert_eq!(
            (screen.column, screen.row, screen.cursor, screen.history),
            (3, 1, true, 7)
        );
        assert_eq!((&*screen.command, &*screen.title), ("vi x", "a title"));
        assert!(screen.alternate && !sights["%2"].screen.alternate);
        assert_eq!((screen.size, sights["%2"].screen.size), ((80, 24), (0, 0)));
        // What another process was told says nothing about this one.
        assert_eq!((sights["%2"].dead, &sights["%2"].typed), (true, &None));
        assert_eq!(sights["%2"].words, None);
        assert!(sights["%2"].screen.lines.is_empty());
    }
}
