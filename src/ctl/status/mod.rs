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

use super::{cli, directory, output, paint};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::Town;
pub use agent::{AgentStatus, elsewhere, frozen_for_good, last_end};
pub use collect::collect;
pub use model::{Queue, Status, Target, Ticks};
pub use problems::{RESTART, forget, is_own, short_lived, two_towns};

/// How often `--watch` looks.
const REFRESH: Duration = Duration::from_secs(2);

/// Prints the status as asked.
///
/// # Errors
/// The town cannot be read, or there is no such agent or rig.
pub fn run(args: &cli::Status) -> Result<Exit> {
    loop {
        let town = Town::load()?;
        let systemd = Systemd::connect();
        let is_rig = |name: &&String| town.rigs().contains(name) && town.agent(name).is_err();
        let agent = args.agent.as_ref().filter(|name| !is_rig(name));
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
        let colour = paint::colour(args.color);
        let text = match agent {
            _ if args.check && !args.json => format!("{}\n", status.in_a_line()),
            _ if args.problems && args.json => {
                serde_json::to_string_pretty(&status.problems)? + "\n"
            }
            _ if args.problems => table::problems(&status, paint::width(), usize::MAX, colour),
            Some(agent) => depth::show(&town, &status, &agent, args)?,
            None if args.json => serde_json::to_string_pretty(&status)? + "\n",
            None => table::render(&status, paint::width(), colour),
        };
        let text = match (args.watch, std::io::stdout().is_terminal()) {
            (false, _) => text,
            (true, false) => text + "\n",
            // Home, the text with each line's rest cleared, then what is below it.
            (true, true) => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
        };
        if !output::show(&text)? || !args.watch {
            return Ok(exit);
        }
        std::thread::sleep(REFRESH);
    }
}
