//! What panes show.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread::Scope;

use super::ansi;
use super::keys::{Typed, Words};
use super::panes::{PANE_FORMAT, Pane, parse_pane};
use super::server::{Tmux, TmuxError, classify, is_server, quoted};
use super::{HELD, MARKS, TYPED, WORDS};
use crate::files;
use crate::systemd::runtime_dir;

/// The most rows that tmux gives a window.
const ROWS: usize = 10_000;

/// The most that one call takes of commands that ask for screens, in bytes: tmux takes no more than
/// 16 KiB in all. A call asks for as many panes as it can: each client costs a server of many sessions
/// more than a hundred screens do, for when it leaves, the server goes through all windows.
const COMMANDS: usize = 15_000;

/// How much text of screens a call should bring, in bytes: it is held in memory, and while the
/// server writes it, the server does nothing else.
const TEXT: usize = 2 << 20;

/// How much text a screen is taken to be until one has been read, in bytes.
const USUAL: usize = 5 << 10;

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

/// What one call tells: panes, and what some of them show. Their screens are taken apart one by one,
/// as they are looked at: a thousand at once would be many megabytes.
#[derive(Debug, Default)]
pub struct Glance {
    /// The panes that are listed.
    pub panes: Vec<Pane>,
    /// All that tmux has printed.
    text: String,
    /// Of each pane that was asked for and is there: its id, and where in the text its line of the
    /// list and its screen are.
    shown: Vec<(String, Range<usize>, Range<usize>)>,
}

impl Glance {
    /// What the panes show that were asked for, each with its id.
    pub fn sights(&self) -> impl Iterator<Item = (&str, Sight)> {
        self.shown.iter().filter_map(|(id, line, screen)| {
            let shown = self.text[screen.clone()].lines();
            let (pane, sight) = Sight::parse(&self.text[line.clone()], shown)?;
            // Options that anybody can set come before the head: a tab in one could name another pane.
            (pane == *id).then_some((&**id, sight))
        })
    }

    /// How much text a screen is here, in bytes.
    fn each(&self) -> usize {
        let sizes = self.shown.iter().map(|(.., screen)| screen.len());
        sizes
            .sum::<usize>()
            .checked_div(self.shown.len())
            .unwrap_or(USUAL)
    }
}

/// What panes show, by their ids.
pub type Sights = Result<HashMap<String, Sight>, TmuxError>;

/// A look at all panes, in a thread of its own: the list of panes comes first, what the agents' panes
/// show later.
#[derive(Debug)]
pub struct Look {
    panes: Receiver<Result<Vec<Pane>, TmuxError>>,
    glances: Receiver<Result<Glance, TmuxError>>,
}

impl Look {
    /// Waits for the list of all panes; to be called once.
    ///
    /// # Errors
    /// As of [`Tmux::panes`].
    pub fn panes(&self) -> Result<Vec<Pane>, TmuxError> {
        let ended_early = |_| Err(TmuxError::Failed("the look at it ended early".into()));
        self.panes.recv().unwrap_or_else(ended_early)
    }

    /// Waits for what the agents' panes show, and gives it to `see`, pane by pane.
    ///
    /// # Errors
    /// As of [`Tmux::sights`]: what was seen until then holds.
    pub fn sights(self, mut see: impl FnMut(&str, Sight)) -> Result<(), TmuxError> {
        for glance in self.glances {
            glance?.sights().for_each(|(pane, sight)| see(pane, sight));
        }
        Ok(())
    }
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

impl Sight {
    /// A pane's id and the sight of it: from its line of the list, see [`parse_glance`], and the lines
    /// that `capture-pane -e` prints.
    fn parse<'a>(line: &str, shown: impl IntoIterator<Item = &'a str>) -> Option<(String, Sight)> {
        let [pane, place, marks, typed, words, head] = fields(line);
        let pane = parse_pane(pane).ok()?;
        let (id, screen) = Screen::parse(head, shown)?;
        let size = (number(place, 0), number(place, 1));
        let sight = Sight {
            screen: Screen { size, ..screen },
            pid: pane.pid,
            dead: pane.dead,
            marks: marks.split_whitespace().map(String::from).collect(),
            typed: Typed::parse(typed, pane.pid),
            words: Words::parse(words, pane.pid),
            hold: place.split(' ').nth(2).and_then(Hold::parse),
        };
        Some((id, sight))
    }
}

