//! What the output goes to: how wide it is, and whether it has colours.

use std::io::IsTerminal;

use super::cli::Colour;
use crate::printable;

/// The width of output that goes to no terminal, in columns.
const PLAIN_WIDTH: usize = 200;

/// The narrowest output that is written for, in columns.
pub const LEAST_WIDTH: usize = 40;

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Bold,
    /// Not at all.
    Plain,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Good => "32",
            Paint::Doubtful => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Bold => "1",
            Paint::Plain => "0",
        }
    }

    /// The text in this paint.
    pub fn on(self, text: &str, colour: bool) -> String {
        if !colour || self == Paint::Plain || text.is_empty() {
            text.to_string()
        } else {
            format!("\x1b[{}m{text}\x1b[0m", self.code())
        }
    }
}

/// The width of the terminal, in columns; of other outputs what COLUMNS says, or plenty.
pub fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let stdout = std::io::stdout();
    let terminal = stdout
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
        .flatten()
        .map(|size| usize::from(size.ws_col))
        .filter(|&width| width > 0);
    terminal.or(columns).unwrap_or(PLAIN_WIDTH).max(LEAST_WIDTH)
}

/// Whether to use colour on standard output.
pub fn colour(when: Colour) -> bool {
    match when {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => printable::is_coloured(&std::io::stdout()),
    }
}
