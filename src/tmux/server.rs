//! Calls of a tmux server.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::environment;
use crate::tools::{self, Output, ToolError};

/// How long one tmux call may take.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The most that one call may have as arguments, in bytes: tmux refuses more than 16 KiB.
const ARGUMENTS: usize = 14_000;

/// Why a call failed.
#[derive(Debug)]
pub enum TmuxError {
    /// No server answers on the socket: there are certainly no sessions.
    NoServer,
    /// The named session, window or pane is not there.
    NotFound,
    /// The text was typed, and the pane shows no sign of it.
    NotShown,
    /// The panes show more than can be read at once.
    TooMuch,
    /// tmux did not answer within [`LIMIT`], or the server is about to end, in words; it may still do
    /// what it was asked.
    Silent(String),
    /// Anything else, in tmux's own words. It says nothing about what exists.
    Failed(String),
}

impl std::fmt::Display for TmuxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TmuxError::NoServer => f.write_str("no tmux server answers on the socket"),
            TmuxError::NotFound => f.write_str("tmux knows no such session or pane"),
            TmuxError::NotShown => f.write_str("the terminal does not show what was typed"),
            TmuxError::TooMuch => f.write_str("its terminals show too much to be read"),
            TmuxError::Silent(why) | TmuxError::Failed(why) => write!(f, "tmux failed: {why}"),
        }
    }
}

impl std::error::Error for TmuxError {}

/// Where our tmux has its directory of sockets: we drop TMUX_TMPDIR from its environment.
pub const SOCKETS: &str = "/tmp";

/// The directory of our user's tmux sockets below `dir`.
pub fn socket_dir(dir: &Path) -> PathBuf {
    dir.join(format!("tmux-{}", nix::unistd::geteuid()))
}

/// Why tmux cannot use the directory of its sockets, and what to run; `None`: no reason is known.
/// In /tmp, anybody may have made something of that name.
pub fn squatted() -> Option<String> {
    let uid = nix::unistd::geteuid().as_raw();
    let dir = socket_dir(Path::new(SOCKETS));
    let found = dir.symlink_metadata().ok()?;
    let shown = dir.display();
    if found.uid() != uid {
        Some(format!(
            "'{shown}', where tmux has its sockets, belongs to another user; run 'rm -r {shown}' as root"
        ))
    } else if !found.is_dir() {
        Some(format!(
            "'{shown}', where tmux has its sockets, is no directory; run 'rm {shown}'"
        ))
    } else if found.mode() & 0o007 != 0 {
        Some(format!(
            "'{shown}', where tmux has its sockets, is open to others; run 'chmod 700 {shown}'"
        ))
    } else {
        None
    }
}

/// A tmux server, by its socket name.
#[derive(Debug, Clone)]
pub struct Tmux {
    program: PathBuf,
    socket: String,
}

