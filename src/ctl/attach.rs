//! `gastownctl attach`: an agent's terminal, whatever its socket and session are called.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::output::become_program;
use super::words::printable;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::tmux::{Index, Tmux, is_inside};
use crate::town::{Town, home};

/// The terminal that most others behave like.
const USUAL: &str = "xterm-256color";

/// Where descriptions of terminals are, as of terminfo(5) on Debian.
const DESCRIPTIONS: [&str; 4] = [
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/lib/terminfo",
    "/usr/share/terminfo",
];

/// Whether tmux can use a terminal, by its name.
#[derive(Debug, PartialEq, Eq)]
enum Terminal {
    Fit,
    /// The machine has no description of it, as of many newer terminals from which people use ssh.
    Unknown,
    /// Its description says that it cannot clear its screen; or it has no name.
    Unfit,
}

fn terminal(term: &str, is_described: impl Fn(&str) -> bool) -> Terminal {
    match term {
        "" | "dumb" | "unknown" => Terminal::Unfit,
        _ if is_described(term) || !is_described(USUAL) => Terminal::Fit,
        _ => Terminal::Unknown,
    }
}

/// Whether there is a description of a terminal, in the places that terminfo(5) names.
fn is_described(term: &str) -> bool {
    let Some(first) = term.chars().next().filter(|_| !term.contains('/')) else {
        return false;
    };
    let dirs = |key: &str| std::env::var(key).unwrap_or_default();
    let (own, more) = (dirs("TERMINFO"), dirs("TERMINFO_DIRS"));
    let home = home().map(|home| home.join(".terminfo"));
    let dirs = more.split(':').chain([own.as_str()]).chain(DESCRIPTIONS);
    let dirs = dirs.filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let letters = [first.to_string(), format!("{:x}", u32::from(first))];
    dirs.chain(home).any(|dir| {
        let mut files = letters.iter().map(|letter| dir.join(letter).join(term));
        files.any(|file| file.exists())
    })
}

/// Becomes a tmux client of the agent's pane; inside of the same server, switches to it.
///
/// # Errors
/// The agent has no terminal, or there is no terminal to show it on.
pub fn run(args: &cli::Attach) -> Result<Exit> {
    let town = Town::load()?;
    let agent = directory::find(&town, Systemd::connect().ok().as_ref(), &args.agent)?;
    let tmux = Tmux::on(town.socket());
    let panes = tmux.panes()?;
    let pane = Index::of(&panes).own(&agent.instance(), &town.session(&agent));
    let Some(pane) = pane else {
        bail!("{agent} has no terminal; see 'gastownctl status {agent}'");
    };
    if !std::io::stdin().is_terminal() {
        bail!("Standard input is no terminal; run 'gastownctl attach {agent}' in one");
    }
    let mut command = tmux.command();
    command.arg("-N");
    match std::env::var("TMUX") {
        // The client would stay read-only when the person goes back to a session of their own.
        Ok(client) if is_inside(&client, pane.server) && args.read_only => bail!(
            "You are in a session of the same tmux server, which would make all that you see there \
             read-only; run 'gastownctl attach -r {agent}' outside of tmux, or 'gastownctl screen {agent}'"
        ),
        Ok(client) if is_inside(&client, pane.server) => {
            command.env("TMUX", client).arg("switch-client");
        }
        _ => {
            let term = std::env::var("TERM").unwrap_or_default();
            match terminal(&term, is_described) {
                Terminal::Fit => {}
                Terminal::Unknown => {
                    log::warn!(
                        "This machine does not know the terminal '{}', so it is taken for {USUAL}",
                        printable(&term)
                    );
                    command.env("TERM", USUAL);
                }
                Terminal::Unfit => bail!(
                    "tmux cannot draw on the terminal '{}'; run 'TERM={USUAL} gastownctl attach {agent}' \
                     if it is more than that, or 'gastownctl screen {agent}'",
                    printable(&term)
                ),
            }
            command.arg("attach-session");
        }
    }
    if args.read_only {
        command.arg("-r");
    }
    command.args(["-t", &pane.id]);
    become_program(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_is_taken_for() {
        let known = |term: &str| ["xterm-256color", "screen"].contains(&term);
        for (term, want) in [
            ("screen", Terminal::Fit),
            ("xterm-256color", Terminal::Fit),
            ("xterm-ghostty", Terminal::Unknown),
            ("dumb", Terminal::Unfit),
            ("", Terminal::Unfit),
        ] {
            assert_eq!(terminal(term, known), want, "{term}");
        }
        // Where nothing is known, tmux decides.
        assert_eq!(terminal("xterm-ghostty", |_| false), Terminal::Fit);
        assert!(!is_described("../x") && !is_described("") && !is_described("no-such-terminal"));
        // Debian always has this one.
        assert!(is_described("linux"));
    }
}
