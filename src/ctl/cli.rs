//! The command line of `gastownctl`. Man pages and completions are made from these types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::hooks;

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  gastownctl status                     is my town all right?
  gastownctl status --check             the same for a monitoring program, by exit status
  gastownctl doctor                     is this machine fit for it?
  gastownctl screen mayor               what does the Mayor's terminal show?
  gastownctl stop gastown/witness       stop an agent; it stays down
  gastownctl start gastown/witness      start it again
  gastownctl restart gastown            restart all agents of a rig
  gastownctl attach mayor               look over the Mayor's shoulder
  gastownctl logs -f gastown/refinery   follow an agent's journal
  gastownctl park gastown               no agent of this rig is started
  gastownctl estop -m 'runaway costs'   freeze every agent; 'thaw' undoes it

Exit statuses: 0 done, 1 failed, or 'doctor' or 'status --check' found something, 2 wrong command
line, 3 'status --check' finds the town stopped, 69 no user manager, 75 try again, 78 bad
configuration.";

/// Operate a Gas Town that is kept alive by systemd
#[derive(Debug, Parser)]
#[command(
    name = "gastownctl",
    version,
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// For all commands that change something.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Change {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// One or more agents.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["agents", "all"]))]
pub struct Agents {
    /// Agents: mayor, deacon, RIG/witness, RIG/refinery, RIG/crew/NAME, RIG/polecats/NAME; or RIG
    /// for all of a rig
    #[arg(value_name = "AGENT|RIG")]
    pub agents: Vec<String>,
    /// All agents of the town
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// One rig.
#[derive(Debug, Args)]
pub struct Rig {
    /// The rig, as in mayor/rigs.json
    #[arg(value_name = "RIG")]
    pub rig: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the town at a glance, or one agent in depth
    Status(Status),
    /// Look for what is wrong with the machine, the units and the town
    Doctor(Doctor),
    /// Show what the next tick would do
    Plan(Plan),
    /// Have a tick look after the agents now, and wait for it
    Tick(Change),
    /// Start the town
    Up(Change),
    /// Stop the town, even if an agent tries to start it meanwhile
    Down(Change),
    /// Start agents, and lift their hold
    Start(Agents),
    /// Stop agents; they stay down until they are started
    Stop(Agents),
    /// Restart agents, and lift their hold
    Restart(Agents),
    /// Restart agents with a handoff to their new session
    Cycle(Agents),
    /// Start the agents and units on which systemd gave up; held agents stay down unless named
    Recover(Recover),
    /// Have status no longer show refused requests and failed spawns; they stay in 'failed/'
    Dismiss(Dismiss),
    /// Keep a rig's agents down; its crew and polecats that run go on
    Park(Rig),
    /// Let a rig's agents run again
    Unpark(Rig),
    /// Freeze every agent at once, or those of a rig; stop them where the kernel cannot freeze
    Estop(Estop),
    /// End an emergency stop, of the town or of a rig
    Thaw(Thaw),
    /// Pause the Deacon: it is neither judged by its heartbeat nor poked
    Pause(Mark),
    /// End the pause of the Deacon
    Resume(Change),
    /// Ask for a cycle, restart or shutdown, as agents do
    Request(Request),
    /// Say that this polecat is ready for its work
    Ready(Ready),
    /// Record that the Deacon is alive
    Heartbeat(Heartbeat),
    /// Show or install what makes an agent's program report what it does
    #[command(after_help = HOOKS)]
    Hooks(Hooks),
    /// Say what the agent of this terminal does; for the hooks of its program
    Report(Report),
    /// Attach to an agent's terminal
    Attach(Attach),
    /// Show what an agent's terminal shows, without attaching to it
    Screen(Screen),
    /// Show the journal of an agent, or of the town
    Logs(Logs),
    /// Show what happened: starts, deaths, requests, pokes, alerts
    History(History),
    /// Draw what happened, one row per agent, as SVG
    Timeline(Timeline),
    /// List names, for shell completions
    #[command(hide = true)]
    Names(Names),
}

/// `status`
#[derive(Debug, Default, Args)]
pub struct Status {
    /// Show only this agent, in depth, or only the agents of this rig
    #[arg(value_name = "AGENT|RIG")]
    pub agent: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Refresh in place until ^C
    #[arg(long, short, conflicts_with = "json")]
    pub watch: bool,
    /// Show only what is wrong, all of it; with --json as an array of texts
    #[arg(long)]
    pub problems: bool,
    /// For monitoring: print one line, or JSON with --json, and tell by the exit status: 0 all is
    /// well, 1 something is wrong, 3 the town is stopped, 69 there is no user manager, 78 there is
    /// no town
    #[arg(long, conflicts_with_all = ["watch", "problems"])]
    pub check: bool,
    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Mend what can be mended safely
    #[arg(long)]
    pub fix: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `recover`
#[derive(Debug, Args)]
pub struct Recover {
    /// The agents, or RIG for those of a rig that failed; without one, all agents and units that failed
    #[arg(value_name = "AGENT")]
    pub agents: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `dismiss`
#[derive(Debug, Args)]
pub struct Dismiss {
    /// Their names; without one, all of them
    #[arg(value_name = "ENTRY")]
    pub entries: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `estop`
#[derive(Debug, Args)]
pub struct Estop {
    /// Only this rig; without one, the whole town
    #[arg(value_name = "RIG")]
    pub rig: Option<String>,
    /// The reason, which 'gastownctl status' shows
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `thaw`
#[derive(Debug, Args)]
pub struct Thaw {
    /// Only this rig's own emergency stop; without one, that of the town
    #[arg(value_name = "RIG")]
    pub rig: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `pause`
#[derive(Debug, Args)]
pub struct Mark {
    /// The reason, which 'gastownctl status' shows
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Restart, with a handoff to the new session.
    Cycle,
    /// Restart afresh.
    Restart,
    /// Stop and stay down.
    Shutdown,
}

/// The longest that a request may be waited for, in seconds: a day.
const TIMEOUT_MAX: u64 = 86_400;

/// `request`
#[derive(Debug, Args)]
pub struct Request {
    /// What is asked for
    pub action: Action,
    /// For whom; an agent that asks for itself may leave it out
    #[arg(value_name = "AGENT")]
    pub agent: Option<String>,
    /// Why
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait until it is executed
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        requires = "wait",
        value_parser = clap::value_parser!(u64).range(..=TIMEOUT_MAX)
    )]
    pub timeout: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `ready`
#[derive(Debug, Args)]
pub struct Ready {
    /// The session or agent that is ready; inside of its terminal it is known
    #[arg(value_name = "SESSION")]
    pub session: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// `heartbeat`
#[derive(Debug, Args)]
pub struct Heartbeat {
    /// What was done last
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// How many agents are well
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub healthy: u32,
    /// How many are not
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub unhealthy: u32,
}

/// Shown below the help of `hooks`.
const HOOKS: &str = "\
With these hooks an agent says itself whether it works, waits for input, or waits for your answer,
and 'gastownctl status' need not guess it from its screen. They do nothing outside of a town.

Examples:
  gastownctl hooks claude               show what would be written, and where to
  gastownctl hooks claude --install     add it to ~/.claude/settings.json
  gastownctl hooks codex --remove       take it out again";

/// `hooks`
#[derive(Debug, Args)]
pub struct Hooks {
    /// The program
    pub program: hooks::config::Program,
    /// Put them into the program's configuration; what else it has stays
    #[arg(long, conflicts_with = "remove")]
    pub install: bool,
    /// Take them out again
    #[arg(long)]
    pub remove: bool,
    /// Another file than the user's own, such as that of one directory
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// What an agent says that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Word {
    /// It waits for input.
    Free,
    /// It works.
    Busy,
    /// It waits for an answer.
    Asks,
}

/// `report`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Report {
    /// What it does
    #[arg(group = "what")]
    pub word: Option<Word>,
    /// What it asks
    #[arg(
        long,
        value_name = "TEXT",
        requires = "word",
        allow_hyphen_values = true
    )]
    pub question: Option<String>,
    /// By an event of this program's hooks: JSON on standard input
    #[arg(long, value_name = "PROGRAM", group = "what")]
    pub from: Option<hooks::events::Source>,
    /// The event itself, for a program that gives it as an argument
    #[arg(
        long,
        value_name = "JSON",
        requires = "from",
        allow_hyphen_values = true
    )]
    pub event: Option<String>,
}

/// `attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// The agent
    #[arg(value_name = "AGENT")]
    pub agent: String,
    /// Only look: what you type is not sent to the agent
    #[arg(long, short)]
    pub read_only: bool,
}

