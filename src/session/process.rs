//! Processes, as /proc shows them. Used to move a tree into a unit and to watch its head,
//! never to guess whether an agent lives.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::time::{ClockId, clock_gettime};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::files::small_file;
use crate::systemd;
use crate::tmux::is_inside;
use crate::tools;

/// The most processes between a hook and its pane that are looked at.
const ANCESTORS: usize = 50;

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    parent: u32,
    group: u32,
    /// The foreground process group of the controlling terminal.
    foreground: u32,
    /// Stopped by a signal, until one lets it go on.
    is_stopped: bool,
}

/// A file descriptor that becomes readable when the process ends; `None` when it has.
///
/// # Errors
/// The kernel has no room for another descriptor; the process may live or not.
pub fn watch(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(end) => Ok(Some(end)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether a process is stopped by a signal, as by SIGSTOP, until SIGCONT.
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.is_stopped)
}

/// Whether a process has ended and its status was collected.
pub fn has_ended(pid: u32) -> bool {
    kill(nix::unistd::Pid::from_raw(pid.cast_signed()), None) == Err(Errno::ESRCH)
}

/// A process and all its descendants, parents first.
pub fn tree(root: u32) -> Vec<u32> {
    tree_among(root, all())
}

/// A process and its descendants in its control group, parents first. Does not read the machine's
/// other processes.
pub fn unit_tree(root: u32) -> Vec<u32> {
    match members(root) {
        Some(pids) => tree_among(root, pids.into_iter()),
        None => tree(root),
    }
}

fn tree_among(root: u32, pids: impl Iterator<Item = u32>) -> Vec<u32> {
    trees_among(vec![root], pids)
}

