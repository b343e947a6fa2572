//! The worktrees of refinery and crew are brought up to date between the end of the old agent and
//! the start of the new one: by `gt-agent run`, when a request asked for the start.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Role};
use crate::tools::git::{self, Synced};
use crate::tools::{self, Tools};
use crate::town::{self, Town};

/// How long `bd sync` may take.
const BD_LIMIT: Duration = Duration::from_secs(20);

/// The worktree of one agent.
#[derive(Debug)]
pub struct Worktree {
    agent: Agent,
    dir: PathBuf,
    branch: String,
    limit: Duration,
}

impl Worktree {
    /// That of an agent; `None` for roles whose worktrees are not ours to move.
    pub fn of(town: &Town, agent: &Agent) -> Option<Worktree> {
        if !matches!(agent.role(), Role::Refinery | Role::Crew) {
            return None;
        }
        let branch = town.default_branch(agent.rig()?).unwrap_or_else(|e| {
            log::warn!("{e:#}, using main");
            "main".into()
        });
        Some(Worktree {
            agent: agent.clone(),
            dir: town.workdir(agent),
            branch,
            limit: town.ours().presync_limit.try_into().unwrap_or_default(),
        })
    }

    /// How long it may take in all.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Brings it up to date, and is cut short once `stop` can be read. A failure is told, and the
    /// agent starts all the same.
    pub fn sync(&self, stop: BorrowedFd<'_>) {
        let begin = Instant::now();
        let (agent, dir) = (&self.agent, self.dir.display());
        let home = match town::home() {
            Ok(home) => home,
            Err(e) => return log::warn!(gt_agent:% = agent; "{e:#}, not syncing '{dir}'"),
        };
        let tools = Tools::locate(&home);
        match git::sync(&tools, &self.dir, &self.branch, self.limit, Some(stop)) {
            Ok(Synced::Done) => {}
            Ok(Synced::NoWorktree) => return,
            Err(why) => log::warn!(gt_agent:% = agent, gt_reason = why.as_str();
                "The worktree '{dir}' of {agent} is not up to date, starting it all the same: {why}"),
        }
        let left = self.limit.saturating_sub(begin.elapsed()).min(BD_LIMIT);
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
