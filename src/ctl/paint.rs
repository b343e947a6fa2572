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
    /// Without any colour.
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

/// The height of the terminal, in lines; `None`: the output goes to no terminal.
pub fn height() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_row)).filter(|&height| height > 0)
}

/// As much of the text as fits into a window of this height with the cursor below it; then the last
/// line says how much is missing.
pub fn fitted(text: &str, height: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(room) = height.map(|height| height.saturating_sub(1).max(2)) else {
        return text.into();
    };
    if lines.len() <= room {
        return text.into();
    }
    let shown = &lines[..room - 1];
    let more = lines.len() - shown.len();
    format!(
        "{}\n({more} more lines; enlarge the window)\n",
        shown.join("\n")
    )
}

/// Whether to use colour on standard output.
pub fn colour(when: Colour) -> bool {
    match when {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => printable::is_coloured(&std::io::stdout()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_window_keeps_the_head() {
        let text = "1\n2\n3\n4\n";
        for (height, want) in [
            (None, text),
            (Some(5), text),
            (Some(4), "1\n2\n(2 more lines; enlarge the window)\n"),
            (Some(1), "1\n(3 more lines; enlarge the window)\n"),
        ] {
            assert_eq!(fitted(text, height), want, "{height:?}");
        }
    }
}
