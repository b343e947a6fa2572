//! `gastownctl status`: what the town is like at this moment.
//!
//! - [`model`]: the answer; [`agent`]: one agent's part of it.
//! - [`collect`]: asks the manager, tmux and the files; [`problems`]: what is wrong.
//! - [`table`] and [`depth`]: how the town, and one agent, are shown.

mod agent;
mod collect;
mod depth;
mod model;
mod problems;
mod table;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;

use super::{cli, directory, output, paint, words};
use crate::agent::{Agent, UNITS};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::Town;
use crate::town::env_file::locate;
pub use agent::{AgentStatus, elsewhere, frozen_for_good, last_end};
pub use collect::collect;
pub use model::{Queue, Status, Target, Ticks};
pub use problems::{forget, is_on, is_own, short_lived, two_towns};

/// How often `--watch` looks.
const REFRESH: Duration = Duration::from_secs(2);

/// Prints the status as asked.
///
/// # Errors
/// The town cannot be read, or there is no such agent or rig.
pub fn run(args: &cli::Status) -> Result<Exit> {
    loop {
        let town = match Town::load() {
            Ok(town) => town,
            Err(e) => return without_town(args, e),
        };
        let systemd = Systemd::connect();
        let units = || systemd.as_ref().ok()?.units(&[UNITS]).ok();
        let listed = || directory::listed(&town, units().as_ref());
        let has_agents = |name: &str| listed().iter().any(|agent| agent.rig() == Some(name));
        let is_rig = |name: &str| directory::is_rig(&town, name, || has_agents(name));
        let agent = args.agent.as_ref().filter(|name| !is_rig(name.as_str()));
        let agent = agent
            .map(|name| directory::find(&town, systemd.as_ref().ok(), name))
            .transpose()?;
        let why = systemd.as_ref().map_err(|e| format!("{e:#}"));
        let mut status = collect(&town, why, agent.as_ref());
        match (&agent, &args.agent) {
            (Some(agent), _) if args.check || args.problems => status.narrow(&agent.to_string()),
            (None, Some(rig)) => status.narrow(rig),
            _ => {}
        }
        if agent.is_some() || args.check || args.problems {
            status.foresee(&town, agent.as_ref());
        }
        let exit = match (&systemd, args.check) {
            (Err(_), _) => Exit::NoManager,
            (Ok(_), true) => status.verdict(),
            (Ok(_), false) => Exit::Ok,
        };
        let is_short = args.problems || (args.check && !args.json);
        let text = match agent {
            Some(agent) if !is_short => {
                depth::show(&town, systemd.as_ref().ok(), &status, &agent, args)?
            }
            _ => shown(&status, args)?,
        };
        let text = match (args.watch, std::io::stdout().is_terminal()) {
            (false, _) => text,
            (true, false) => text + "\n",
            // Go home, print the text and clear the rest of each line, then clear what is below.
            (true, true) => {
                let text = paint::fitted(&text, paint::height());
                format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
            }
        };
        if !output::show(&text)? || !args.watch {
            return Ok(exit);
        }
        std::thread::sleep(REFRESH);
    }
}

/// Prints what the manager alone tells of running agents, when the town's files cannot be read. Programs
/// get an answer in their form also where no agent runs.
///
/// # Errors
/// Always `why`: the town's files cannot be read.
fn without_town(args: &cli::Status, why: anyhow::Error) -> Result<Exit> {
    // The broken file may be the one that says where the town is.
    let root = locate().ok().map(|at| at.root);
    let mut status = collect::without_town(root.as_deref(), Systemd::connect());
    if args.check || args.json || !status.agents.is_empty() {
        status
            .problems
            .insert(0, words::one_line(&format!("{why:#}")));
        if let Some(name) = &args.agent {
            let agent = Agent::parse(name);
            status.narrow(&agent.map_or_else(|_| name.clone(), |agent| agent.to_string()));
        }
        output::print(&shown(&status, args)?)?;
    }
    Err(why)
}

/// A whole status as text, in the form that `args` asks for.
fn shown(status: &Status, args: &cli::Status) -> Result<String> {
    let colour = paint::colour(args.color);
    Ok(match (args.check, args.problems, args.json) {
        (true, _, false) => format!("{}\n", status.in_a_line()),
        (_, true, true) => serde_json::to_string_pretty(&status.problems)? + "\n",
        (_, true, false) => table::problems(status, paint::width(), usize::MAX, colour),
        (_, false, true) => serde_json::to_string_pretty(&status)? + "\n",
        (false, false, false) => table::render(status, paint::width(), colour),
    })
}
