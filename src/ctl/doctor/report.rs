//! What the checks found, and how it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::mend::Mend;
use crate::ctl::paint::Paint;
use crate::ctl::words;

/// Something that is wrong.
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
    /// What `--fix` can do about it.
    #[serde(skip)]
    pub mend: Option<Mend>,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is there: programs with paths and versions.
    pub facts: BTreeMap<String, String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What `--fix` did.
    pub mended: Vec<String>,
}

impl Report {
    /// Adds a finding.
    pub fn find(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        why: &str,
        command: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            check,
            what: words::one_line(&what.into()),
            why: why.into(),
            command: words::one_line(&command.into()),
            mend: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// Says what is there, beside what has been said under that name.
    pub fn fact(&mut self, name: &str, text: impl Into<String>) {
        let text = words::one_line(&text.into());
        let said = self.facts.entry(name.into()).or_default();
        let gap = if said.is_empty() { "" } else { "; " };
        *said = format!("{said}{gap}{text}");
    }
}

/// Parts a message from the command that stands in quotes behind its last `; run`.
pub fn parted(message: &str) -> (&str, String) {
    let (what, cure) = message.rsplit_once("; run ").unwrap_or((message, ""));
    let quoted = cure
        .strip_prefix('\'')
        .and_then(|cure| cure.rsplit_once('\''));
    let command = match quoted {
        Some((command, "")) => command.into(),
        Some((command, how)) => format!("{command} ({})", how.trim()),
        None if !cure.is_empty() => format!("run {cure}"),
        None => "do as the line above says".into(),
    };
    (what, command)
}

/// The report as text.
pub fn render(report: &Report, width: usize, colour: bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_command_at_its_end() {
        for (message, what, command) in [
            ("'/a; run b' fails; run 'rm x'", "'/a; run b' fails", "rm x"),
            (
                "No bus; run 'start it' as root",
                "No bus",
                "start it (as root)",
            ),
            ("No bus", "No bus", "do as the line above says"),
            (
                "No bus; run this as me, without sudo",
                "No bus",
                "run this as me, without sudo",
            ),
        ] {
            assert_eq!(parted(message), (what, command.to_string()), "{message}");
        }
    }

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
