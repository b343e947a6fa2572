//! The worktrees of refinery and crew are brought up to date between the end of the old agent and
//! the start of the new one: by `gt-agent run`, when a request asked for the start. What a sync
//! that was killed has left is put right at the next start of the agent, requested or not.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::agent::{Agent, Role};
use crate::alert;
use crate::files;
use crate::tools::bd;
use crate::tools::git::{self, Synced};
use crate::tools::{self, Tools};
use crate::town::{self, Town};

/// How the key of an alert about a worktree begins; the agent's instance follows.
pub const ALERT: &str = "presync-";

/// The worktree of one agent.
#[derive(Debug)]
pub struct Worktree {
    town: Town,
    agent: Agent,
    dir: PathBuf,
    branch: String,
    limit: Duration,
    /// A file that is there while a sync moves anything in the worktree.
    record: PathBuf,
    /// Whether the worktree is to be brought up to date.
    asked: bool,
}

impl Worktree {
    /// The worktree of an agent that is about to start, `asked` for or not; `None` if there is
    /// nothing to be done, as for roles whose worktrees are not ours to move.
    pub fn of(town: &Town, agent: &Agent, asked: bool) -> Option<Worktree> {
        let record = town.path("daemon/presync").join(agent.instance());
        let is_ours = matches!(agent.role(), Role::Refinery | Role::Crew);
        if !is_ours || !(asked || files::is_there(&record).unwrap_or(true)) {
            return None;
        }
        // An agent without a worktree of its own works in another agent's, which must not be changed.
        let dir = town.worktree(agent).unwrap_or_else(|e| {
            log::warn!(gt_agent:% = agent; "{e:#}, not syncing the worktree of {agent}");
            None
        })?;
        let branch = town.default_branch(agent.rig()?).unwrap_or_else(|e| {
            log::warn!("{e:#}, using main");
            "main".into()
        });
        Some(Worktree {
            town: town.clone(),
            agent: agent.clone(),
            dir,
            branch,
            limit: town.ours().presync_limit.try_into().unwrap_or_default(),
            record,
            asked,
        })
    }

    /// How long a sync may take in all, with what it must undo.
    pub fn limit(&self) -> Duration {
        self.limit + git::UNDO
    }

    /// Leaves the worktree as it is, because somebody works there already.
    pub fn leave(&self) {
        match files::remove(&self.record) {
            Ok(true) => {
                let why = format!("the last sync was cut off; {}", git::KEPT);
                if let Err(e) = self.raise("is not as it was", &why) {
                    log::warn!("{e:#}, ignoring");
                }
            }
            Ok(false) => {}
            Err(e) => log::warn!("{e:#}, ignoring"),
        }
    }

    /// Counts the syncs in a row that did not work, and tells somebody where there are too many.
    fn count(&self, failure: Option<&str>) -> Result<()> {
        let (agent, dir) = (&self.agent, self.dir.display());
        let path = self
            .record
            .with_file_name(format!("{}.failures", agent.instance()));
        let Some(why) = failure else {
            // The alert first, also where nothing was counted: see `leave`.
            let over = format!("The worktree '{dir}' of {agent} is up to date again");
            alert::clear(&self.town, &self.key(), &over)?;
            files::remove(&path)?;
            return Ok(());
        };
        let before: u32 = files::read(&path)
            .unwrap_or_default()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_default();
        let count = before.saturating_add(1);
        // The alert first, for a full disk has room for it elsewhere.
        if why.contains(git::KEPT) {
            self.raise("is not as it was", why)?;
        } else if count >= self.town.ours().sync_failures {
            let what = format!("could not be brought up to date {count} times in a row");
            self.raise(&what, why)?;
        }
        files::write(&path, format!("{count}\n").as_bytes())
    }

    /// The key of the alert about the worktree.
    fn key(&self) -> String {
        format!("{ALERT}{}", self.agent.instance())
    }

