//! What a terminal shows: whether a program waits for input, works, or asks something.
//!
//! [`read`] decides that, and is pure. What each program looks like is data, in [`looks`]. Both are
//! tested by the screens in `tests/screens`, which were captured from the real programs.
//!
//! [`tell`] types texts into terminals, for whoever has something to say to an agent. Each of its
//! steps is decided in [`typing`], which is pure too.

use serde::{Deserialize, Serialize};

pub mod answer;
mod judge;
mod looks;
mod question;
mod read;
mod tell;
pub mod typing;
mod vi;

pub use judge::judge;
pub use looks::{Area, LOOKS, Look, Typing, Vi, look};
pub use question::{Kind, Question};
pub use read::{input, queues, read, room, takes_commands};
pub use tell::tell;
pub use typing::{Once, Outcome, Reader, Text};

/// What a terminal is ready for.
///
/// As JSON an object: `state`, and for `asks` what is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// An empty input line waits.
    Free,
    /// The input line holds what somebody has typed and not sent; the program may be working.
    Draft,
    /// The program works, and its input line, if it shows one, is empty.
    Busy,
    /// A dialog, menu, question, permission or login is open: an Enter would answer it.
    Asks(Question),
    /// A shell would run what is typed: a prompt, or the shell mode of a program.
    Shell,
    /// The screen shows none of these.
    Unknown,
}

impl State {
    /// The state in one word, as `status` shows it.
    pub fn word(&self) -> &'static str {
        match self {
            State::Free => "free",
            State::Draft => "draft",
            State::Busy => "busy",
            State::Asks(_) => "asks",
            State::Shell => "shell",
            State::Unknown => "unknown",
        }
    }
}
