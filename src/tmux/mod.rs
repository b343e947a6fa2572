//! tmux; nothing else runs it.
//!
//! There is never a shell between us and tmux. Targets are exact (pane ids, or `=name`), because
//! tmux takes the beginning of a name too. No call but that of the server's unit starts a server
//! (`-N`).
//!
//! - [`server`]: calls of a server, and commands for many panes in one call.
//! - [`panes`]: which panes there are, and what is noted in them.
//! - [`sessions`]: sessions and panes made, filled and closed.
//! - [`screens`]: what panes show; [`ansi`]: takes out the sequences that colour it.
//! - [`keys`]: what is typed into panes.

mod ansi;
mod keys;
#[cfg(test)]
mod lab;
mod panes;
mod screens;
mod server;
mod sessions;

pub use keys::{Keys, Mark, Strokes, Typed, Words};
pub use panes::{Index, Marked, Pane, READY_ENV, parse_marked};
pub use screens::{Glance, Hold, Look, Screen, Sight, Sights, parse_glance};
pub use server::{LIMIT, SOCKETS, Tmux, TmuxError, is_inside, server_in, socket_dir, squatted};
pub use sessions::{Dress, Key, Terminal};

/// The pane option with what was typed into the pane last, by [`Typed`].
const TYPED: &str = "@gastown_typed";

/// The pane option with what was typed into the pane at most once, by [`Mark::Once`].
const MARKS: &str = "@gastown_spawn";

/// The pane option with first words that are still to be typed, see [`Words`].
const WORDS: &str = "@gastown_words";

/// A format of what a person has a pane for, as `Hold::parse` reads it. Somebody reads back only
/// where somebody is attached: to the session, to one that shares its windows (`new-session -t`),
/// or to one that has been given the window (`link-window`).
const HELD: &str = "#{?#{&&:#{pane_in_mode},#{||:#{session_attached},\
     #{||:#{session_group_attached},#{window_active_clients}}}},m,}#{?#{pane_synchronized},s,}";
