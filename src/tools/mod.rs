//! Other people's programs. They may be missing, hang, or print anything.
//!
//! Every call has a limit in time and size and its own process group, so that a
//! grandchild that keeps a pipe open or ignores its parent cannot hold us.

pub mod bd;
pub mod git;
pub mod gt;
pub mod mail;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{environment, printable};

/// How much one output stream may have, in bytes; more is an error.
pub const OUTPUT_LIMIT: usize = 8 << 20;

/// How much of a complaint is told, in characters, at most.
const COMPLAINT: usize = 300;

/// How long a program that took too long has to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// How often we look whether such a program has ended.
const GRACE_POLL: Duration = Duration::from_millis(10);

/// How much is read at once, in bytes.
const CHUNK: usize = 16384;

/// How much a program is given to read, in bytes, at most: a pipe takes that without a reader.
const INPUT_LIMIT: usize = 60_000;

/// Programs that run what is typed: a terminal in which one waits has no agent, and gets no text.
const SHELLS: [&str; 15] = [
    "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "mksh", "nu", "pwsh", "sh",
    "tcsh", "yash", "zsh",
];

/// Whether a program of this name is a shell; a login shell has a dash before it.
pub fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name.trim_start_matches('-'))
}

/// What a program said.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// The first line of standard error, printable and bounded; if there is none, how it ended.
    pub fn complaint(&self) -> String {
        match self.stderr.lines().map(str::trim).find(|l| !l.is_empty()) {
            Some(line) => {
                let line: String = line.chars().take(COMPLAINT).collect();
                format!("{} ({})", printable::line(&line), self.status)
            }
            None => self.status.to_string(),
        }
    }
}

/// Why there is no [`Output`].
#[derive(Debug)]
pub enum ToolError {
    /// The program is not there or cannot be executed.
    NotRun(io::Error),
    /// It did not end within its limit, and was ended.
    TimedOut(Duration),
    /// It wrote more than [`OUTPUT_LIMIT`], and was killed.
    TooMuchOutput,
    /// We are to stop, so it was killed.
    Stopped,
}

impl std::fmt::Display for ToolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ToolError::NotRun(e) => write!(f, "cannot be run: {e}"),
            ToolError::TimedOut(limit) => {
                let tenths = (limit.as_secs_f32() * 10.0).round();
                write!(f, "did not end within {} s", tenths / 10.0)
            }
            ToolError::TooMuchOutput => write!(f, "wrote more than {OUTPUT_LIMIT} bytes"),
            ToolError::Stopped => f.write_str("was to stop"),
        }
    }
}

impl std::error::Error for ToolError {}

/// Runs a command without standard input and collects what it says, within `limit`.
///
/// # Errors
/// See [`ToolError`]; a command that ran and failed is an [`Output`], not an error.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output, ToolError> {
    run_until(command, limit, None)
}

/// Like [`run`], with a standard input of at most 60 kB.
///
/// # Errors
/// As [`run`]; [`ToolError::NotRun`] when there is more of it.
pub fn run_fed(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, ToolError> {
    let feed = || {
        let (reader, mut writer) = io::pipe()?;
        if input.len() > INPUT_LIMIT {
            return Err(io::Error::other("its input is too long"));
        }
        writer.write_all(input)?;
        Ok(reader)
    };
    let stdin = feed().map_err(ToolError::NotRun)?;
    run_with(command, stdin.into(), limit, None)
}

/// Like [`run`], and ends the command once `stop` can be read.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    command: &mut Command,
    limit: Duration,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Output, ToolError> {
    run_with(command, Stdio::null(), limit, stop)
}

fn run_with(
    command: &mut Command,
    stdin: Stdio,
    limit: Duration,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Output, ToolError> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ToolError::NotRun)?;
    let result = collect(&mut child, deadline, limit, stop);
    if result.is_err() {
        end(&mut child);
    }
    result
}