/// Processes and their descendants among others.
pub fn trees_among(roots: Vec<u32>, pids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = roots;
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Whether the hook that called us is that of an agent in a pane of this tmux server, and not that of
/// another program which the agent has started: no shell is between the pane's process and the
/// program whose hook it is.
pub fn is_agents_own(server: u32) -> bool {
    let mut chain = Vec::new();
    let mut pid = std::process::id();
    while let Some(stat) = stat(pid).filter(|_| chain.len() < ANCESTORS) {
        chain.push(is_shell(&arguments(pid)));
        if stat.parent == server {
            return is_hook_chain(&chain);
        }
        pid = stat.parent;
    }
    false
}

/// Whether the processes from us up to the pane's process are those of an agent's hook. `shells` says
/// which of them are shells: some that run the hook may come first, then the program and its
/// launchers, which are no shells; the last, the pane's, may be one.
fn is_hook_chain(shells: &[bool]) -> bool {
    let program = shells.iter().skip(1).position(|shell| !shell);
    let above = program.map_or(&[][..], |at| &shells[at + 2..]);
    above
        .split_last()
        .is_none_or(|(_, between)| !between.contains(&true))
}

/// The processes of the control group of `pid`, and of those below it; `None` where the hierarchy
/// cannot be read.
fn members(pid: u32) -> Option<Vec<u32>> {
    let text = small_file(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut dirs = vec![Path::new("/sys/fs/cgroup").join(path)];
    let mut pids = Vec::new();
    while let Some(dir) = dirs.pop() {
        let listed = fs::read_to_string(dir.join("cgroup.procs")).ok()?;
        pids.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        let below = fs::read_dir(&dir).ok()?.flatten();
        dirs.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    pids.contains(&pid).then_some(pids)
}

/// Everything that was started in a pane: the tree of its first process, and what has left that
/// tree by `setsid` or a double fork but still carries the pane's id in its environment. What is in a
/// control group of its own is left out: a window of an editor, say, has the environment of whoever
/// asked for it.
pub fn pane_members(root: u32, pane: &str, server: u32) -> Vec<u32> {
    let mut found = tree(root);
    let groups = |pid: u32| small_file(format!("/proc/{pid}/cgroup"));
    let own = [root, server].map(groups);
    let is_beside = |pid: u32| {
        let groups = groups(pid);
        (groups.is_some() && own.contains(&groups)) || is_in_scope(pid)
    };
    let was_started =
        |pid: u32| environment(pid).is_some_and(|found| names_pane(&found, pane, server));
    let strays: Vec<u32> = all()
        .filter(|&pid| !found.contains(&pid) && is_beside(pid) && was_started(pid))
        .collect();
    found.extend(strays);
    found
}

/// Whether an environment names a pane and, in TMUX, its server:
/// `<socket path>,<server pid>,<session number>`.
pub fn names_pane(environment: &HashMap<String, String>, pane: &str, server: u32) -> bool {
    let value = |key: &str| environment.get(key).map(String::as_str);
    let names_server = value("TMUX").is_some_and(|tmux| is_inside(tmux, server));
    value("TMUX_PANE") == Some(pane) && names_server
}

/// The environment that a process was started with, as far as it is text; `None`: the process has
/// ended, or we may not read it.
pub fn environment(pid: u32) -> Option<HashMap<String, String>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = bytes
        .split(|&b| b == 0)
        .filter_map(|v| std::str::from_utf8(v).ok()?.split_once('='));
    let owned = |(key, value): (&str, &str)| (key.to_string(), value.to_string());
    Some(variables.map(owned).collect())
}

/// The directory that a process works in.
pub fn directory(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Whether a process lives, and is in the cgroup of a unit.
pub fn is_in(pid: u32, unit: &str) -> bool {
    belongs(pid, unit) == Some(true) && stat(pid).is_some()
}

/// Whether a process lives, and is not in the cgroup of a unit.
pub fn is_outside(pid: u32, unit: &str) -> bool {
    belongs(pid, unit) == Some(false) && stat(pid).is_some()
}

/// Whether a process is in the cgroup of a unit; `None`: there is no such process.
fn belongs(pid: u32, unit: &str) -> Option<bool> {
    let text = small_file(format!("/proc/{pid}/cgroup"))?;
    let part = format!("/{unit}");
    let (end, inner) = (&part, format!("{part}/"));
    Some(text.lines().any(|l| l.ends_with(end) || l.contains(&inner)))
}

/// Whether a process is in a scope that tmux has had made for its pane.
pub fn is_in_scope(pid: u32) -> bool {
    small_file(format!("/proc/{pid}/cgroup"))
        .is_some_and(|text| text.lines().any(|line| line.contains("/tmux-spawn-")))
}

/// How many processes of our own cgroup the kernel has killed for want of memory; 0 without unified
/// cgroups, where the kernel does not count them.
pub fn oom_kills() -> u64 {
    let count = || -> Option<u64> {
        let own = small_file("/proc/self/cgroup")?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let events = format!("/sys/fs/cgroup/{path}/memory.events");
        let events = small_file(events)?;
        let line = events.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
        line.parse().ok()
    };
    count().unwrap_or(0)
}

/// The CPU time that processes and their ended children have used, in nanoseconds. A process that
/// has ended meanwhile counts as nothing.
pub fn cpu_nsec(pids: &[u32]) -> u64 {
    let used = |pid: &u32| cpu_ticks(&small_file(format!("/proc/{pid}/stat"))?);
    pids.iter().filter_map(used).sum::<u64>() * tick_nsec()
}

/// A tick of the times in `/proc/<pid>/stat`, in nanoseconds.
fn tick_nsec() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let per_second = ticks.ok().flatten().and_then(|n| u64::try_from(n).ok());
    1_000_000_000 / per_second.unwrap_or(100).max(1)
}

/// From a line of `/proc/<pid>/stat`: user and system time of the process and its ended children.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let times = fields.skip(11).take(4).map(|time| time.parse::<u64>().ok());
    let times: Vec<u64> = times.collect::<Option<_>>()?;
    (times.len() == 4).then(|| times.iter().sum())
}

/// Whether a process was started before another one; not where one of them has ended.
pub fn is_older(pid: u32, other: u32) -> bool {
    let [pid, other] = [pid, other].map(systemd::started_ticks);
    matches!((pid, other), (Some(pid), Some(other)) if pid < other)
}

/// When a process was started; `None`: there is none.
pub fn started(pid: u32) -> Option<Timestamp> {
    let ticks = systemd::started_ticks(pid)?;
    let booted = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let ago = booted.saturating_sub(Duration::from_nanos(ticks.checked_mul(tick_nsec())?));
    Some(Timestamp::now() - ago)
}

/// What runs in a pane whose first process is `pid`.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// The process to watch: the pane's own, or what a shell runs in the foreground.
    Process(u32),
    /// A shell that still starts: it runs a command of its start-up files, and what a person or a tool
    /// has typed it runs after them.
    StartingShell(u32),
    /// Nothing but a shell that waits for a person.
    IdleShell,
}

impl Head {
    /// The process that is at work there, if one is.
    pub fn process(&self) -> Option<u32> {
        match self {
            Head::Process(pid) | Head::StartingShell(pid) => Some(*pid),
            Head::IdleShell => None,
        }
    }
}

