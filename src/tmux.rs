//! tmux. The only place that runs it.
//!
//! Arguments only, never a shell; exact targets only (pane ids, or `=name`), because tmux
//! falls back to prefixes; and never a server of our own by accident (`-N`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{self, Output, ToolError};

/// How long one tmux call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The pane option that says whose pane it is, by unit instance.
const OWNER: &str = "@gastown_agent";

/// Fields without spaces first, the session's name last.
const PANE_FORMAT: &str = "#{pane_id} #{pane_pid} #{pane_dead} s#{pane_dead_status} \
     g#{pane_dead_signal} o#{@gastown_agent} #{pid} #{session_attached} #{session_name}";

/// Why a call gave nothing.
#[derive(Debug)]
pub enum TmuxError {
    /// No server answers on the socket: there are certainly no sessions.
    NoServer,
    /// The named session, window or pane is not there.
    NotFound,
    /// Anything else, in tmux's own words. It says nothing about what exists.
    Failed(String),
}

impl std::fmt::Display for TmuxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TmuxError::NoServer => f.write_str("no tmux server answers on the socket"),
            TmuxError::NotFound => f.write_str("tmux knows no such session or pane"),
            TmuxError::Failed(why) => write!(f, "tmux failed: {why}"),
        }
    }
}

impl std::error::Error for TmuxError {}

/// A pane, as tmux lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// tmux's own id, such as `%3`; never reused by a server.
    pub id: String,
    /// The pane's first process. After its death, its last pid.
    pub pid: u32,
    /// The process has ended and tmux has collected its status.
    pub dead: bool,
    /// The exit status of a dead pane's process that ended by itself.
    pub status: Option<i32>,
    /// The signal that ended a dead pane's process.
    pub signal: Option<i32>,
    /// The unit instance whose pane this is.
    pub owner: Option<String>,
    /// The pid of the server.
    pub server: u32,
    /// How many clients are attached to the session.
    pub clients: u32,
    /// The name of the session.
    pub session: String,
}

/// A tmux server, by its socket name.
#[derive(Debug, Clone)]
pub struct Tmux {
    program: PathBuf,
    socket: String,
}

impl Tmux {
    /// The server on a socket: a name for `tmux -L`, or a path for `tmux -S`.
    pub fn on(socket: &str) -> Tmux {
        let dirs = tools::search_path(Path::new("/nonexistent"));
        Tmux {
            program: tools::find("tmux", &dirs).unwrap_or_else(|| "/usr/bin/tmux".into()),
            socket: socket.to_string(),
        }
    }

