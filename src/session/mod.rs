//! `gt-agent`: how an agent gets a terminal from tmux and is a systemd service all the same.
//!
//! - [`run`]: the service's main process; finds or makes the pane, moves the agent into the
//!   unit, waits for its end, and ends with its status.
//! - [`exec`]: runs in the pane, waits until it has been moved, and becomes the agent.
//! - [`check`]: whether an agent may start now (`ExecCondition=`).
//! - [`fit`]: whether a start could succeed, checked before a running agent is stopped.
//! - [`secrets`]: what agents need and nobody else may read.
//! - [`scopes`]: what an agent runs in scopes beside its unit.
//! - [`server`]: the tmux server's own service, and the town's start and stop.
//! - [`looks`]: what an agent's session looks like.
//! - [`process`]: what /proc says.
//! - [`rival`]: the Go daemon beside us.
//! - [`whose`]: which agent and which town a session belongs to.

pub mod check;
pub mod exec;
pub mod fit;
pub mod looks;
pub mod process;
pub mod rival;
pub mod run;
pub mod scopes;
pub mod secrets;
pub mod server;
pub mod whose;
