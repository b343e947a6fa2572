//! What panes show.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread::{Scope, ScopedJoinHandle};

use super::ansi;
use super::keys::{Typed, Words};
use super::panes::{PANE_FORMAT, Pane, parse_pane};
use super::server::{Tmux, TmuxError, classify, is_server, quoted};
use super::{MARKS, TYPED, WORDS};
use crate::files;
use crate::systemd::runtime_dir;

/// The most rows that tmux gives a window.
const ROWS: usize = 10_000;

/// How many panes one call asks for, at most: tmux takes no more than 16 KiB of commands, what
/// the panes show has to fit into [`tools::OUTPUT_LIMIT`], and the server does nothing else meanwhile.
/// Each client costs a server of many sessions more than a hundred screens do: when it leaves, the
/// server goes through all windows.
const SCREENS: usize = 400;

/// What [`Screen::parse`] reads beside what a pane shows, as a format of tmux.
const HEAD: &str = "#{pane_id} #{cursor_x} #{cursor_y} #{cursor_flag} #{history_size} #{alternate_on} \
     #{pane_current_command}\t#{pane_title}";

/// The file with the ids of the panes that the last look has read, below the runtime directory: the
/// next look asks for them in the same call that lists all panes. It may be lost or wrong at any time.
const KNOWN: &str = "gastown/panes";

/// The most that is read of that file, in bytes.
const KNOWN_LIMIT: u64 = 1 << 16;

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

/// What one call tells: panes, and what some of them show.
#[derive(Debug, Default)]
pub struct Glance {
    /// The panes that are listed.
    pub panes: Vec<Pane>,
    /// What is asked about some of them, by pane id.
    pub sights: HashMap<String, Sight>,
}

/// What agents' panes show, by pane.
pub type Sights = Result<HashMap<String, Sight>, TmuxError>;