    /// Tells somebody what is wrong with the worktree; until it has been brought up to date.
    fn raise(&self, what: &str, why: &str) -> Result<()> {
        let (agent, dir) = (self.agent.to_string(), self.dir.display());
        let summary = format!(
            "The worktree '{dir}' of {agent} {what}: {why}; try 'git fetch' and 'git status' there"
        );
        let fields = [("GT_AGENT", agent.as_str()), ("GT_REASON", why)];
        alert::raise(&self.town, &self.key(), &summary, &fields)
    }

    /// Brings the worktree up to date, and is cut short once `stop` can be read. A failure is told,
    /// and the agent starts all the same.
    pub fn sync(&self, stop: BorrowedFd<'_>) {
        let begin = Instant::now();
        let (agent, dir) = (&self.agent, self.dir.display());
        let home = match town::home() {
            Ok(home) => home,
            Err(e) => return log::warn!(gt_agent:% = agent; "{e:#}, not syncing '{dir}'"),
        };
        let tools = Tools::locate(&home);
        let right = git::put_right(&tools, &self.dir, &self.record);
        if let Err(why) = &right {
            if let Err(e) = self.count(Some(why)) {
                log::warn!(gt_agent:% = agent; "{e:#}, ignoring");
            }
            log::error!(gt_agent:% = agent, gt_reason = why.as_str();
                "A sync of the worktree '{dir}' of {agent} was cut off, and cannot be undone: {why}");
        }
        if !self.asked {
            return;
        }
        let synced = git::sync(
            &tools,
            &self.dir,
            &self.branch,
            self.limit,
            &self.record,
            Some(stop),
        );
        // A sync that works does not end the alert about what one that was cut off has left.
        let counted = match (&right, &synced) {
            (Ok(()), Ok(Synced::Done)) => self.count(None),
            (Ok(()), Err(why)) => self.count(Some(why)),
            _ => Ok(()),
        };
        if let Err(e) = counted {
            log::warn!(gt_agent:% = agent; "{e:#}, ignoring");
        }
        match synced {
            Ok(Synced::Done) => {}
            Ok(Synced::NoWorktree) => return,
            Err(why) => log::warn!(gt_agent:% = agent, gt_reason = why.as_str();
                "The worktree '{dir}' of {agent} is not up to date, starting it all the same: {why}"),
        }
        let left = self
            .limit
            .saturating_sub(begin.elapsed())
            .min(bd::limit(&self.town));
        let Some(mut bd) = tools.command("bd", &self.dir) else {
            return;
        };
        match tools::run_until(bd.arg("sync"), left, Some(stop)) {
            Ok(out) if out.status.success() => {}
            // Later versions have no such command.
            Ok(out) => log::debug!("'bd sync' in '{dir}' failed: {}", out.complaint()),
            Err(e) => log::warn!(gt_agent:% = agent; "'bd sync' in '{dir}' {e}, ignoring"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    #[test]
    fn a_sync_that_works_ends_what_a_sync_that_was_cut_off_has_left_where_somebody_works() {
        let record = ("daemon/presync/ff-refinery", "");
        let (_dir, town) = town_with(1, &[record, ("ff/refinery/rig/x", "")]);
        let agent = Agent::parse("ff/refinery").unwrap();
        let worktree = Worktree::of(&town, &agent, false).unwrap();
        worktree.leave();
        let is_told = || alert::open(&town).contains(&worktree.key());
        assert!(is_told() && !town.path(record.0).exists());
        worktree.count(None).unwrap();
        assert!(!is_told());
        for told in [false, false, true] {
            worktree.count(Some("no network")).unwrap();
            assert_eq!(is_told(), told);
        }
        worktree.count(None).unwrap();
        worktree.count(Some("no network")).unwrap();
        assert!(!is_told());
        // It cannot be written.
        let count = town.path("daemon/presync/ff-refinery.failures");
        std::fs::remove_file(&count).unwrap();
        std::fs::create_dir(&count).unwrap();
        assert!(worktree.count(Some(git::KEPT)).is_err());
        assert!(is_told());
    }
}