impl Tmux {
    /// Lists all panes and reads what the agents' panes show, in another thread; in one call where
    /// these are the same as at the last look, and not too many for one.
    pub fn look<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Look {
        let (tell, panes) = mpsc::channel();
        // While one glance is gone through, the next one is fetched, and no more.
        let (show, glances) = mpsc::sync_channel(0);
        scope.spawn(move || {
            let known = known();
            let all = |ids: &[String]| match self.glance(&["-a"], ids) {
                Err(TmuxError::NoServer) => Ok(Glance::default()),
                glance => glance,
            };
            let glance = match all(&known) {
                Err(TmuxError::TooMuch) => all(&[]),
                glance => glance,
            };
            // What is told is lost if nobody asks for it any more.
            let mut glance = match glance {
                Ok(glance) => glance,
                Err(e) => {
                    let _ = tell.send(Err(e));
                    return;
                }
            };
            let ours = glance.panes.iter();
            let ours = ours.filter(|pane| !pane.dead && pane.owner.is_some());
            let mut ours: Vec<String> = ours.map(|pane| pane.id.clone()).collect();
            ours.sort();
            ours.dedup();
            if tell.send(Ok(std::mem::take(&mut glance.panes))).is_err() {
                return;
            }
            let is_ours = |id: &String| ours.binary_search(id).is_ok();
            glance.shown.retain(|(id, ..)| is_ours(id));
            let mut each = glance.each();
            let mut read: BTreeSet<String> =
                glance.shown.iter().map(|(id, ..)| id.clone()).collect();
            let new = ours.iter().filter(|id| !read.contains(*id));
            let new: Vec<String> = new.cloned().collect();
            _ = show.send(Ok(glance));
            let rest = self.glances(&new, each, |glance| {
                each = each.max(glance.each());
                read.extend(glance.shown.iter().map(|(id, ..)| id.clone()));
                _ = show.send(Ok(glance));
            });
            match rest {
                Ok(()) => remember(&known, &Vec::from_iter(read), each),
                Err(e) => _ = show.send(Err(e)),
            }
        });
        Look { panes, glances }
    }

