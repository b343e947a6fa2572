//! Which release of `gt` is in use: `gt version`, asked once per program file, and once a day.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::{Tools, run};
use crate::files;
use crate::town::dialect::{FILE, Release, Said, parse_answer, parse_said};
use crate::town::{env_file, has_town, home};

/// How long `gt version` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long we wait before we ask a program again that did not tell its release.
const RETRY: SignedDuration = SignedDuration::from_mins(10);

/// How long an answer holds: a script that a tool manager puts before `gt` stays the same file when
/// the release changes.
const HOLDS: SignedDuration = SignedDuration::from_hours(24);

/// As [`ask`], for the user's town and PATH, before the town is read. After a failure the town goes
/// by the last answer.
pub fn refresh() {
    // If there is no town, whoever reads it next tells why.
    let (Ok(location), Ok(home)) = (env_file::locate(), home()) else {
        return;
    };
    if let Err(e) = ask(&location.root, &Tools::locate(&home)) {
        log::warn!("What release of gt is in use is as it was: {e:#}");
    }
}

/// Asks `gt` for its release, unless this very file was asked within a day, and writes the answer into
/// the town. If `gt` fails, hangs or says nothing useful, only the reason is written.
///
/// The manager's programs and a person's may find different `gt`s, since they have different PATHs.
/// A person's program keeps to the `gt` whose answer is written, as long as that is there.
///
/// # Errors
/// The answer cannot be written.
pub fn ask(root: &Path, tools: &Tools) -> Result<()> {
    // In a directory that is no town, such as the mount point of a disk that is away, nothing is made.
    if !matches!(has_town(root), Ok(true)) {
        return Ok(());
    }
    let path = root.join(FILE);
    let text = files::read(&path).unwrap_or_default();
    let said = text
        .and_then(|text| parse_said(&text).ok())
        .unwrap_or_default();
    let started = std::env::var("SYSTEMD_EXEC_PID").ok();
    let program = match tools.path("gt") {
        Some(_) if !is_service(started.as_deref()) && stamp(&said.program).is_some() => {
            said.program.as_path()
        }
        Some(program) => program,
        // It is gone, perhaps while its next release is installed: keep its last answer.
        None => return forget_error(&path, said),
    };
    let Some(stamp) = stamp(program) else {
        return Ok(());
    };
    let now = Timestamp::now();
    let is_same = said.program == program && said.stamp == stamp;
    let holds = match said.error {
        None => HOLDS,
        Some(_) => RETRY,
    };
    let is_recent = |asked| now.duration_since(asked).abs() < holds;
    if is_same && said.asked.is_some_and(is_recent) {
        return Ok(());
    }
    let answer = answer(tools, program, root);
    let said = Said {
        program: program.to_path_buf(),
        stamp,
        release: answer.as_ref().ok().copied().or(said.release),
        error: answer.err().map(|e| format!("{e:#}")),
        asked: Some(now),
    };
    files::write(&path, &serde_json::to_vec_pretty(&said)?)
}

/// Of a `gt` that is gone nobody can mend why it did not tell its release; if it comes back, it is
/// asked again. A person's PATH may lack a `gt` that is there.
fn forget_error(path: &Path, said: Said) -> Result<()> {
    if said.error.is_none() || stamp(&said.program).is_some() {
        return Ok(());
    }
    let said = Said {
        error: None,
        asked: None,
        ..said
    };
    files::write(path, &serde_json::to_vec_pretty(&said)?)
}

/// Whether the manager started this very process. Only the pid tells: a person's shell inherits the
/// other variables of a service from the desktop's terminal, which is a service too.
fn is_service(exec_pid: Option<&str>) -> bool {
    exec_pid.is_some_and(|pid| pid.parse() == Ok(std::process::id()))
}

fn answer(tools: &Tools, program: &Path, root: &Path) -> Result<Release> {
    let mut command = tools.prepare(program, root);
    let out = run(command.arg("version"), LIMIT)?;
    anyhow::ensure!(out.status.success(), "it failed: {}", out.complaint());
    parse_answer(&out.stdout)
}

