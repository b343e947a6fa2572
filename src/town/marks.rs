//! The marks that keep agents from running, and the one place that judges them.
//!
//! `ESTOP` and `ESTOP.<rig>` in the town's root, of `gt estop` and ours; `daemon/held/<instance>`
//! of `gastownctl stop`. Each may be empty, or have one line: trigger, time, reason, with tabs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use super::docked::Labels;
use super::{Town, wisp};
use crate::agent::{self, Agent};
use crate::files;

/// The directory of holds, below the town's root.
pub const HELD: &str = "daemon/held";

/// The emergency stop, below the town's root; a rig's has a dot and the rig's name behind it.
pub const ESTOP: &str = "ESTOP";

/// What keeps an agent from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The emergency stop of the town.
    Estop,
    /// The emergency stop of the rig.
    RigEstop,
    /// Somebody stopped this agent.
    Held,
    /// The rig is parked.
    Parked,
    /// The rig is docked.
    Docked,
    /// The rig's setting `auto_restart` is off: nobody starts its agents, not even a person.
    NoAutoRestart,
    /// A file that may hold a mark cannot be read.
    Unknown,
}

impl Mark {
    /// The mark in one word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Estop => "estop",
            Mark::RigEstop => "rig-estop",
            Mark::Held => "held",
            Mark::Parked => "parked",
            Mark::Docked => "docked",
            Mark::NoAutoRestart => "no-auto-restart",
            Mark::Unknown => "unknown",
        }
    }
}

/// Why an agent may not run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What keeps the agent from running.
    pub mark: Mark,
    /// The same in words, with what ends it; begins in lower case.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What is written in a mark. Each text is one line without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// `manual`, `auto`, or a word of its writer.
    pub trigger: Option<String>,
    /// When it was set.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(since) = self.since {
            write!(f, " since {since:.0}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// The longest reason that is shown, in characters.
const REASON_MAX: usize = 200;

/// Reads the text of a mark. No text is an error: the file is a mark by being there.
pub fn parse(text: &str) -> Content {
    let clean = |part: &str| {
        let part: String = part.trim().chars().take(REASON_MAX).collect();
        let part = part.replace(char::is_control, " ");
        (!part.is_empty()).then_some(part)
    };
    let line = text.lines().next().unwrap_or_default();
    let mut parts = line.splitn(3, '\t');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(trigger), Some(since), reason) => Content {
            trigger: clean(trigger),
            since: since.trim().parse().ok(),
            reason: reason.and_then(clean),
        },
        _ => Content {
            reason: clean(line),
            ..Content::default()
        },
    }
}

fn line(reason: &str, now: Timestamp) -> String {
    format!("manual\t{now}\t{}\n", reason.replace(char::is_control, " "))
}

/// The mark at `path`. Whatever is there counts: also a link, a directory, an unreadable file.
///
/// # Errors
/// It is not known whether anything is there.
fn note(path: &Path) -> Result<Option<Content>> {
    if !files::is_there(path)? {
        return Ok(None);
    }
    let text = files::read_untrusted(path, files::ENTRY_LIMIT);
    Ok(Some(parse(&text.ok().flatten().unwrap_or_default())))
}

/// The file that holds an agent.
pub fn held_path(town: &Town, agent: &Agent) -> PathBuf {
    town.path(HELD).join(agent.instance())
}

/// Whether somebody stopped this agent, and why.
///
/// # Errors
/// It is not known whether somebody did.
pub fn held(town: &Town, agent: &Agent) -> Result<Option<Content>> {
    note(&held_path(town, agent))
}

/// Holds the agent: it stays down until [`release`].
///
/// # Errors
/// The mark cannot be written.
pub fn hold(town: &Town, agent: &Agent, reason: &str, now: Timestamp) -> Result<()> {
    files::write(&held_path(town, agent), line(reason, now).as_bytes())
}

/// Ends the hold; tells whether there was one.
///
/// # Errors
/// The mark cannot be removed.
pub fn release(town: &Town, agent: &Agent) -> Result<bool> {
    files::remove(&held_path(town, agent))
}

/// The emergency stop's file, of the town or of one rig.
///
/// # Errors
/// `rig` is not a valid name.
pub fn estop_path(town: &Town, rig: Option<&str>) -> Result<PathBuf> {
    let Some(rig) = rig else {
        return Ok(town.path(ESTOP));
    };
    agent::check_rig(rig)?;
    Ok(town.path(&format!("{ESTOP}.{rig}")))
}

/// Whether there is an emergency stop of the town or of one rig, and why.
///
/// # Errors
/// It is not known whether there is one.
pub fn estop(town: &Town, rig: Option<&str>) -> Result<Option<Content>> {
    note(&estop_path(town, rig)?)
}

