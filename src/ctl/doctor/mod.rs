//! `gastownctl doctor`: whether the machine, the units and the town are fit for each other.
//!
//! Each check looks at one thing and says what is wrong, why it matters, and what to type.

mod machine;
mod mend;
mod report;
mod town;
mod units;

use anyhow::Result;

use super::output::print;
use super::{cli, paint};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::{Town, env_file as env, rigs};
use report::{Report, parted, render};

/// Looks, mends if asked to, and prints. The exit status is 1 if findings are left.
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

fn examine() -> Report {
    let mut report = Report::default();
    machine::login(&mut report);
    machine::journal(&mut report);
    machine::cgroups(&mut report);
    machine::runtime(&mut report);
    let town = match Town::load() {
        Ok(town) => Some(town),
        Err(e) => {
            let e = format!("{e:#}");
            let (what, command) = match env::locate() {
                Ok(_) => e.rsplit_once("; ").unwrap_or((&e, "mend that")),
                Err(_) => (e.as_str(), "mend that file; each line is KEY=VALUE"),
            };
            let why = "Nothing can run without a town";
            report.find("town", what, why, command);
            None
        }
    };
    let systemd = match Systemd::connect() {
        Ok(systemd) => Some(systemd),
        Err(e) => {
            let e = format!("{e:#}");
            let (what, command) = parted(&e);
            report.find("manager", what, "The user manager runs the town", command);
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
                "{} (as with gt {}, tmux socket {})",
                town.root().display(),
                town.dialect().release(),
                town.socket()
            ),
        );
        for (rig, dir) in town.homeless_rigs() {
            report.find(
                "town",
                format!("Rig {rig} has no directory '{}'", dir.display()),
                "None of its agents is started",
                format!(
                    "gt rig add {rig} URL, or take it out of '{}'",
                    town.path(rigs::FILE).display()
                ),
            );
        }
        let of_rigs = town.rig_problems();
        for problem in town.problems() {
            let file = "mend the file named above";
            let (why, command) = if problem.contains("last good content is in use") {
                ("What the file said before is used until it is mended", file)
            } else if town.errors().contains(&problem.as_str()) {
                ("Nothing of the file is used until it is mended", file)
            } else if of_rigs.contains(&problem) {
                ("The rest of the file is used", file)
            } else {
                (
                    "It stays so until somebody acts",
                    "do as the line above says",
                )
            };
            report.find("town", problem, why, command);
        }
        town::slips(&mut report, town);
        town::secrets(&mut report);
        town::sockets(&mut report);
        town::writable(&mut report, town);
        town::agents(&mut report, town);
        let up = systemd
            .as_ref()
            .is_some_and(|s| s.town_is_up().unwrap_or(false));
        town::spools(&mut report, town, up);
        town::shared(&mut report, town);
        town::go_daemon(&mut report, town);
        town::server(&mut report, town, systemd.as_ref());
        if let Some(systemd) = &systemd {
            town::strays(&mut report, town, systemd);
            town::elsewhere(&mut report, town, systemd);
            town::beside(&mut report, town, systemd);
        }
    }
    report
}