impl Tmux {
    /// Whether a server listens on the socket, as far as can be told without a call of tmux. A
    /// socket file is no proof: a server that has ended leaves it behind.
    pub fn is_listening(&self) -> bool {
        let path = socket_dir(Path::new(SOCKETS)).join(&self.socket);
        // Non-blocking, so as not to wait for a server that hangs.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let connected = UnixAddr::new(&path).and_then(|address| {
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            connect(socket.as_raw_fd(), &address)
        });
        !matches!(connected, Err(Errno::ENOENT | Errno::ECONNREFUSED))
    }

    /// The server on a socket: a name for `tmux -L`, or a path for `tmux -S`.
    pub fn on(socket: &str) -> Tmux {
        let dirs = tools::search_path(Path::new("/nonexistent"));
        Tmux {
            program: tools::find("tmux", &dirs).unwrap_or_else(|| "/usr/bin/tmux".into()),
            socket: socket.to_string(),
        }
    }

    /// The socket, as it was given.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The option that takes the socket: as a path, or by name.
    fn flag(&self) -> &'static str {
        if self.socket.contains('/') {
            "-S"
        } else {
            "-L"
        }
    }

    /// The program and the arguments that select the server; for those who run it themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-u", self.flag(), &self.socket]);
        // TMUX_TMPDIR would move the socket, and TMUX would name a pane that is not ours.
        environment::drop_foreign(&mut command);
        command
    }

    pub(super) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, TmuxError> {
        match self.output(args)? {
            out if out.status.success() => Ok(out.stdout),
            out => Err(classify(&out)),
        }
    }

    /// Runs commands in a row, up to the first that fails.
    pub(super) fn run_all<S: AsRef<str>>(&self, commands: &[Vec<S>]) -> Result<String, TmuxError> {
        let mut args: Vec<String> = Vec::new();
        for command in commands {
            if !args.is_empty() {
                args.push(";".into());
            }
            args.extend(command.iter().map(|word| argument(word.as_ref())));
        }
        self.run(&args)
    }

    pub(super) fn output<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output, TmuxError> {
        let mut command = self.command();
        command.arg("-N").args(args);
        self.told(tools::run(&mut command, LIMIT))
    }

    fn told(&self, ran: Result<Output, ToolError>) -> Result<Output, TmuxError> {
        match ran {
            Ok(out) => Ok(out),
            Err(ToolError::NotRun(e)) => Err(TmuxError::Failed(format!(
                "'{}' cannot be run: {e}",
                self.program.display()
            ))),
            Err(ToolError::TooMuchOutput) => Err(TmuxError::TooMuch),
            Err(e) => {
                let why = format!("'tmux {} {}' {e}", self.flag(), self.socket);
                Err(match e {
                    ToolError::TimedOut(_) => TmuxError::Silent(why),
                    _ => TmuxError::Failed(why),
                })
            }
        }
    }

    /// The pid of the server; `None` when none answers.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn server(&self) -> Result<Option<u32>, TmuxError> {
        self.server_after(&[])
    }

    /// As [`Tmux::server`]. If the server is the process `own`, it goes on without sessions from now on,
    /// whatever a person's tmux.conf says of `exit-empty`: else it could end when we leave it.
    ///
    /// # Errors
    /// As for [`Tmux::server`].
    pub fn lasting_server(&self, own: u32) -> Result<Option<u32>, TmuxError> {
        let stay = "set-option -s exit-empty off";
        self.server_after(&["if-shell", "-F", &is_server(own), stay, ";"])
    }

    fn server_after(&self, commands: &[&str]) -> Result<Option<u32>, TmuxError> {
        match self.run(&[commands, &["display-message", "-p", "#{pid}"]].concat()) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(TmuxError::NoServer) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A variable of the server's global environment; tmux's formats show it for every session.
    ///
    /// # Errors
    /// tmux cannot be run, or hangs.
    pub fn global(&self, key: &str) -> Result<Option<String>, TmuxError> {
        match self.run(&["show-environment", "-g", key]) {
            Ok(line) => Ok(line
                .trim_end_matches('\n')
                .split_once('=')
                .map(|(_, value)| value.to_string())),
            Err(TmuxError::Failed(why)) if why.starts_with("unknown variable") => Ok(None),
            Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sets variables in the server's global environment, for processes that start later, and takes
    /// others out of it. Values go to tmux by stdin: other users can read its command line.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or no server answers.
    pub fn set_global_environment(
        &self,
        set: &[(String, String)],
        unset: &[&str],
    ) -> Result<(), TmuxError> {
        let mut commands = String::new();
        for (key, value) in set {
            commands += &format!("set-environment -g -- {key} {}\n", quoted(value));
        }
        for key in unset {
            commands += &format!("set-environment -g -u -- {key}\n");
        }
        let mut command = self.command();
        command.args(["-N", "source-file", "-"]);
        let ran = tools::run_fed(&mut command, commands.as_bytes(), LIMIT);
        match self.told(ran)? {
            out if out.status.success() => Ok(()),
            out => Err(classify(&out)),
        }
    }

    /// Runs commands for many panes in few calls. In a plain list the first that fails would stop
    /// the rest; here it stops only those for the same pane. Items are pane, condition, commands.
    pub(super) fn each_apart(
        &self,
        items: impl Iterator<Item = (String, String, String)>,
    ) -> Result<String, TmuxError> {
        let mut said = String::new();
        let mut args: Vec<String> = Vec::new();
        let mut size = 0;
        for (pane, condition, commands) in items {
            let length = pane.len() + condition.len() + commands.len() + 20;
            if size + length > ARGUMENTS {
                said += &self.run_apart(&std::mem::take(&mut args))?;
                size = 0;
            }
            if !args.is_empty() {
                args.push(";".into());
            }
            args.extend(["if-shell".into(), "-F".into(), "-t".into(), pane]);
            args.extend([condition, argument(&commands)]);
            size += length;
        }
        said += &self.run_apart(&args)?;
        Ok(said)
    }

    fn run_apart(&self, args: &[String]) -> Result<String, TmuxError> {
        if args.is_empty() {
            return Ok(String::new());
        }
        match self.output(args)? {
            out if out.status.success() => Ok(out.stdout),
            out => match classify(&out) {
                TmuxError::NotFound => Ok(out.stdout),
                e => Err(e),
            },
        }
    }
}

/// Whether the variable TMUX of a process (`SOCKET,PID,SESSION`) names this server, by its pid: two
/// servers may have had the same socket, and each has a pane `%0`.
pub fn is_inside(variable: &str, server: u32) -> bool {
    server_in(variable) == Some(server)
}

/// The pid of the server that the variable TMUX names.
pub fn server_in(variable: &str) -> Option<u32> {
    variable.rsplit(',').nth(1)?.parse().ok()
}

/// An argument that tmux takes for `text`: unescaped, a trailing `;` would end the command.
pub(super) fn argument(text: &str) -> String {
    match text.strip_suffix(';') {
        Some(rest) => format!("{rest}\\;"),
        None => text.to_string(),
    }
}

/// A word of tmux's command language that stands for `text`.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Commands as one text in tmux's command language.
pub(super) fn text(commands: &[Vec<String>]) -> String {
    let line = |command: &Vec<String>| {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    };
    commands.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// A format that is true on the server with this pid. The next server on the same socket gives the
/// same pane ids to other panes.
pub(super) fn is_server(pid: u32) -> String {
    format!("#{{==:#{{pid}},{pid}}}")
}

pub(super) fn classify(out: &Output) -> TmuxError {
    let said = out.stderr.trim();
    let absent = ["No such file or directory", "Connection refused"];
    if said.starts_with("no server running")
        || (said.starts_with("error connecting") && absent.iter().any(|a| said.contains(a)))
    {
        TmuxError::NoServer
    } else if said.starts_with("can't find") || said.starts_with("no current target") {
        TmuxError::NotFound
    } else if said.starts_with("server exited") || said.starts_with("lost server") {
        // After `kill-server` it waits for its `run-shell` jobs, and answers nobody.
        TmuxError::Silent(out.complaint())
    } else {
        TmuxError::Failed(out.complaint())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;
    use crate::tmux::lab::Lab;

    #[test]
    fn hundreds_of_panes_take_few_calls() {
        let lab = Lab::new("many");
        let items = (0..500).map(|n| (format!("%{n}"), "0".into(), "x".repeat(100)));
        lab.0.each_apart(items).unwrap();
        let ids: Vec<String> = (0..500).map(|n| format!("%{n}")).collect();
        assert_eq!(lab.0.screens(&ids).unwrap().len(), 1);
    }

    #[test]
    fn only_the_own_server_is_told_to_last() {
        let lab = Lab::new("lasting");
        let server = lab.0.server().unwrap().unwrap();
        for (own, want) in [(server + 1, "exit-empty on"), (server, "exit-empty off")] {
            assert_eq!(lab.0.lasting_server(own).unwrap(), Some(server));
            let option = lab.0.run(&["show-options", "-s", "exit-empty"]);
            assert_eq!(option.unwrap().trim(), want);
        }
    }

    #[test]
    fn what_a_server_leaves_behind_is_no_server() {
        let lab = Lab::new("stale");
        let server = lab.0.server().unwrap().unwrap();
        let path = socket_dir(Path::new(SOCKETS)).join(lab.0.socket());
        assert!(lab.0.is_listening());
        std::fs::remove_file(&path).unwrap();
        assert!(!lab.0.is_listening());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists() && !lab.0.is_listening());
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGUSR1).unwrap();
        lab.wait("a new socket", Tmux::is_listening);
    }

    #[test]
    fn a_server_that_is_about_to_end_may_be_waited_for() {
        let lab = Lab::new("ending");
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let shown = runs.display();
        let job = format!("touch {shown}; while [ -e {shown} ]; do sleep 0.05; done");
        let mut job = lab.0.command().args(["run-shell", &job]).spawn().unwrap();
        lab.wait("the job", |_| runs.exists());
        lab.0.run(&["kill-server"]).ok();
        let said = lab.0.server();
        assert!(matches!(said, Err(TmuxError::Silent(_))), "{said:?}");
        std::fs::remove_file(&runs).unwrap();
        lab.wait("its end", |tmux| matches!(tmux.server(), Ok(None)));
        job.wait().unwrap();
    }

    #[test]
    fn the_own_server_is_recognised() {
        for (variable, want) in [
            ("/tmp/tmux-1000/default,812,0", true),
            ("/tmp/odd,name,812,3", true),
            ("/tmp/tmux-0/default,1,0", false),
            ("/tmp/tmux-1000/default", false),
            ("", false),
        ] {
            assert_eq!(is_inside(variable, 812), want, "{variable}");
        }
    }

    #[test]
    fn a_trailing_semicolon_is_text() {
        assert_eq!(argument("a;"), "a\\;");
        assert_eq!(argument("a;b"), "a;b");
    }
}