/// A look at all panes, in a thread of its own: the list of panes comes first, what new ones show
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
    /// A pane's id and its screen: from [`HEAD`], and the lines that `capture-pane -e` prints.
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
    /// Lists all panes and reads what the agents' panes show, in another thread; in one call where
    /// these are the same as at the last look.
    pub fn look<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Look<'scope> {
        let (tell, panes) = mpsc::channel();
        let sights = scope.spawn(move || {
            let known = known();
            let all = |ids: &[String]| match self.glance(&["-a"], ids) {
                Err(TmuxError::NoServer) => Ok(Glance::default()),
                glance => glance,
            };
            let glance = match all(&known) {
                Err(TmuxError::TooMuch) => all(&[]),
                glance => glance,
            };
            let (panes, mut sights) = match glance {
                Ok(glance) => (Ok(glance.panes), glance.sights),
                Err(e) => (Err(e), HashMap::new()),
            };
            let ours = panes.iter().flatten();
            let ours = ours.filter(|pane| !pane.dead && pane.owner.is_some());
            let ours: HashSet<String> = ours.map(|pane| pane.id.clone()).collect();
            // This fails if nobody asks for the list of panes any more.
            let _ = tell.send(panes);
            sights.retain(|id, _| ours.contains(id));
            let new = ours.iter().filter(|id| !sights.contains_key(*id));
            let new: Vec<String> = new.cloned().collect();
            sights.extend(self.sights(&new)?);
            remember(&known, &sights);
            Ok(sights)
        });
        Look { panes, sights }
    }

    /// What panes show, by pane id; one call for up to 400. Panes that are gone are left out.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn screens(&self, panes: &[String]) -> Result<HashMap<String, Screen>, TmuxError> {
        let sights = self.sights(panes)?.into_iter();
        Ok(sights.map(|(id, sight)| (id, sight.screen)).collect())
    }

    /// Panes as they are now, by id; one call for up to 400. Panes that are gone are left out, and
    /// panes that show more than can be read.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn sights(&self, panes: &[String]) -> Sights {
        let mut found = HashMap::new();
        let mut chunks: Vec<Vec<String>> = panes.chunks(SCREENS).map(<[_]>::to_vec).collect();
        while let Some(ids) = chunks.pop() {
            let glance = match &ids[..] {
                [pane] => self.glance(&["-t", pane], &ids),
                _ => self.glance(&["-a"], &ids),
            };
            match (glance, &ids[..]) {
                (Err(TmuxError::TooMuch), [pane]) => {
                    log::warn!("Pane {pane} shows more than can be read, going on without");
                }
                (Err(TmuxError::TooMuch), _) => {
                    let (some, others) = ids.split_at(ids.len() / 2);
                    chunks.extend([some.to_vec(), others.to_vec()]);
                }
                (glance, _) => {
                    let Glance { panes, sights } = glance?;
                    // Behind one that is gone, tmux has not gone on.
                    let there: HashSet<&str> = panes.iter().map(|pane| &*pane.id).collect();
                    let is_left =
                        |id: &&String| there.contains(&***id) && !sights.contains_key(*id);
                    let left: Vec<String> = ids.iter().filter(is_left).cloned().collect();
                    if !left.is_empty() && left.len() < ids.len() {
                        chunks.push(left);
                    }
                    found.extend(sights);
                }
            }
        }
        Ok(found)
    }

    /// Lists the panes that `which` names, arguments of `list-panes`, and reads what panes show,
    /// all at one moment. Of `ids`, the first pane that is gone and all behind it are left out.
    fn glance(&self, which: &[&str], ids: &[String]) -> Result<Glance, TmuxError> {
        // No pane shows this: it is the time of this very call.
        let rule = format!("~{:x}", jiff::Timestamp::now().as_nanosecond());
        // A program chooses its name and its title, so they come last.
        let format = format!(
            "{rule} {PANE_FORMAT}\t#{{pane_width}} #{{pane_height}} \
             #{{?#{{&&:#{{pane_in_mode}},#{{session_attached}}}},m,}}#{{?#{{pane_synchronized}},s,}}\t\
             #{{{MARKS}}}\t#{{{TYPED}}}\t#{{{WORDS}}}\t{HEAD}"
        );
        let end = end(&rule);
        let targets: Vec<String> = ids.iter().map(|id| format!("-ept{id}")).collect();
        let mut commands = vec!["list-panes", "-F", &format];
        commands.extend(which);
        commands.extend([";", "display", "-p", &end]);
        for target in &targets {
            commands.extend([";", "capturep", target]);
        }
        let out = self.output(&commands)?;
        if !out.status.success() {
            match classify(&out) {
                TmuxError::NotFound => {}
                e => return Err(e),
            }
        }
        parse_glance(&out.stdout, &rule, ids)
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

/// The line between the list of panes and what they show.
fn end(rule: &str) -> String {
    format!("{rule} end")
}

/// Panes as [`Tmux::sights`] asks for them: a line of `rule` for each, with the pane, its size and
/// what a person has it for, marks, notes, and [`HEAD`], with tabs in between; a line that ends the
/// list; and the lines of `ids`, as many for each as it has rows.
///
/// # Errors
/// The text has another form.
pub fn parse_glance(text: &str, rule: &str, ids: &[String]) -> Result<Glance, TmuxError> {
    let (list, shown) = text
        .split_once(&format!("{}\n", end(rule)))
        .unwrap_or((text, ""));
    let mut panes = Vec::new();
    let mut heads = HashMap::new();
    // A title may have several lines.
    let lines = list.lines().filter_map(|line| line.strip_prefix(rule));
    for line in lines {
        let mut texts = line.trim_start().splitn(6, '\t');
        let [pane, size, marks, typed, words, head] =
            std::array::from_fn(|_| texts.next().unwrap_or_default());
        let pane = parse_pane(pane)?;
        let hold = size.split(' ').nth(2).and_then(Hold::parse);
        let mut numbers = size.split(' ').map(str::parse::<usize>);
        let [width, height] =
            std::array::from_fn(|_| numbers.next().and_then(Result::ok).unwrap_or_default());
        let sight = Sight {
            screen: Screen {
                size: (width, height),
                ..Screen::default()
            },
            pid: pane.pid,
            dead: pane.dead,
            marks: marks.split_whitespace().map(String::from).collect(),
            typed: Typed::parse(typed, pane.pid),
            words: Words::parse(words, pane.pid),
            hold,
        };
        heads.insert(pane.id.clone(), (sight, head));
        panes.push(pane);
    }
    let mut lines = shown.lines();
    let mut sights = HashMap::new();
    for id in ids {
        let Some((sight, head)) = heads.get(id) else {
            break;
        };
        let size = sight.screen.size;
        let shown: Vec<&str> = lines.by_ref().take(size.1).collect();
        if shown.len() < size.1 {
            break;
        }
        // Options that anybody can set come before the head: a tab in one could name another pane.
        if let Some((_, screen)) = Screen::parse(head, shown).filter(|(pane, _)| pane == id) {
            let screen = Screen { size, ..screen };
            let sight = sight.clone();
            sights.insert(id.clone(), Sight { screen, ..sight });
        }
    }
    match lines.next() {
        None => Ok(Glance { panes, sights }),
        Some(line) => Err(TmuxError::Failed(format!(
            "it showed more than the panes have: '{line}'"
        ))),
    }
}

fn known_path() -> Option<PathBuf> {
    runtime_dir().map(|dir| dir.join(KNOWN))
}

/// The panes that the last look has read.
fn known() -> Vec<String> {
    let text = known_path().map(|path| files::read_untrusted(&path, KNOWN_LIMIT));
    let text = text
        .and_then(|read| read.ok().flatten())
        .unwrap_or_default();
    let is_id = |id: &&str| {
        let number = id.strip_prefix('%');
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let ids = text.split_whitespace().filter(is_id).take(SCREENS);
    ids.map(String::from).collect()
}

/// Keeps the panes that a look has read for the next one; `before`: those of the last one.
fn remember(before: &[String], sights: &HashMap<String, Sight>) {
    let ids: BTreeSet<&str> = sights.keys().map(String::as_str).collect();
    let ids: Vec<&str> = ids.into_iter().take(SCREENS).collect();
    if let Some(path) = known_path().filter(|_| before != ids) {
        // If it fails, the next look takes a call more.
        let _ = files::replace(&path, ids.join(" ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tmux::lab::Lab;

    fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|n| format!("%{n}")).collect()
    }

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
        let text = "R %1 8 0 s g o h 9 1 5 r gt-a\t80 1 m\t\t\t\t%1 3 1 1 7 1 vi x\ta\nR end\nx\n";
        let one = parse_glance(text, "R", &ids(1..2)).unwrap();
        assert_eq!(one.sights["%1"].hold, Some(Hold::Mode));
        assert_eq!(one.sights["%1"].screen.size, (80, 1));
    }

    #[test]
    fn panes_are_told_apart() {
        let text = "R %1 8 0 s g oa h 9 1 5 r gt-a\t80 3\t t1 e1\t8 2 a text\t8 5 Be it\t%1 3 1 1 7 1 vi x\ta title\nof two lines\n\
            R %2 9 1 s g o h 9 1 5 r gt-b\t80 2\t\t8 0 x\t8 5 Be it\t%2 0 0 0 0 0 sh\t\nR end\n\
            \x1b[2mhel\x1b[0mlo  \n> R %2\n\n\n\n";
        let Glance { panes, sights } = parse_glance(text, "R", &ids(1..3)).unwrap();
        let owners: Vec<_> = panes.iter().map(|pane| pane.owner.as_deref()).collect();
        assert_eq!(owners, [Some("a"), None]);
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
        assert_eq!((screen.size, sights["%2"].screen.size), ((80, 3), (80, 2)));
        // What another process was told says nothing about this one.
        assert_eq!((sights["%2"].dead, &sights["%2"].typed), (true, &None));
        assert_eq!(sights["%2"].words, None);
        assert!(sights["%2"].screen.lines.is_empty());
        // Whatever an option of a pane has, its screen is no other pane's.
        let forged = text.replace("80 2\t\t8 0 x\t", "80 2\tx\ty\tz\t%1 0 0 1 0 0 sh\t");
        let sights = parse_glance(&forged, "R", &ids(1..3)).unwrap().sights;
        assert_eq!(sights["%1"].screen.lines, ["hello", "> R %2"]);
        assert!(!sights.contains_key("%2"));
        // Behind a pane that is gone, nothing is read; what nobody asked for is no pane's.
        let asked = ["%9".to_string(), "%1".to_string()];
        let head = text.split_once("hel").unwrap().0;
        let head = head.strip_suffix("\x1b[2m").unwrap();
        let Glance { panes, sights } = parse_glance(head, "R", &asked).unwrap();
        assert_eq!((panes.len(), sights.len()), (2, 0));
        assert!(parse_glance(text, "R", &ids(1..2)).is_err());
        assert!(parse_glance(text, "R", &[]).is_err());
    }

    #[test]
    fn what_a_look_reads_is_read_at_once_by_the_next() {
        let lab = Lab::new("look");
        let tmux = &lab.0;
        tmux.own("%0", "lab").unwrap();
        let cat = ["cat".to_string()];
        let other = tmux
            .new_session("other", Path::new("/"), &[], &cat)
            .unwrap();
        let look = || {
            std::thread::scope(|scope| {
                let look = tmux.look(scope);
                let panes = look.panes().unwrap();
                let mut seen: Vec<String> = look.sights().unwrap().into_keys().collect();
                seen.sort();
                (panes.len(), seen)
            })
        };
        let one = vec!["%0".to_string()];
        assert_eq!([look(), look()], [(2, one.clone()), (2, one.clone())]);
        tmux.own(&other, "lab-other").unwrap();
        let both = vec!["%0".to_string(), other.clone()];
        assert_eq!([look(), look()], [(2, both.clone()), (2, both)]);
        tmux.run(&["kill-session", "-t", "=other"]).unwrap();
        assert_eq!([look(), look()], [(1, one.clone()), (1, one)]);
        // However many rows a pane has, and whatever it shows, the next one's are its own.
        let big = ["new-session", "-d", "-x", "300", "-y", "90", "-P", "-F"];
        let fill = "printf '\\033[31mred\\033[0m\\n'; seq 400; printf 'last \\t%s' line; exec cat";
        let big = [&big[..], &["#{pane_id}", "sh", "-c", fill]].concat();
        let big = tmux.run(&big).unwrap().trim().to_string();
        let asked = [big.clone(), "%0".to_string(), big.clone()];
        lab.wait("a full screen", |tmux| {
            let sights = tmux.sights(&asked[..2]).unwrap();
            sights[&big]
                .screen
                .lines
                .last()
                .is_some_and(|line| line.starts_with("last "))
        });
        let sights = tmux.sights(&asked[..2]).unwrap();
        assert_eq!(sights[&big].screen.size, (300, 90));
        assert_eq!(sights[&big].screen.lines[0], "312");
        assert_eq!(
            sights["%0"].screen.lines,
            lab.0.sights(&asked[1..2]).unwrap()["%0"].screen.lines
        );
        // One that is asked for twice is told once.
        assert_eq!(tmux.sights(&asked).unwrap().len(), 2);
    }
}
