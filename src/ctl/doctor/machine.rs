//! What the machine is like: the login, the journal, the kernel, the programs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::mend::Mend;
use super::report::{Report, parted};
use crate::alert;
use crate::ctl::{journalctl, user};
use crate::files;
use crate::systemd::runtime_dir;
use crate::tools::{self, Tools};
use crate::town::{Town, env_file as env};

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// The oldest tmux that is known to work, as 10 * major + minor.
const TMUX_LEAST: u32 = 33;

/// The cgroup controllers that limits and the figures of `status` come from.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The controllers that the machine has.
const ALL_CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";

/// Whether the town outlives a logout.
pub fn login(report: &mut Report) {
    if user::is_lingering() == Some(false) {
        let user = user::name();
        report
            .find(
                "linger",
                format!("Linger is off for {user}"),
                "The town ends when you log out, and does not start at boot",
                format!("loginctl enable-linger {user}"),
            )
            .mend = Some(Mend::Linger);
    }
}

/// Whether the journal tells what happened, also after a reboot.
pub fn journal(report: &mut Report) {
    if let Some(why) = journalctl::unreadable() {
        report.find(
            "journal",
            "The journal cannot be read",
            "logs, history and timeline come from it",
            why,
        );
    }
    if !Path::new("/var/log/journal").is_dir() {
        report.find(
            "journal",
            "The journal is not kept on disk",
            "After a reboot nobody knows why an agent died",
            "mkdir /var/log/journal && systemctl restart systemd-journald (as root)",
        );
    }
}

/// Whether the runtime directory, whose files last until the next boot, can be written.
pub fn runtime(report: &mut Report) {
    let dir = runtime_dir();
    if let Some((dir, full)) = dir.and_then(|dir| Some((dir.clone(), files::full(&dir)?))) {
        let dir = dir.display();
        report.find(
            "runtime",
            format!("Nothing can be written into '{dir}', for {}", full.what),
            "Sockets and notes of what runs cannot be made there",
            format!("{} '{dir}'", full.command),
        );
    }
}

/// Whether limits on agents and the figures of `status` work.
pub fn cgroups(report: &mut Report) {
    let uid = nix::unistd::geteuid();
    let path =
        format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let here: Vec<&str> = text.split_whitespace().collect();
            let missing: Vec<&str> = CONTROLLERS
                .into_iter()
                .filter(|c| !here.contains(c))
                .collect();
            let yours = if here.is_empty() {
                "no controllers".into()
            } else {
                here.join(" ")
            };
            report.fact("cgroups", format!("unified; {yours}"));
            let all = fs::read_to_string(ALL_CONTROLLERS).unwrap_or_default();
            for (what, command) in lacking(&missing, &all, is_container()) {
                report.find(
                    "cgroups",
                    what,
                    "Limits by them do nothing, and status cannot show them",
                    command,
                );
            }
        }
        Err(_) if Path::new(ALL_CONTROLLERS).exists() => {
            report.fact("cgroups", "unified; no user manager runs");
        }
        Err(_) => {
            report.fact("cgroups", "not unified");
            let command = match is_container() {
                true => "have the host of this container give it unified cgroups",
                false => "boot with systemd.unified_cgroup_hierarchy=1",
            };
            report.find("cgroups", "The kernel's cgroups are not unified", "Memory limits and figures are not available, and estop stops agents instead of freezing them", command);
        }
    }
}

/// Messages about the controllers that the user manager lacks, each with what to do. `all` are
/// those that the machine has: only they can be delegated.
fn lacking(missing: &[&str], all: &str, is_container: bool) -> Vec<(String, &'static str)> {
    let is_here = |name: &&str| all.split_whitespace().any(|one| one == *name);
    let (kept, absent): (Vec<&str>, Vec<&str>) = missing.iter().copied().partition(is_here);
    let mut said = Vec::new();
    if !kept.is_empty() {
        said.push((
            format!(
                "The controllers {} are not delegated to you",
                kept.join(", ")
            ),
            "systemctl edit user@.service (as root), with [Service] Delegate=cpu memory pids",
        ));
    }
    if !absent.is_empty() {
        let absent = absent.join(", ");
        said.push(match is_container {
            true => (
                format!("This container does not have the controllers {absent}"),
                "have the host of the container delegate them to it",
            ),
            false => (
                format!("The kernel does not have the controllers {absent}"),
                "cat /proc/cmdline /proc/cgroups: boot without 'cgroup_disable=', for memory with \
                 'cgroup_enable=memory', or with a kernel that has them",
            ),
        });
    }
    said
}