/// Sets the emergency stop, of the town or of one rig.
///
/// # Errors
/// `rig` is not a valid name, or the mark cannot be written.
pub fn set_estop(town: &Town, rig: Option<&str>, reason: &str, now: Timestamp) -> Result<()> {
    files::write(&estop_path(town, rig)?, line(reason, now).as_bytes())
}

/// Ends the emergency stop; tells whether there was one.
///
/// # Errors
/// `rig` is not a valid name, or the mark cannot be removed.
pub fn clear_estop(town: &Town, rig: Option<&str>) -> Result<bool> {
    files::remove(&estop_path(town, rig)?)
}

/// The first mark that keeps an agent from running; `None`: it may run. Whoever starts an agent
/// asks here right before, and the files are read then. A mark that is read counts before one that
/// cannot be read.
pub fn refusal(town: &Town, agent: &Agent) -> Option<Refusal> {
    Marks::of(town).refusal(agent)
}

/// The refusal when a mark cannot be read: then nobody is started, and nobody is stopped.
pub fn unknown(why: impl fmt::Display) -> Refusal {
    Refusal {
        mark: Mark::Unknown,
        reason: format!(
            "it is not known whether agents may run: {why:#}; mend that, until then none is started \
             or stopped for it"
        )
        .replace(char::is_control, " "),
    }
}

/// The mark that speaks against an agent, and how; or why that is not known.
type Verdict = Result<Option<(Mark, String)>, String>;

/// The marks of a town, for a look at many agents: each file is read once, when an agent is asked
/// about that it counts for.
#[derive(Debug)]
pub struct Marks<'a> {
    town: &'a Town,
    /// By rig; `None` is the whole town.
    estops: Shared<Option<String>, Result<Option<Content>, String>>,
    holds: Shared<Agent, Result<Option<Content>, String>>,
    rigs: Shared<String, Verdict>,
    labels: Shared<(), Result<Labels, String>>,
    /// The names in the directory of holds, and in that of the rigs' settings, if they were listed.
    listed: [Option<BTreeSet<OsString>>; 2],
}