/// Finds what to watch in a pane that somebody else started: people and older tools type the
/// agent's command into a login shell, and the shell outlives it.
pub fn head(pid: u32) -> Head {
    if !is_interactive_shell(&arguments(pid)) {
        return Head::Process(pid);
    }
    let Some(stat) = stat(pid) else {
        return Head::Process(pid);
    };
    if stat.foreground != stat.group
        && let Some(runs) = in_group(pid, stat.foreground)
    {
        // A person may start the agent from this very shell.
        return match starts_units(&arguments(runs)) {
            true => Head::IdleShell,
            false => Head::Process(runs),
        };
    }
    // A shell that does not control jobs yet, such as one that reads its start-up files, has what
    // it runs in its own process group. What it has in the background is in groups of their own.
    let shares_group = |&child: &u32| {
        child != pid && self::stat(child).is_some_and(|child| child.group == stat.group)
    };
    match tree(pid).iter().any(shares_group) {
        true => Head::StartingShell(pid),
        false => Head::IdleShell,
    }
}

/// A process of a group that a shell runs: the group's leader; where that has ended, as the first
/// program of a pipeline may have, the first other one.
fn in_group(shell: u32, group: u32) -> Option<u32> {
    let is_in = |pid: &u32| stat(*pid).is_some_and(|stat| stat.group == group);
    match is_in(&group) {
        true => Some(group),
        false => tree(shell).into_iter().find(is_in),
    }
}

/// The socket that a tmux server, or a gt-agent that watches one, was started for, by name or path;
/// `None`: its arguments do not say, or it is neither of the two.
pub fn tmux_socket(pid: u32) -> Option<String> {
    let arguments = arguments(pid);
    let name = arguments.first()?.rsplit('/').next()?;
    if !["tmux", "gt-agent"].contains(&name) {
        return None;
    }
    let mut rest = arguments
        .iter()
        .skip_while(|arg| *arg != "-L" && *arg != "-S");
    rest.nth(1).cloned()
}