/// Whether this machine is a container, by a file that systemd makes in one.
fn is_container() -> bool {
    Path::new("/run/systemd/container").exists()
}

/// Whether the programs are there, and their versions.
pub fn programs(report: &mut Report, town: Option<&Town>) {
    let home = env::home().unwrap_or_else(|_| "/".into());
    let dirs = tools::search_path(&home);
    let found = Tools::locate(&home);
    let tmux = tools::find("tmux", &dirs);
    for (name, args, path) in [
        ("tmux", &["-V"][..], tmux.as_deref()),
        ("gt", &["version"], found.path("gt")),
        ("bd", &["version"], found.path("bd")),
        ("git", &["--version"], found.path("git")),
    ] {
        let Some(path) = path else {
            report.fact(name, "not found");
            continue;
        };
        let said = tools::run(Command::new(path).args(args), VERSION_LIMIT);
        let version = match &said {
            Ok(said) if said.status.success() => said
                .stdout
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_string(),
            Ok(said) => format!("fails: {}", said.complaint()),
            Err(e) => e.to_string(),
        };
        report.fact(name, format!("{}: {version}", path.display()));
        let works = said.is_ok_and(|said| said.status.success());
        if !works {
            report.find(
                "programs",
                format!("'{} {}' {version}", path.display(), args.join(" ")),
                "What needs it cannot work",
                format!("mend or reinstall {name}"),
            );
        } else if name == "tmux" && tmux_version(&version).is_some_and(|v| v < TMUX_LEAST) {
            report.find(
                "programs",
                format!("{version} is older than 3.3"),
                "Agents get their terminals from it",
                "apt install tmux",
            );
        }
    }
    if tmux.is_none() {
        report.find(
            "programs",
            "tmux is not found",
            "Agents get their terminals from it",
            "apt install tmux",
        );
    }
    if let Some(why) = env::home().ok().and_then(|home| alert::unfit_hook(&home)) {
        let (what, command) = parted(&why);
        report.find(
            "programs",
            what,
            "It is tried again with each alert",
            command,
        );
    }
    let is_town = town.is_some_and(|town| town.path("mayor/town.json").exists());
    for (name, why) in [
        (
            "gt",
            "Mail is neither read nor sent: no requests by mail, no alerts by mail",
        ),
        ("bd", "Agents' beads are neither read nor marked"),
    ] {
        if found.path(name).is_none() && is_town {
            let path = dirs
                .iter()
                .map(|d| d.display().to_string())
                .collect::<Vec<_>>()
                .join(":");
            report.find(
                "programs",
                format!("{name} is not found in {path}"),
                why,
                format!("ln -s /path/to/{name} ~/.local/bin/{name}"),
            );
        }
    }
}

/// `tmux 3.5a` as 35; `None` for other forms, such as `tmux master`.
fn tmux_version(text: &str) -> Option<u32> {
    let (major, rest) = text.strip_prefix("tmux ")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?.min(9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_give_a_controller() {
        for (missing, all, is_container, want) in [
            (&[][..], "cpu memory", false, &[][..]),
            (&["memory"], "cpu memory", true, &["systemctl edit"]),
            (&["memory"], "cpu", false, &["cat /proc/cmdline"]),
            (&["memory"], "", true, &["have the host"]),
            (
                &["cpu", "memory"],
                "cpu",
                true,
                &["systemctl edit", "have the host"],
            ),
        ] {
            let said = lacking(missing, all, is_container);
            assert_eq!(said.len(), want.len(), "{said:?}");
            let commands = said.iter().map(|(_, command)| command);
            assert!(commands.zip(want).all(|(got, want)| got.starts_with(want)));
        }
    }

    #[test]
    fn versions_of_tmux() {
        for (text, want) in [
            ("tmux 3.3a", Some(33)),
            ("tmux 3.5", Some(35)),
            ("tmux 2.10", Some(29)),
            ("tmux master", None),
            ("screen 4.9", None),
        ] {
            assert_eq!(tmux_version(text), want, "{text}");
        }
    }
}