/// What tells a file from its successor at the same path.
fn stamp(program: &Path) -> Option<String> {
    program.metadata().ok().map(|meta| files::stamp(&meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::script;

    /// A town, and a `gt` on the path that does what the script says.
    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn gt(&self, text: &str) {
            let path = self.0.path().join("bin/gt");
            let new = path.with_extension("new");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let calls = self.calls();
            script(
                &new,
                &format!("#!/bin/sh\necho x >>'{}'\n{text}\n", calls.display()),
            );
            std::fs::rename(new, path).unwrap();
        }

        fn calls(&self) -> std::path::PathBuf {
            self.0.path().join("calls")
        }

        /// Asks; the release that is known then, whether there is an error, and the calls so far.
        fn ask(&self) -> (Option<String>, bool, usize) {
            let tools = Tools {
                dirs: vec!["/bin".into()],
                found: [("gt", self.0.path().join("bin/gt"))]
                    .into_iter()
                    .filter(|(_, path)| path.exists())
                    .collect(),
            };
            ask(self.0.path(), &tools).unwrap();
            let text = files::read(&self.0.path().join(FILE)).unwrap();
            let said = text.map_or_else(Said::default, |text| parse_said(&text).unwrap());
            let calls = std::fs::read_to_string(self.calls()).unwrap_or_default();
            (
                said.release.map(|release| release.to_string()),
                said.error.is_some(),
                calls.lines().count(),
            )
        }
    }

    #[test]
    fn a_shell_within_a_service_is_no_service() {
        let own = std::process::id().to_string();
        for (exec_pid, want) in [
            (None, false),
            (Some("1"), false),
            (Some(own.as_str()), true),
        ] {
            assert_eq!(is_service(exec_pid), want, "{exec_pid:?}");
        }
    }

    #[test]
    fn each_file_is_asked_once_and_the_last_answer_holds() {
        let town = Fixture(tempfile::tempdir().unwrap());
        town.gt("echo 'gt version 0.2.6 (dev)'");
        assert_eq!(town.ask(), (None, false, 0));
        assert!(!town.0.path().join("daemon").exists(), "made in no town");
        std::fs::remove_file(town.0.path().join("bin/gt")).unwrap();
        files::write(&town.0.path().join("mayor/town.json"), b"{}").unwrap();
        let is = |release: &str, error, calls| (Some(release.to_string()), error, calls);
        assert_eq!(town.ask(), (None, false, 0));
        town.gt("echo 'gt version 0.2.6 (dev)'");
        assert_eq!(town.ask(), is("0.2.6", false, 1));
        assert_eq!(town.ask(), is("0.2.6", false, 1));
        town.gt("echo 'gt version 0.7.0 (dev: main@abcdef)'");
        assert_eq!(town.ask(), is("0.7.0", false, 2));
        town.gt("echo 'gt version unknown'");
        assert_eq!(town.ask(), is("0.7.0", true, 3));
        assert_eq!(town.ask(), is("0.7.0", true, 3));
        town.gt("echo 'gt version 1.0.1'; exit 1");
        assert_eq!(town.ask(), is("0.7.0", true, 4));
        // Moved away it has no error that somebody could mend; when it is back, it has.
        let [gt, away] = ["bin/gt", "bin/away"].map(|name| town.0.path().join(name));
        std::fs::rename(&gt, &away).unwrap();
        assert_eq!(town.ask(), is("0.7.0", false, 4));
        assert_eq!(town.ask(), is("0.7.0", false, 4));
        std::fs::rename(&away, &gt).unwrap();
        assert_eq!(town.ask(), is("0.7.0", true, 5));
        std::fs::remove_file(&gt).unwrap();
        assert_eq!(town.ask(), is("0.7.0", false, 5));
        town.gt("echo 'gt version 1.0.1 (dev)'");
        assert_eq!(town.ask(), is("1.0.1", false, 6));
        // A day later.
        let file = town.0.path().join(FILE);
        let text = files::read(&file).unwrap().unwrap();
        let mut said = parse_said(&text).unwrap();
        said.asked = Some(Timestamp::now() - HOLDS);
        files::write(&file, &serde_json::to_vec(&said).unwrap()).unwrap();
        assert_eq!(town.ask(), is("1.0.1", false, 7));
    }
}