    /// What panes show, by pane id; one call for hundreds. Panes that are gone are left out.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn screens(&self, panes: &[String]) -> Result<HashMap<String, Screen>, TmuxError> {
        let sights = self.sights(panes)?.into_iter();
        Ok(sights.map(|(id, sight)| (id, sight.screen)).collect())
    }

    /// Panes as they are now, by id; one call for hundreds. Panes that are gone are left out, and
    /// panes that show more than can be read.
    ///
    /// # Errors
    /// As for [`Tmux::strike`].
    pub fn sights(&self, panes: &[String]) -> Sights {
        let mut found = HashMap::new();
        self.glances(panes, USUAL, |glance| {
            let sights = glance.sights();
            found.extend(sights.map(|(id, sight)| (id.to_string(), sight)));
        })?;
        Ok(found)
    }

    /// Reads what panes show, in as few calls as that takes. `each`: how much text one is, in bytes.
    fn glances(
        &self,
        panes: &[String],
        mut each: usize,
        mut tell: impl FnMut(Glance),
    ) -> Result<(), TmuxError> {
        let mut left: Vec<Vec<String>> = vec![panes.to_vec()];
        while let Some(mut ids) = left.pop() {
            let more = ids.split_off(fitting(&ids, each));
            if !more.is_empty() {
                left.push(more);
            }
            let glance = match &ids[..] {
                [] => continue,
                [pane] => self.glance(&["-t", pane], &ids),
                _ => self.glance(&["-a", "-f", &between(&ids)], &ids),
            };
            match (glance, &ids[..]) {
                (Err(TmuxError::TooMuch), [pane]) => {
                    log::warn!("Pane {pane} shows more than can be read, going on without");
                }
                (Err(TmuxError::TooMuch), _) => {
                    let half = ids.split_off(ids.len() / 2);
                    left.extend([half, ids]);
                }
                (glance, _) => {
                    let glance = glance?;
                    each = glance.each();
                    // Behind one that is gone, tmux has not gone on.
                    let there: HashSet<&str> = glance.panes.iter().map(|pane| &*pane.id).collect();
                    let read: HashSet<&str> = glance.shown.iter().map(|(id, ..)| &**id).collect();
                    let is_left = |id: &&String| there.contains(&***id) && !read.contains(&***id);
                    let again: Vec<String> = ids.iter().filter(is_left).cloned().collect();
                    if !again.is_empty() && again.len() < ids.len() {
                        left.push(again);
                    }
                    tell(glance);
                }
            }
        }
        Ok(())
    }

    /// Lists the panes that `which` names, arguments of `list-panes`, and reads what panes show,
    /// all at one moment. Of `ids`, the first pane that is gone and all behind it are left out.
    fn glance(&self, which: &[&str], ids: &[String]) -> Result<Glance, TmuxError> {
        // No pane shows this: it is the time of this very call.
        let rule = format!("~{:x}", jiff::Timestamp::now().as_nanosecond());
        // A program chooses its name and its title, so they come last.
        let format = format!(
            "{rule} {PANE_FORMAT}\t#{{pane_width}} #{{pane_height}} {HELD}\t\
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
        parse_glance(out.stdout, &rule, ids)
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

/// How many of the first of these panes one call can ask for, at least one. `each`: how much text a
/// screen is, in bytes.
fn fitting(ids: &[String], each: usize) -> usize {
    let mut room = COMMANDS;
    let by_commands = ids.iter().take_while(|id| {
        let cost = "capturep -ept ; ".len() + id.len();
        room.checked_sub(cost).map(|left| room = left).is_some()
    });
    by_commands
        .count()
        .min(TEXT / each.max(1))
        .max(1)
        .min(ids.len())
}

/// A filter of tmux for the panes from the first to the last of these, by the letters of their ids:
/// what is listed of a pane costs the server as much as its screen.
fn between(ids: &[String]) -> String {
    let end = |id: Option<&String>| id.cloned().unwrap_or_default();
    let (first, last) = (end(ids.iter().min()), end(ids.iter().max()));
    format!("#{{&&:#{{>=:#{{pane_id}},{first}}},#{{<=:#{{pane_id}},{last}}}}}")
}

/// The fields of a pane's line in the list, see [`parse_glance`].
fn fields(line: &str) -> [&str; 6] {
    let mut texts = line.trim_start().splitn(6, '\t');
    std::array::from_fn(|_| texts.next().unwrap_or_default())
}

/// The number at `at` among numbers with blanks in between; 0 if there is none.
fn number(text: &str, at: usize) -> usize {
    let number = text.split(' ').nth(at).map(str::parse);
    number.and_then(Result::ok).unwrap_or_default()
}

/// Panes as [`Tmux::sights`] asks for them: a line of `rule` for each, with the pane, its size and
/// what a person has it for, marks, notes, and [`HEAD`], with tabs in between; a line that ends the
/// list; and the lines of `ids`, as many for each as it has rows.
///
/// # Errors
/// The text has another form.
pub fn parse_glance(text: String, rule: &str, ids: &[String]) -> Result<Glance, TmuxError> {
    let end = format!("{}\n", end(rule));
    let (list, mut at) = match text.find(&end) {
        Some(at) => (at, at + end.len()),
        None => (text.len(), text.len()),
    };
    let mut panes = Vec::new();
    let mut lines = HashMap::new();
    let mut start = 0;
    for line in text[..list].split_inclusive('\n') {
        let place = start + rule.len()..start + line.trim_end_matches('\n').len();
        start += line.len();
        // A title may have several lines.
        if let Some(line) = line.strip_prefix(rule) {
            let [pane, size, ..] = fields(line);
            let pane = parse_pane(pane)?;
            lines.insert(pane.id.clone(), (place, number(size, 1)));
            panes.push(pane);
        }
    }
    let mut shown = Vec::new();
    for id in ids {
        let Some((line, rows)) = lines.get(id) else {
            break;
        };
        let mut ends = text[at..].match_indices('\n').map(|(end, _)| at + end + 1);
        let Some(end) = rows.checked_sub(1).and_then(|last| ends.nth(last)) else {
            break;
        };
        shown.push((id.clone(), line.clone(), at..end));
        at = end;
    }
    match text[at..].lines().next() {
        None => Ok(Glance { panes, text, shown }),
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
    let ids = text.split_whitespace().filter(is_id);
    let mut ids: Vec<String> = ids.map(String::from).collect();
    ids.truncate(fitting(&ids, 1));
    ids
}

/// Keeps which panes the next look can ask for in its first call; `before`: those of this one's.
/// `each`: how much text a screen is, in bytes.
fn remember(before: &[String], read: &[String], each: usize) {
    let ids = &read[..fitting(read, each)];
    if let Some(path) = known_path().filter(|_| before != ids) {
        // If it fails, the next look takes a call more.
        let _ = files::replace(&path, ids.join(" ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Stdio;

    use super::*;
    use crate::tmux::lab::Lab;
    use crate::tmux::{Keys, Strokes};

    fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|n| format!("%{n}")).collect()
    }

    fn parsed(
        text: &str,
        ids: &[String],
    ) -> Result<(Vec<Pane>, HashMap<String, Sight>), TmuxError> {
        let glance = parse_glance(text.into(), "R", ids)?;
        let sights = glance.sights().map(|(id, sight)| (id.to_string(), sight));
        let sights = sights.collect();
        Ok((glance.panes, sights))
    }

    #[test]
    fn a_call_asks_for_what_it_can() {
        for (panes, each, want) in [
            (0, 1, 0),
            (3, 1, 3),
            (3, TEXT / 2, 2),
            (3, TEXT * 2, 1),
            (9999, 1, 755),
            (9999, USUAL, 409),
        ] {
            assert_eq!(fitting(&ids(0..panes), each), want, "{panes} of {each}");
        }
        // tmux takes 16 KiB, with the format of the list.
        let most: usize = ids(90_000..99_999)[..fitting(&ids(90_000..99_999), 1)]
            .iter()
            .map(|id| format!(" ; capturep -ept{id}").len())
            .sum();
        assert!(
            most + PANE_FORMAT.len() + HEAD.len() + 500 < 16_000,
            "{most}"
        );
    }

    #[test]
    fn panes_that_take_many_calls_are_each_told_once() {
        let lab = Lab::new("many");
        let tmux = &lab.0;
        let mut all = vec!["%0".to_string()];
        for n in 1..6 {
            let cat = ["sh", "-c", &format!("echo pane {n}; exec cat")].map(String::from);
            let name = format!("many{n}");
            all.push(tmux.new_session(&name, Path::new("/"), &[], &cat).unwrap());
        }
        let shows = |n: usize, sight: &Sight| n == 0 || sight.screen.lines == [format!("pane {n}")];
        lab.wait("all screens", |tmux| {
            let sights = tmux.sights(&all).unwrap();
            (0..6).all(|n| shows(n, &sights[&all[n]]))
        });
        tmux.run(&["kill-session", "-t", "=many3"]).unwrap();
        for each in [TEXT, TEXT / 2, TEXT / 4, 1] {
            let mut told = Vec::new();
            let all = all.iter().rev().cloned().collect::<Vec<_>>();
            // Each call is about screens as large as the first one is taken to be.
            let seen = tmux.glances(&all, each, |glance| {
                told.extend(glance.sights().map(|(id, sight)| (id.to_string(), sight)));
            });
            seen.unwrap();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            let ids: Vec<&str> = told.iter().map(|(id, _)| &**id).collect();
            assert_eq!(ids, ["%0", "%1", "%2", "%4", "%5"], "{each}");
            for (id, sight) in &told {
                assert!(shows(id[1..].parse().unwrap(), sight), "{id}: {sight:?}");
            }
        }
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
        // Who has looked before that types nothing there.
        let pid = lab.0.panes().unwrap()[0].pid;
        let gets_no_keys = || {
            let typed = Typed {
                text: "x".into(),
                enters: 0,
            };
            let strokes = Strokes {
                pane: "%0".into(),
                pid,
                cursor: (0, 0),
                keys: Keys::Text("x".into()),
                typed: Some(typed),
                mark: None,
            };
            lab.0.strike(&[strokes]).unwrap();
            lab.0.sights(&["%0".to_string()]).unwrap()["%0"]
                .typed
                .is_none()
        };
        assert_eq!(hold(), None);
        lab.0
            .run(&["set-option", "-w", "-t", "%0", "synchronize-panes", "on"])
            .unwrap();
        assert_eq!(hold(), Some(Hold::Synchronized));
        assert!(gets_no_keys());
        lab.0
            .run(&["set-option", "-w", "-t", "%0", "synchronize-panes", "off"])
            .unwrap();
        // Whoever has left it like this reads no more.
        lab.0.run(&["copy-mode", "-t", "%0"]).unwrap();
        assert_eq!(hold(), None);
        // Not even who is attached to a session that shares its windows.
        lab.0.run(&["copy-mode", "-t", "%0"]).unwrap();
        let share = ["new-session", "-d", "-s", "a-look", "-t", "=first"];
        lab.0.run(&share).unwrap();
        let mut client = lab.0.command();
        client.args(["-N", "-C", "attach-session", "-t", "=a-look"]);
        let mut client = client
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let all = ["%0", "%9"].map(String::from);
        lab.wait("the hold", |_| hold() == Some(Hold::Mode));
        assert_eq!(lab.0.sights(&all).unwrap()["%0"].hold, Some(Hold::Mode));
        assert!(gets_no_keys());
        assert_eq!(hold(), Some(Hold::Mode));
        drop(client.stdin.take());
        client.wait().unwrap();
        let text = "R %1 8 0 s g o h 9 1 5 r gt-a\t80 1 m\t\t\t\t%1 3 1 1 7 1 vi x\ta\nR end\nx\n";
        let (_, one) = parsed(text, &ids(1..2)).unwrap();
        assert_eq!(one["%1"].hold, Some(Hold::Mode));
        assert_eq!(one["%1"].screen.size, (80, 1));
    }

    #[test]
    fn panes_are_told_apart() {
        let text = "R %1 8 0 s g oa h 9 1 5 r gt-a\t80 3\t t1 e1\t8 2 a text\t8 5 Be it\t%1 3 1 1 7 1 vi x\ta title\nof two lines\n\
            R %2 9 1 s g o h 9 1 5 r gt-b\t80 2\t\t8 0 x\t8 5 Be it\t%2 0 0 0 0 0 sh\t\nR end\n\
            \x1b[2mhel\x1b[0mlo  \n> R %2\n\n\n\n";
        let (panes, sights) = parsed(text, &ids(1..3)).unwrap();
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
        let (_, sights) = parsed(&forged, &ids(1..3)).unwrap();
        assert_eq!(sights["%1"].screen.lines, ["hello", "> R %2"]);
        assert!(!sights.contains_key("%2"));
        // Behind a pane that is gone, nothing is read; what nobody asked for is no pane's.
        let asked = ["%9".to_string(), "%1".to_string()];
        let head = text.split_once("hel").unwrap().0;
        let head = head.strip_suffix("\x1b[2m").unwrap();
        let (panes, sights) = parsed(head, &asked).unwrap();
        assert_eq!((panes.len(), sights.len()), (2, 0));
        assert!(parsed(text, &ids(1..2)).is_err());
        assert!(parsed(text, &[]).is_err());
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
                let mut seen = Vec::new();
                look.sights(|id, _| seen.push(id.to_string())).unwrap();
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