impl<'a> Marks<'a> {
    /// The marks of a town, with both directories listed first: for a look at all agents.
    pub fn listed(town: &'a Town) -> Marks<'a> {
        Marks {
            listed: [HELD, wisp::DIR].map(|dir| files::listing(&town.path(dir))),
            ..Marks::of(town)
        }
    }

    /// The marks of a town; nothing is read yet.
    pub fn of(town: &'a Town) -> Marks<'a> {
        Marks {
            town,
            estops: Shared::default(),
            holds: Shared::default(),
            rigs: Shared::default(),
            labels: Shared::default(),
            listed: [None, None],
        }
    }

    /// As [`refusal`], but each file is read only once.
    pub fn refusal(&self, agent: &Agent) -> Option<Refusal> {
        self.judged(agent).next()
    }

    /// All that speaks against the agent, the first of which is its [`refusal`].
    pub fn refusals(&self, agent: &Agent) -> Vec<Refusal> {
        self.judged(agent).collect()
    }

    fn judged<'b>(&'b self, agent: &'b Agent) -> impl Iterator<Item = Refusal> + 'b {
        let judges = [
            Self::by_estop,
            Self::by_rig_estop,
            Self::by_hold,
            Self::by_rig,
        ];
        let mut unknown = None;
        let mut judges = judges.into_iter();
        std::iter::from_fn(move || {
            for judge in judges.by_ref() {
                match judge(self, agent) {
                    Ok(None) => {}
                    Ok(Some((mark, reason))) => return Some(Refusal { mark, reason }),
                    Err(why) => unknown = unknown.take().or(Some(why)),
                }
            }
            unknown.take().as_deref().map(self::unknown)
        })
    }

    /// What the settings of a rig, and the label of its bead, say against its agents.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of_rig(&self, rig: &str) -> Result<Option<Refusal>> {
        let found = self.rig(rig).map_err(|why| anyhow!("{why}"))?;
        Ok(found.map(|(mark, reason)| Refusal { mark, reason }))
    }

    /// As [`estop`], read once.
    ///
    /// # Errors
    /// As [`estop`].
    pub fn estop(&self, rig: Option<&str>) -> Result<Option<Content>, String> {
        let key = rig.map(String::from);
        self.estops.get(&key, || known(estop(self.town, rig)))
    }

    /// As [`held`], read once.
    ///
    /// # Errors
    /// As [`held`].
    pub fn held(&self, agent: &Agent) -> Result<Option<Content>, String> {
        let [holds, _] = &self.listed;
        if lacks(holds, &agent.instance()) {
            return Ok(None);
        }
        self.holds.get(agent, || known(held(self.town, agent)))
    }

    fn by_estop(&self, _: &Agent) -> Verdict {
        let said =
            |note| format!("the town has an emergency stop{note}; 'gastownctl thaw' ends it");
        let found = self.estop(None)?;
        Ok(found.map(|note| (Mark::Estop, said(note))))
    }

    fn by_rig_estop(&self, agent: &Agent) -> Verdict {
        let Some(rig) = agent.rig() else {
            return Ok(None);
        };
        let said = |note| {
            format!("rig {rig} has an emergency stop{note}; 'gastownctl thaw {rig}' ends it")
        };
        let found = self.estop(Some(rig))?;
        Ok(found.map(|note| (Mark::RigEstop, said(note))))
    }

    fn by_hold(&self, agent: &Agent) -> Verdict {
        let said = |note| format!("it is held{note}; 'gastownctl start {agent}' ends it");
        let found = self.held(agent)?;
        Ok(found.map(|note| (Mark::Held, said(note))))
    }

    fn by_rig(&self, agent: &Agent) -> Verdict {
        agent.rig().map_or(Ok(None), |rig| self.rig(rig))
    }

    fn rig(&self, rig: &str) -> Verdict {
        self.rigs.get(&rig.to_string(), || {
            let [_, wisps] = &self.listed;
            let wisp = match lacks(wisps, &wisp::name(rig)) {
                true => wisp::Wisp::default(),
                false => known(wisp::load(self.town, rig))?,
            };
            let labels = self.labels.get(&(), || known(Labels::load(self.town)))?;
            Ok(by_settings(rig, &wisp, labels.of(rig)))
        })
    }
}

/// What the settings of a rig on this machine, and the label of its bead, say against its agents.
fn by_settings(rig: &str, wisp: &wisp::Wisp, label: Option<&str>) -> Option<(Mark, String)> {
    match (wisp.status.as_deref(), label) {
        (Some("parked"), _) => Some((
            Mark::Parked,
            format!("rig {rig} is parked; 'gastownctl unpark {rig}' ends it"),
        )),
        (_, Some("parked")) => Some((
            Mark::Parked,
            format!("rig {rig} is parked, by a label of its bead; 'gt rig unpark {rig}' ends it"),
        )),
        (Some("docked"), _) | (_, Some("docked")) => Some((
            Mark::Docked,
            format!("rig {rig} is docked; 'gt rig undock {rig}' ends it"),
        )),
        _ if !wisp.auto_restart => Some((
            Mark::NoAutoRestart,
            format!("auto_restart of rig {rig} is off; set it by 'gt rig config'"),
        )),
        _ => None,
    }
}

/// Whether a directory was listed and has no file of this name.
fn lacks(listed: &Option<BTreeSet<OsString>>, name: &str) -> bool {
    listed
        .as_ref()
        .is_some_and(|names| !names.contains(OsStr::new(name)))
}

fn known<T>(read: Result<T>) -> Result<T, String> {
    read.map_err(|e| format!("{e:#}"))
}

/// Values that are read once per key.
#[derive(Debug)]
struct Shared<K, V>(RefCell<BTreeMap<K, V>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Shared(RefCell::default())
    }
}