    /// The program and the arguments that select the server; for those who run it themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let flag = if self.socket.contains('/') {
            "-S"
        } else {
            "-L"
        };
        command.args(["-u", flag, &self.socket]);
        // TMUX_TMPDIR would move the socket, TMUX would make us somebody's pane.
        for leaked in ["TMUX", "TMUX_PANE", "TMUX_TMPDIR", "NOTIFY_SOCKET"] {
            command.env_remove(leaked);
        }
        command
    }

    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, TmuxError> {
        let mut command = self.command();
        command.arg("-N").args(args);
        match tools::run(&mut command, LIMIT) {
            Ok(out) if out.status.success() => Ok(out.stdout),
            Ok(out) => Err(classify(&out)),
            Err(ToolError::NotRun(e)) => Err(TmuxError::Failed(format!(
                "'{}' cannot be run: {e}",
                self.program.display()
            ))),
            Err(e) => Err(TmuxError::Failed(format!("tmux {e}"))),
        }
    }

    /// Every pane of every session, in one call; empty when there is no server.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or fails: then nothing is known.
    pub fn panes(&self) -> Result<Vec<Pane>, TmuxError> {
        match self.run(&["list-panes", "-a", "-F", PANE_FORMAT]) {
            Ok(text) => text.lines().map(parse_pane).collect(),
            // A server without sessions has "no current target".
            Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// One pane by its id; `None` when it is gone, with or without the server.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn pane(&self, id: &str) -> Result<Option<Pane>, TmuxError> {
        Ok(self.panes()?.into_iter().find(|p| p.id == id))
    }

    /// The pid of the server; `None` when none answers.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn server(&self) -> Result<Option<u32>, TmuxError> {
        match self.run(&["display-message", "-p", "#{pid}"]) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(TmuxError::NoServer) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a detached session whose pane runs `argv` in `dir`; gives the pane's id.
    ///
    /// # Errors
    /// The session exists, or tmux fails.
    pub fn new_session(
        &self,
        name: &str,
        dir: &Path,
        env: &[(String, String)],
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let mut args: Vec<String> = ["new-session", "-d", "-P", "-F", "#{pane_id}"]
            .map(String::from)
            .to_vec();
        args.extend(["-s".into(), name.into(), "-x".into(), "200".into()]);
        args.extend(["-y".into(), "50".into()]);
        args.extend(["-c".into(), dir.to_string_lossy().into_owned()]);
        for (key, value) in env {
            args.extend(["-e".into(), format!("{key}={}", argument(value))]);
        }
        args.push("--".into());
        args.extend(argv.iter().map(|a| argument(a)));
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Makes a window before all others of an existing session; gives its pane's id.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn new_first_window(
        &self,
        session: &str,
        dir: &Path,
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let target = format!("={session}:^");
        let dir = dir.to_string_lossy();
        let mut args = vec!["new-window", "-b", "-P", "-F", "#{pane_id}", "-t", &target];
        args.extend(["-c", &dir, "--"]);
        args.extend(argv.iter().map(String::as_str));
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Runs `argv` in a pane, ending what runs there.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn respawn(&self, pane: &str, dir: &Path, argv: &[String]) -> Result<(), TmuxError> {
        let dir = dir.to_string_lossy();
        let mut args = vec!["respawn-pane", "-k", "-t", pane, "-c", &dir, "--"];
        args.extend(argv.iter().map(String::as_str));
        self.run(&args).map(drop)
    }

    /// Marks a pane as an agent's and lets it outlive its process, so that the status is kept.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn own(&self, pane: &str, instance: &str) -> Result<(), TmuxError> {
        let set = ["set-option", "-p", "-t", pane];
        let mut args = set.to_vec();
        args.extend([OWNER, instance, ";"]);
        args.extend(set);
        args.extend(["remain-on-exit", "on"]);
        self.run(&args).map(drop)
    }

    /// The last lines of a pane's screen, at most `lines`, without trailing blanks and without
    /// the line that tmux itself writes into a dead pane.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn screen(&self, pane: &str, lines: usize) -> Result<String, TmuxError> {
        let text = self.run(&["capture-pane", "-p", "-t", pane])?;
        let mut shown: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_filler = |line: &&str| line.is_empty() || line.starts_with("Pane is dead (");
        while shown.last().is_some_and(is_filler) {
            shown.pop();
        }
        let skip = shown.len().saturating_sub(lines);
        Ok(shown[skip..].join("\n"))
    }

    /// Closes a pane, and its session with it when it is the last; a pane that is gone is closed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn kill_pane(&self, pane: &str) -> Result<(), TmuxError> {
        match self.run(&["kill-pane", "-t", pane]) {
            Ok(_) | Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sets a variable in the environment of a session, for processes that start later.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn set_environment(&self, session: &str, key: &str, value: &str) -> Result<(), TmuxError> {
        let target = format!("={session}");
        self.run(&["set-environment", "-t", &target, key, &argument(value)])
            .map(drop)
    }
}

/// An argument that tmux takes as it is: a trailing `;` would end the command.
fn argument(text: &str) -> String {
    match text.strip_suffix(';') {
        Some(rest) => format!("{rest}\\;"),
        None => text.to_string(),
    }
}

fn classify(out: &Output) -> TmuxError {
    let said = out.stderr.trim();
    let absent = ["No such file or directory", "Connection refused"];
    if said.starts_with("no server running")
        || (said.starts_with("error connecting") && absent.iter().any(|a| said.contains(a)))
    {
        TmuxError::NoServer
    } else if said.starts_with("can't find") || said.starts_with("no current target") {
        TmuxError::NotFound
    } else {
        TmuxError::Failed(out.complaint())
    }
}

fn parse_pane(line: &str) -> Result<Pane, TmuxError> {
    parse_fields(line)
        .ok_or_else(|| TmuxError::Failed(format!("it listed a pane in an unknown form: '{line}'")))
}

fn parse_fields(line: &str) -> Option<Pane> {
    let mut fields = line.splitn(9, ' ');
    let mut next = || fields.next();
    Some(Pane {
        id: next()?.to_string(),
        pid: next()?.parse().ok()?,
        dead: next()? == "1",
        status: next()?.strip_prefix('s')?.parse().ok(),
        signal: next()?.strip_prefix('g')?.parse().ok(),
        owner: Some(next()?.strip_prefix('o')?.to_string()).filter(|o| !o.is_empty()),
        server: next()?.parse().ok()?,
        clients: next()?.parse().ok()?,
        session: next()?.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_parse() {
        let pane = parse_pane("%3 812 1 s7 g oa\\x2db-witness 99 2 gt-a-b-witness").unwrap();
        assert_eq!(
            pane,
            Pane {
                id: "%3".into(),
                pid: 812,
                dead: true,
                status: Some(7),
                signal: None,
                owner: Some("a\\x2db-witness".into()),
                server: 99,
                clients: 2,
                session: "gt-a-b-witness".into(),
            }
        );
        let alive = parse_pane("%1 5 0 s g o 9 0 my odd session").unwrap();
        assert_eq!((alive.dead, alive.owner), (false, None));
        assert_eq!(alive.session, "my odd session");
        assert!(parse_pane("garbage").is_err());
    }

    #[test]
    fn a_trailing_semicolon_is_text() {
        assert_eq!(argument("a;"), "a\\;");
        assert_eq!(argument("a;b"), "a;b");
    }
}
