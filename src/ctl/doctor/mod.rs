//! `gastownctl doctor`: whether the machine, the units and the town are fit for each other.
//!
//! Each check looks at one thing and says what is wrong, why it matters, and what to type.

mod machine;
mod mend;
mod town;
mod units;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::paint::{self, Paint};
use super::{cli, print, words};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::{Town, env_file as env};
use mend::Mend;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to type.
    pub command: String,
    /// It can be mended without asking.
    #[serde(skip)]
    mend: Option<Mend>,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is there: programs with paths and versions.
    pub facts: BTreeMap<&'static str, String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What `--fix` did.
    pub mended: Vec<String>,
}

impl Report {
    fn find(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        why: &str,
        command: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            check,
            what: what.into(),
            why: why.into(),
            command: command.into(),
            mend: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        self.facts.insert(name, text.into());
    }
}

/// Looks, mends if asked to, and prints; findings that are left are exit status 1.
///
/// # Errors
/// The report cannot be printed.
pub fn run(args: &cli::Doctor) -> Result<Exit> {
    let mut report = examine();
    if args.fix {
        let mut mended = Vec::new();
        for finding in &report.findings {
            let Some(mend) = &finding.mend else { continue };
            match mend.apply() {
                Ok(done) => mended.push(done),
                Err(e) => log::warn!("{e:#}, not mended"),
            }
        }
        if !mended.is_empty() {
            report = examine();
        }
        report.mended = mended;
    }
    print(&if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        render(&report, paint::width(), paint::colour(cli::Colour::Auto))
    })?;
    Ok(if report.findings.is_empty() {
        Exit::Ok
    } else {
        Exit::Failure
    })
}

fn render(report: &Report, width: usize, colour: bool) -> String {
    let mut out = String::new();
    for (name, text) in &report.facts {
        out += &format!("{name:>10}  {text}\n");
    }
    out.push('\n');
    for done in &report.mended {
        out += &format!("{}  {done}\n", Paint::Good.on("Mended", colour));
    }
    for finding in &report.findings {
        out += &words::wrapped(&format!("{}. {}", finding.what, finding.why), width).replacen(
            "  - ",
            &format!("  {} ", Paint::Bad.on("!", colour)),
            1,
        );
        out += &format!("    {}\n", Paint::Bold.on(&finding.command, colour));
    }
    out += &match report.findings.len() {
        0 => format!("{}\n", Paint::Good.on("Nothing is wrong", colour)),
        n => format!("\n{}\n", words::counted(n, "finding")),
    };
    out
}

fn examine() -> Report {
    let mut report = Report::default();
    machine::login(&mut report);
    machine::journal(&mut report);
    machine::cgroups(&mut report);
    let town = match Town::load() {
        Ok(town) => Some(town),
        Err(e) => {
            report.find(
                "town",
                format!("{e:#}"),
                "Nothing can run without a town",
                format!("gt install, or set {} in ~/{}", env::ROOT, env::FILE),
            );
            None
        }
    };
    let systemd = match Systemd::connect() {
        Ok(systemd) => Some(systemd),
        Err(e) => {
            let uid = nix::unistd::geteuid();
            report.find(
                "manager",
                format!("{e:#}"),
                "The user manager runs the town",
                format!("systemctl start user@{uid}.service (as root)"),
            );
            None
        }
    };
    machine::programs(&mut report, town.as_ref());
    if let Some(systemd) = &systemd
        && let Err(e) = units::units(&mut report, systemd, town.as_ref())
    {
        report.find(
            "manager",
            format!("{e:#}"),
            "It is not known whether the units are in order",
            "systemctl --user status",
        );
    }
    if let Some(town) = &town {
        report.fact(
            "town",
            format!(
                "{} ({:?}, tmux socket {})",
                town.root().display(),
                town.era(),
                town.socket()
            ),
        );
        for problem in town.problems() {
            report.find(
                "town",
                problem,
                "What the file said before is used until it is mended",
                "mend the file named above",
            );
        }
        town::agents(&mut report, town);
        let up = systemd
            .as_ref()
            .is_some_and(|s| s.town_is_up().unwrap_or(false));
        town::spools(&mut report, town, up);
        town::go_daemon(&mut report, town);
        town::server(&mut report, town, systemd.as_ref());
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_why_and_the_command() {
        let mut report = Report::default();
        report.fact("tmux", "/usr/bin/tmux: tmux 3.5a");
        report.find(
            "linger",
            "Linger is off for me",
            "The town ends when you log out",
            "loginctl enable-linger me",
        );
        assert_eq!(
            render(&report, 60, false),
            "      tmux  /usr/bin/tmux: tmux 3.5a\n\n  ! Linger is off for me. The town ends when you log out\n    \
             loginctl enable-linger me\n\n1 finding\n"
        );
        assert!(render(&Report::default(), 60, false).ends_with("Nothing is wrong\n"));
    }
}
