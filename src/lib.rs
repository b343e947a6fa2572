//! Gas Town, kept alive by systemd: every agent is a unit, and small programs
//! started by timers and path units do what a polling daemon used to do.
//!
//! The map, one line per room:
//!
//! - [`agent`]: who; addresses, unit names.
//! - [`alert`]: conditions that a person should know of, told once.
//! - [`ctl`]: `gastownctl`, one file per command.
//! - [`digest`]: digests in hexadecimal digits.
//! - [`environment`]: variables that must not pass from one program to the next.
//! - [`exit`]: the exit statuses of all programs.
//! - [`files`]: careful reads and durable writes of small files.
//! - [`generator`]: drop-ins for a town that is not `~/gt`.
//! - [`heartbeat`]: `gt-heartbeat`, one tick.
//! - [`hooks`]: what agents say of themselves, by the hooks of their programs.
//! - [`job`]: the frame of the programs that timers and path units start.
//! - [`journal`]: logging and event ids; the only place that knows journald.
//! - [`lifecycle`]: requests to cycle, restart or shut down agents.
//! - [`meant`]: which town is meant, and which one the units run for.
//! - [`printable`]: what others say, without what could steer a terminal.
//! - [`said`]: what `gt-agent` says in its unit's status text.
//! - [`session`]: `gt-agent`, an agent in its pane and its unit.
//! - [`spawn`]: spawned polecats, each told to begin once it is ready.
//! - [`spool`]: directories of work to be done exactly once.
//! - [`systemd`]: the user manager; the only place that knows zbus.
//! - [`terminal`]: what a terminal shows: whether its program waits, works or asks.
//! - [`tmux`]: terminals; the only place that runs tmux.
//! - [`tools`]: other people's programs, bounded in time and output.
//! - [`town`]: what lies on disk, one file per format.
//! - [`zone`]: the machine's time zone.

pub mod agent;
pub mod alert;
pub mod ctl;
pub mod digest;
pub mod environment;
pub mod exit;
pub mod files;
pub mod generator;
pub mod heartbeat;
pub mod hooks;
pub mod job;
pub mod journal;
pub mod lifecycle;
pub mod meant;
pub mod printable;
pub mod said;
pub mod session;
pub mod spawn;
pub mod spool;
pub mod systemd;
pub mod terminal;
pub mod tmux;
pub mod tools;
pub mod town;
pub mod zone;