/// Ends a program and what it has started. Gently first, so that it can undo what is half done, as
/// git removes its locks.
fn end(child: &mut Child) {
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(GRACE_POLL);
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

fn collect(
    child: &mut Child,
    deadline: Instant,
    limit: Duration,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Output, ToolError> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        unreachable!("both streams are pipes");
    };
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(child),
        rustix::process::PidfdFlags::empty(),
    )
    .map_err(|e| ToolError::NotRun(e.into()))?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open, mut running) = (true, true, true);
    // Once the program has ended, only what is already in the pipes is read. A process that it left
    // behind may keep a pipe open: nobody waits for that.
    loop {
        let flags = |open: bool| {
            if open {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            }
        };
        let mut fds = Vec::with_capacity(3);
        if out_open {
            fds.push((PollFd::new(out.as_fd(), flags(true)), 0));
        }
        if err_open {
            fds.push((PollFd::new(err.as_fd(), flags(true)), 1));
        }
        if running {
            fds.push((PollFd::new(pidfd.as_fd(), flags(true)), 2));
            fds.extend(stop.map(|stop| (PollFd::new(stop, flags(true)), 3)));
        }
        if fds.is_empty() {
            break;
        }
        let wait = if running {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let (mut polls, kinds): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
        match nix::poll::poll(&mut polls, timeout(wait)) {
            Ok(0) if running => return Err(ToolError::TimedOut(limit)),
            Ok(0) => break,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(ToolError::NotRun(e.into())),
        }
        let ready: Vec<u8> = polls
            .iter()
            .zip(kinds)
            .filter(|(p, _)| p.any().unwrap_or(false))
            .map(|(_, kind)| kind)
            .collect();
        for kind in ready {
            match kind {
                0 => out_open = take(&mut out, &mut stdout)?,
                1 => err_open = take(&mut err, &mut stderr)?,
                3 => return Err(ToolError::Stopped),
                _ => running = false,
            }
        }
        if Instant::now() >= deadline {
            return Err(ToolError::TimedOut(limit));
        }
    }
    let status = child.wait().map_err(ToolError::NotRun)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Reads once what is there; tells whether the stream is still open.
fn take(stream: &mut impl Read, into: &mut Vec<u8>) -> Result<bool, ToolError> {
    // Keep this small: in a program that goes on, the stack never shrinks again.
    let mut chunk = [0; CHUNK];
    match stream.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(n) if into.len() + n > OUTPUT_LIMIT => Err(ToolError::TooMuchOutput),
        Ok(n) => {
            into.extend_from_slice(&chunk[..n]);
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(e) => Err(ToolError::NotRun(e)),
    }
}

/// A duration as poll(2) wants it, rounded up to whole milliseconds.
pub fn timeout(wait: Duration) -> PollTimeout {
    PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}

/// Where programs are looked for: the process's PATH, then the places where people install `gt`,
/// `bd`, `claude` and the like, and which a user manager's PATH lacks.
pub fn search_path(home: &Path) -> Vec<PathBuf> {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&given)
        .filter(|d| d.is_absolute())
        .collect();
    let usual = [
        home.join(".local/bin"),
        home.join("bin"),
        home.join("go/bin"),
        home.join(".cargo/bin"),
        home.join(".claude/local"),
        home.join(".npm-global/bin"),
        home.join(".bun/bin"),
        PathBuf::from("/home/linuxbrew/.linuxbrew/bin"),
        PathBuf::from("/usr/local/bin"),
        PathBuf::from("/usr/bin"),
        PathBuf::from("/bin"),
    ];
    for dir in usual {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// The path of a program of the system, such as `journalctl`; if it is missing, where it should be.
pub fn of_system(name: &str) -> PathBuf {
    let dirs = search_path(Path::new("/nonexistent"));
    find(name, &dirs).unwrap_or_else(|| Path::new("/usr/bin").join(name))
}

/// The absolute path of a program, or `None`. A name with a slash is taken as it is.
pub fn find(program: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return executable(&path).then_some(path);
    }
    dirs.iter()
        .map(|dir| dir.join(program))
        .find(|p| executable(p))
}

/// The other programs, found once.
#[derive(Debug, Clone)]
pub struct Tools {
    dirs: Vec<PathBuf>,
    found: HashMap<&'static str, PathBuf>,
}

impl Tools {
    /// Looks for `gt`, `bd` and `git` in [`search_path`].
    pub fn locate(home: &Path) -> Tools {
        let dirs = search_path(home);
        let found = ["gt", "bd", "git"]
            .into_iter()
            .filter_map(|name| Some((name, find(name, &dirs)?)))
            .collect();
        Tools { dirs, found }
    }

    /// The absolute path of a tool, if it is there.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.found.get(name).map(PathBuf::as_path)
    }

    /// A command that runs a tool in `dir`, with a PATH on which the tool finds its helpers;
    /// `None`: the tool is missing.
    pub fn command(&self, name: &str, dir: &Path) -> Option<Command> {
        Some(self.prepare(self.path(name)?, dir))
    }

    fn prepare(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir);
        if let Ok(path) = std::env::join_paths(&self.dirs) {
            command.env("PATH", path);
        }
        // Without the caller's identity: mail and beads must not be signed with it, and no other
        // town's must be read.
        environment::drop_foreign(&mut command);
        // bd must not start a daemon or server for its call: that would end with our job.
        command
            .env("BEADS_NO_DAEMON", "1")
            .env("BEADS_DOLT_AUTO_START", "0");
        command
    }
}