impl<K: Clone + Ord, V: Clone> Shared<K, V> {
    fn get(&self, key: &K, read: impl FnOnce() -> V) -> V {
        if let Some(value) = self.0.borrow().get(key) {
            return value.clone();
        }
        let value = read();
        self.0.borrow_mut().insert(key.clone(), value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// As [`refusal`]; a look at many agents says the same.
    fn judged(town: &Town, agent: &Agent) -> Option<Refusal> {
        let refusal = refusal(town, agent);
        assert_eq!(Marks::listed(town).refusal(agent), refusal);
        refusal
    }

    #[test]
    fn any_text_is_a_note() {
        let long = "x".repeat(5000);
        for (text, trigger, since, reason) in [
            ("", None, None, None),
            ("\n", None, None, None),
            (
                "manual\t2026-04-30T08:00:00Z\trunaway costs\nmore",
                Some("manual"),
                Some("2026-04-30T08:00:00Z"),
                Some("runaway costs"),
            ),
            ("auto\tsoon", Some("auto"), None, None),
            ("disk full\u{1b}[2J", None, None, Some("disk full [2J")),
            ("a\tb\tc\td", Some("a"), None, Some("c d")),
            (&long, None, None, Some(&long[..REASON_MAX])),
        ] {
            let want = Content {
                trigger: trigger.map(String::from),
                since: since.map(at),
                reason: reason.map(String::from),
            };
            assert_eq!(parse(text), want, "{text:?}");
        }
    }

    /// One file each, with its content, and who is refused by it.
    #[test]
    fn who_may_run() {
        let wisp = ".beads-wisp/config/gastown.json";
        let all = [
            "deacon",
            "gastown/witness",
            "gastown/crew/max",
            "other/witness",
        ];
        let rig = &all[1..3];
        for (file, content, mark, refused) in [
            ("nothing", "", None, &[][..]),
            ("ESTOP", "", Some(Mark::Estop), &all[..]),
            (
                "ESTOP.gastown",
                "manual\t2026-04-30T08:00:00Z\tx",
                Some(Mark::RigEstop),
                rig,
            ),
            (
                "daemon/held/gastown-witness",
                "",
                Some(Mark::Held),
                &all[1..2],
            ),
            (
                "daemon/held/deacon",
                "junk\u{0}",
                Some(Mark::Held),
                &all[..1],
            ),
            (
                wisp,
                r#"{"values":{"status":"parked"}}"#,
                Some(Mark::Parked),
                rig,
            ),
            (
                wisp,
                r#"{"values":{"status":"docked"}}"#,
                Some(Mark::Docked),
                rig,
            ),
            (
                wisp,
                r#"{"values":{"auto_restart":false}}"#,
                Some(Mark::NoAutoRestart),
                rig,
            ),
            (wisp, r#"{"values":{"status":"open"}}"#, None, &[]),
            (wisp, "", Some(Mark::Unknown), rig),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let town = Town::at(dir.path(), None).unwrap();
            files::write(&town.path(file), content.as_bytes()).unwrap();
            for name in all {
                let got = judged(&town, &Agent::parse(name).unwrap());
                let want = mark.filter(|_| refused.contains(&name));
                assert_eq!(
                    got.as_ref().map(|r| r.mark),
                    want,
                    "{file} {content} {name}"
                );
                assert!(got.is_none_or(|r| !r.reason.contains('\n')));
            }
        }
    }

    #[test]
    fn a_mark_counts_whatever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let deacon = Agent::deacon();
        fs::create_dir_all(town.path("daemon/held")).unwrap();
        std::os::unix::fs::symlink("/nowhere", held_path(&town, &deacon)).unwrap();
        assert_eq!(held(&town, &deacon).unwrap(), Some(Content::default()));
        fs::create_dir(town.path("ESTOP")).unwrap();
        assert_eq!(refusal(&town, &deacon).unwrap().mark, Mark::Estop);
    }

    /// A directory that cannot be looked into: a link to itself, which binds root too.
    #[test]
    fn what_cannot_be_read_is_no_mark_and_no_leave() {
        for dir in ["daemon/held", "daemon", ".beads-wisp/config", ".beads-wisp"] {
            let root = tempfile::tempdir().unwrap();
            let town = Town::at(root.path(), None).unwrap();
            let path = town.path(dir);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let agent = Agent::parse("gastown/witness").unwrap();
            let refused = judged(&town, &agent).unwrap();
            assert_eq!(refused.mark, Mark::Unknown, "{dir}");
            assert!(refused.reason.contains(dir), "{dir}: {}", refused.reason);
            // What is known counts nevertheless.
            fs::write(town.path("ESTOP.gastown"), "").unwrap();
            let refused = judged(&town, &agent).unwrap();
            assert_eq!(refused.mark, Mark::RigEstop, "{dir}");
        }
    }

    #[test]
    fn set_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let agent = Agent::parse("a-b/witness").unwrap();
        let now = at("2026-04-30T08:00:00Z");

        hold(&town, &agent, "over\tbudget\n", now).unwrap();
        assert!(town.path(r"daemon/held/a\x2db-witness").exists());
        assert_eq!(
            refusal(&town, &agent).unwrap().reason,
            "it is held since 2026-04-30T08:00:00Z (over budget); \
             'gastownctl start a-b/witness' ends it"
        );
        assert!(release(&town, &agent).unwrap());
        assert!(!release(&town, &agent).unwrap());

        set_estop(&town, Some("a-b"), "", now).unwrap();
        let note = estop(&town, Some("a-b")).unwrap();
        assert_eq!(note.unwrap().since, Some(now));
        assert!(estop(&town, None).unwrap().is_none());
        assert!(clear_estop(&town, Some("a-b")).unwrap());
        assert!(set_estop(&town, Some("../x"), "", now).is_err());
        assert_eq!(refusal(&town, &agent), None);
    }
}