/// The command line of a process; empty when it has ended.
pub fn arguments(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/cmdline");
    let text = small_file(&path).unwrap_or_else(|| {
        let bytes = fs::read(&path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let parts = text.split('\0').filter(|part| !part.is_empty());
    parts.map(String::from).collect()
}

/// A shell without a script or command: nothing but options after its name.
fn is_interactive_shell(argv: &[String]) -> bool {
    is_shell(argv)
        && argv[1..]
            .iter()
            .all(|arg| arg.starts_with('-') && !arg.trim_start_matches('-').starts_with('c'))
}

fn is_shell(argv: &[String]) -> bool {
    tools::is_shell(program(argv))
}

/// Whether a command is one by which people start units, and that waits until they are up.
fn starts_units(argv: &[String]) -> bool {
    ["gastownctl", "systemctl"].contains(&program(argv))
}

/// The name of a command's program.
fn program(argv: &[String]) -> &str {
    let program = argv.first().and_then(|program| program.rsplit('/').next());
    program.unwrap_or_default()
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&small_file(format!("/proc/{pid}/stat"))?)
}

/// The command name stands in parentheses and may itself contain any character. A zombie is no
/// process any more: it has no children and cannot be moved.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let (_session, _tty) = (fields.next()?, fields.next()?);
    let foreground: i64 = fields.next()?.parse().ok()?;
    Some(Stat {
        parent,
        group,
        foreground: foreground.try_into().unwrap_or(0),
        is_stopped: state == "T",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_parse_whatever_the_command_is_called() {
        let line = "812 (a) b (c) S 99 812 812 34816 900 4194304 1 2";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                parent: 99,
                group: 812,
                foreground: 900,
                is_stopped: false,
            })
        );
        let stopped = parse_stat("812 (a) T 99 812 812 34816 900").unwrap();
        assert!(stopped.is_stopped);
        // Stopped by a debugger, which lets it go on.
        let traced = parse_stat("812 (a) t 99 812 812 34816 900").unwrap();
        assert!(!traced.is_stopped);
        assert_eq!(parse_stat("812 (done) Z 99 812 812 34816 900"), None);
        assert_eq!(parse_stat("garbage"), None);
        let line = "812 (a) b (c) S 99 812 812 34816 900 4194304 1 2 3 4 50 6 7 8 20 0";
        assert_eq!(cpu_ticks(line), Some(71));
        assert_eq!(cpu_ticks("812 (a) S 1"), None);
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        let age = Timestamp::now().duration_since(started(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(age.abs().as_secs() < 60, "{age}");
        assert_eq!(started(child.id()), None);
    }

    #[test]
    fn only_a_shell_without_a_script_waits_for_a_person() {
        for (argv, want) in [
            (vec!["-bash"], true),
            (vec!["/bin/bash", "-l", "-i"], true),
            (vec!["-csh"], true),
            (vec!["/usr/bin/nu"], true),
            (vec!["bash", "/usr/local/bin/agent"], false),
            (vec!["sh", "-c", "agent"], false),
            (vec!["claude"], false),
            (vec![], false),
        ] {
            let argv: Vec<String> = argv.into_iter().map(String::from).collect();
            assert_eq!(is_interactive_shell(&argv), want, "{argv:?}");
        }
    }

    /// Whether that comes to be the head of a shell in which this is typed.
    fn comes_to_be(typed: &str, is_it: impl Fn(&Head) -> bool) -> bool {
        use std::io::Write;
        use std::process::{Command, Stdio};
        // A terminal with a shell in it.
        let mut terminal = Command::new("script");
        terminal.args(["-qec", "exec bash --norc -i", "/dev/null"]);
        let mut terminal = terminal
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut keys = terminal.stdin.take().unwrap();
        keys.write_all(typed.as_bytes()).unwrap();
        let found = || {
            let tree = tree(terminal.id()).into_iter();
            let mut shells = tree.filter(|pid| is_interactive_shell(&arguments(*pid)));
            shells.next().is_some_and(|shell| is_it(&head(shell)))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let mut came = false;
        while !came && std::time::Instant::now() < deadline {
            came = found();
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in tree(terminal.id()) {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            let _ = kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        terminal.wait().unwrap();
        came
    }

    #[test]
    fn an_agent_behind_a_pipe_runs_when_what_was_before_the_pipe_has_ended() {
        let is_it = |pid: &u32| arguments(*pid) == ["sleep", "61"];
        assert!(comes_to_be(
            "true | sleep 61\n",
            |head| matches!(head, Head::Process(pid) if is_it(pid))
        ));
    }

    #[test]
    fn a_shell_that_runs_something_in_its_own_process_group_still_starts() {
        assert!(comes_to_be("x=$(sleep 61)\n", |head| matches!(
            head,
            Head::StartingShell(_)
        )));
    }

    #[test]
    fn who_starts_an_agent_is_not_the_agent() {
        for (argv, want) in [
            (vec!["gastownctl", "start", "deacon"], true),
            (vec!["/usr/bin/systemctl", "--user", "start", "x"], true),
            (vec!["claude", "gastownctl"], false),
            (vec![], false),
        ] {
            let argv: Vec<String> = argv.into_iter().map(String::from).collect();
            assert_eq!(starts_units(&argv), want, "{argv:?}");
        }
    }

    #[test]
    fn hooks_of_other_agents_in_the_same_pane_are_not_the_agents_own() {
        for (chain, want) in [
            // gastownctl, sh -c, claude
            ("-s-", true),
            // gastownctl, codex, its launcher
            ("---", true),
            // ... in a shell that gt or a person typed the command into
            ("-s-s", true),
            ("-s--s", true),
            // ... by hand, in the pane's shell
            ("-s", true),
            ("-", true),
            // claude -p, run by the Bash tool of the pane's claude
            ("-s-s-", false),
            ("-s-s-s", false),
            ("---s-", false),
        ] {
            let shells: Vec<bool> = chain.chars().map(|c| c == 's').collect();
            assert_eq!(is_hook_chain(&shells), want, "{chain}");
        }
    }

    #[test]
    fn a_tree_has_its_children() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        assert!(watch(child.id()).unwrap().is_some() && !has_ended(child.id()));
        assert!(is_outside(child.id(), "no.service"));
        child.kill().unwrap();
        // A zombie: nobody has asked for its status yet, and there is nothing left to be moved.
        while stat(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(!is_outside(child.id(), "no.service") && !has_ended(child.id()));
        child.wait().unwrap();
        assert!(watch(child.id()).unwrap().is_none() && has_ended(child.id()));
        assert!(watch(0).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_watched_has_not_ended() {
        // The kernel refuses a thread that leads no process.
        let thread = std::thread::spawn(|| {
            let id = nix::unistd::gettid().as_raw() as u32;
            assert!(watch(id).is_err() && !has_ended(id));
        });
        thread.join().unwrap();
    }
}