/// A path as an argument, for messages.
pub fn shown(path: impl AsRef<OsStr>) -> String {
    format!("'{}'", path.as_ref().to_string_lossy())
}

/// Writes a script for tests. Another process writes the file: of a file that this one has open,
/// a process that another test forks meanwhile keeps a copy, and then the script is "busy".
#[cfg(test)]
pub(crate) fn script(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    let mut install = Command::new("install");
    let status = install.args(["-m755", "-T"]).arg(&draft).arg(path).status();
    assert!(status.unwrap().success(), "{}", path.display());
    std::fs::remove_file(draft).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_come_back_apart() {
        let got = run(
            &mut sh("echo out; echo err >&2; exit 3"),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(
            (got.stdout.as_str(), got.stderr.as_str(), got.status.code()),
            ("out\n", "err\n", Some(3))
        );
        assert!(got.complaint().starts_with("err ("));
    }

    #[test]
    fn a_hanging_program_is_ended_with_its_children() {
        let begin = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let text = format!("sleep 60 & echo $! >{}; sleep 60", note.display());
        let got = run(&mut sh(&text), Duration::from_secs(1));
        assert!(matches!(got, Err(ToolError::TimedOut(_))));
        let child = std::fs::read_to_string(note).unwrap();
        // One that has ended may wait for somebody to collect it.
        let stat = format!("/proc/{}/stat", child.trim());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        while lives() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{child} lives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_grandchild_with_the_pipe_does_not_hold_us() {
        let begin = Instant::now();
        let got = run(
            &mut sh("setsid sleep 60 & echo done"),
            Duration::from_secs(30),
        )
        .unwrap();
        assert_eq!(got.stdout, "done\n");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn output_has_a_limit() {
        let got = run(
            &mut sh("head -c 20000000 /dev/zero; sleep 60"),
            Duration::from_secs(30),
        );
        assert!(matches!(got, Err(ToolError::TooMuchOutput)));
    }

    #[test]
    fn input_is_read_and_bounded() {
        let cat = || sh("cat; echo .");
        let limit = Duration::from_secs(10);
        let long = vec![b'x'; INPUT_LIMIT];
        assert_eq!(run_fed(&mut cat(), b"in", limit).unwrap().stdout, "in.\n");
        let got = run_fed(&mut cat(), &long, limit).unwrap().stdout;
        assert_eq!(got.len(), INPUT_LIMIT + 2);
        let more = vec![b'x'; INPUT_LIMIT + 1];
        assert!(matches!(
            run_fed(&mut cat(), &more, limit),
            Err(ToolError::NotRun(_))
        ));
    }

    #[test]
    fn a_missing_program_is_told_apart() {
        let got = run(&mut Command::new("/nonexistent"), Duration::from_secs(1));
        assert!(matches!(got, Err(ToolError::NotRun(_))));
    }
}