/// `screen`
#[derive(Debug, Args)]
pub struct Screen {
    /// The agent
    #[arg(value_name = "AGENT")]
    pub agent: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The agent; without one, everything of the town
    #[arg(value_name = "AGENT")]
    pub agent: Option<String>,
    /// Follow
    #[arg(long, short)]
    pub follow: bool,
    /// Show the last N lines
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u32>,
    /// Show from then on, as journalctl takes it, or that long ago: 1h, '1 hour ago', yesterday,
    /// '2026-01-31 12:00'
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Explain the messages
    #[arg(long, short = 'x')]
    pub explain: bool,
}

/// For what is shown of the past.
#[derive(Debug, Args)]
pub struct Since {
    /// From then on, as journalctl takes it, or that long ago: 2h, '2 hours ago', yesterday,
    /// '2026-01-31 12:00'; the last 24 hours without it
    #[arg(
        id = "since",
        long = "since",
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub text: Option<String>,
}

impl Since {
    /// The time as it was given, or the usual one.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or("1 day ago")
    }
}

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// The agent; without one, everybody
    #[arg(value_name = "AGENT")]
    pub agent: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub since: Since,
    /// Show the last N events
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<usize>,
    /// Print JSON, an object a line
    #[arg(long)]
    pub json: bool,
}

/// `timeline`
#[derive(Debug, Args)]
pub struct Timeline {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub since: Since,
    /// Where to; standard output without it, and for -
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// What names are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Agents in slash form.
    Agents,
    /// Rigs.
    Rigs,
    /// Both.
    All,
}

/// `names`
#[derive(Debug, Args)]
pub struct Names {
    /// Agents or rigs
    pub kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_command_takes() {
        for (line, is_taken) in [
            ("status --problems --json", true),
            ("stop --all", true),
            ("stop a b", true),
            ("stop", false),
            ("stop --all a", false),
            ("history -n 5 --since -1h", true),
            ("status --watch --json", false),
            ("request cycle --wait --timeout 86400", true),
            ("request cycle --wait --timeout 18446744073709551615", false),
        ] {
            let words = ["gastownctl"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), is_taken, "{line}");
        }
    }
}
