//! What the manager ignores in the unit files that people write: unknown keys, and values that it
//! cannot read. It says so only once, in the journal, when it loads the unit. systemd-analyze(1)
//! says it again, about the files as they are now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::words::one_line;
use crate::systemd::{Systemd, runtime_dir};
use crate::tools;

/// How long systemd-analyze may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How many units are looked at, at most, when each has files of its own.
const MOST: usize = 50;

/// Something that is ignored.
#[derive(Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub file: String,
    /// The line's number, and what systemd says about the line.
    pub what: String,
}

/// What is ignored in these units' files that people wrote; without such files nothing is run.
///
/// # Errors
/// The manager does not answer, or systemd-analyze cannot be run or says nothing that makes sense.
pub fn ignored(systemd: &Systemd, units: &[&str]) -> Result<Vec<Ignored>> {
    let read = systemd.read(units, &["DropInPaths", "FragmentPath"])?;
    let mut users: BTreeMap<String, &str> = BTreeMap::new();
    for (unit, properties) in &read {
        let files = properties.texts("DropInPaths").into_iter();
        let files = files.chain(properties.text("FragmentPath"));
        for file in files.filter(|file| is_written(file)) {
            users.entry(file).or_insert(unit);
        }
    }
    if users.is_empty() {
        return Ok(Vec::new());
    }
    // For each file, one unit that has it is enough.
    let units: BTreeSet<&str> = users.values().copied().take(MOST).collect();
    let mut command = Command::new(tools::of_system("systemd-analyze"));
    command.args([
        "--user",
        "--man=no",
        "--recursive-errors=no",
        "verify",
        "--",
    ]);
    // Without it systemd-analyze looks at nothing, and cron and `sudo -u` do not set it.
    command.envs(runtime_dir().map(|dir| ("XDG_RUNTIME_DIR", dir)));
    let said = tools::run(command.args(&units), LIMIT);
    let said = said.map_err(|e| anyhow!("systemd-analyze {e}"))?;
    // When it finds anything wrong it fails and says what; when it fails silently, it could not
    // look.
    let is_told = said.status.success() || !said.stderr.trim().is_empty();
    ensure!(is_told, "systemd-analyze failed: {}", said.status);
    let files: BTreeSet<&str> = users.keys().map(String::as_str).collect();
    Ok(complaints(&said.stderr, &files))
}

/// Whether a person may have written a file: not the package, the generator, or the manager (for a
/// transient unit).
fn is_written(file: &str) -> bool {
    let made = ["/systemd/generator", "/systemd/transient/"];
    !(file.starts_with("/usr/lib/") || made.iter().any(|dir| file.contains(dir)))
        && Path::new(file).is_absolute()
}

/// The lines `FILE:LINE: WHAT` of these files, each once.
fn complaints(text: &str, files: &BTreeSet<&str>) -> Vec<Ignored> {
    let mut found: Vec<Ignored> = Vec::new();
    for line in text.lines() {
        let Some((file, rest)) = files.iter().find_map(|file| {
            let rest = line.strip_prefix(file)?.strip_prefix(':')?;
            Some((file.to_string(), rest))
        }) else {
            continue;
        };
        let what = match rest.split_once(": ") {
            Some((number, what)) => format!("line {number}: {}", one_line(what)),
            None => one_line(rest),
        };
        let one = Ignored { file, what };
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_the_files_counts() {
        let file = "/home/me/.config/systemd/user/gt-agent@deacon.service.d/x: y.conf";
        let text = format!(
            "{file}:2: Unknown key 'MemroyMax' in section [Service], ignoring.\n\
             {file}:2: Unknown key 'MemroyMax' in section [Service], ignoring.\n\
             {file}:3: Failed to parse sec value, ignoring: a: b\x1b[0m\n\
             /usr/lib/systemd/user/other.service:3: Unknown key 'X' in section [Unit], ignoring.\n\
             gt-agent@deacon.service: Command /usr/libexec/gastown/gt-agent is not executable\n"
        );
        let ignored = |what: &str| Ignored {
            file: file.into(),
            what: what.into(),
        };
        assert_eq!(
            complaints(&text, &[file].into()),
            [
                ignored("line 2: Unknown key 'MemroyMax' in section [Service], ignoring."),
                ignored("line 3: Failed to parse sec value, ignoring: a: b[0m"),
            ]
        );
    }

    #[test]
    fn which_files_people_write() {
        for (file, want) in [
            (
                "/home/me/.config/systemd/user/gt-agent@.service.d/a.conf",
                true,
            ),
            ("/etc/systemd/user/gt-agent@.service", true),
            ("/run/user/1000/systemd/transient/x.timer", false),
            (
                "/run/user/1000/systemd/generator/gt-lifecycle.path.d/t.conf",
                false,
            ),
            ("/usr/lib/systemd/user/gt-agent@.service", false),
            ("", false),
        ] {
            assert_eq!(is_written(file), want, "{file}");
        }
    }
}
