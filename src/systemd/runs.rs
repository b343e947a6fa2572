//! What the manager says of services, asked only where it can have changed.
//!
//! While a service's main process is the same one, and so is the process that its status text names,
//! the service runs as it ran before: the manager has neither restarted it nor noted an end. So what was read of such a run is kept in the user's
//! runtime directory, with the process and its start time, and no call is made for it again. What
//! changes during a run is read from its control group. The file may be lost at any time.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use zbus::OwnedVariant;

use super::{Properties, Systemd, Unit, runtime_dir};
use crate::files::{self, small, small_file};
use crate::said::process_of;

/// The most that is read of the file, in bytes.
const LIMIT: u64 = 16 << 20;

/// The property that tells a run from another.
const PID: &str = "MainPID";

/// The property in which a service says what it does.
const SAID: &str = "StatusText";

/// The file in which runs are kept, below the runtime directory.
const FILE: &str = "gastown/runs.json";

/// A value of a property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Value {
    Text(String),
    Number(u64),
    Small(u32),
    Int(i32),
}

/// A run of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Run {
    /// The main process.
    pid: u32,
    /// When it was started, in clock ticks since boot.
    started: u64,
    /// Its control group, as the kernel names it.
    group: String,
    /// The properties that were read; those that the unit does not have are missing.
    values: BTreeMap<String, Option<Value>>,
}

type Runs = BTreeMap<String, Run>;

impl Systemd {
    /// Some properties of many units, as [`Systemd::read`] gives them, with no call for those that
    /// run as they ran when they were last asked.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn look(&self, units: &[&Unit], names: &[&str]) -> Result<BTreeMap<String, Properties>> {
        if units.is_empty() {
            return Ok(BTreeMap::new());
        }
        let path = runtime_dir().map(|dir| dir.join(FILE));
        let mut before = path.as_deref().map(load).unwrap_or_default();
        let mut runs = Runs::new();
        let mut new = Vec::new();
        let mut lacking = Runs::new();
        for unit in units {
            let run = before
                .remove(&unit.name)
                .filter(|run| unit.runs() && run.is_on());
            let name = unit.name.clone();
            match run {
                Some(run) if names.iter().all(|name| run.knows(name)) => {
                    runs.insert(name, run);
                    continue;
                }
                Some(run) => _ = lacking.insert(name, run),
                None => {}
            }
            new.push(*unit);
        }
        let mut asked: Vec<&str> = vec![PID];
        asked.extend(names.iter().filter(|name| **name != PID));
        let mut all = self.read(&names_of(&new), &asked)?;
        // A unit that has another main process by now is asked about again next time.
        let running: Vec<&Unit> = new.iter().filter(|unit| unit.runs()).copied().collect();
        let now = self.read(&names_of(&running), &[PID])?;
        for unit in running {
            let pid = |of: &BTreeMap<String, Properties>| of.get(&unit.name)?.number(PID);
            if let Some(read) = all.get(&unit.name)
                && pid(&all) == pid(&now)
                && let Some(mut run) = Run::of(read, &asked)
            {
                if let Some(other) = lacking
                    .remove(&unit.name)
                    .filter(|other| other.is_same(&run))
                {
                    run.values.extend(other.values);
                }
                runs.insert(unit.name.clone(), run);
            }
        }
        // The runs of units that were not asked for this time.
        let left = before.len();
        before.retain(|_, run| run.is_on());
        if let Some(path) = path.filter(|_| !new.is_empty() || before.len() < left) {
            let all: Runs = before.into_iter().chain(runs.clone()).collect();
            // If it fails, the manager is asked again next time.
            let _ = serde_json::to_vec(&all).map(|text| files::replace(&path, &text));
        }
        for (name, run) in runs {
            all.entry(name).or_insert_with(|| run.properties(names));
        }
        Ok(all)
    }
}

fn names_of<'a>(units: &[&'a Unit]) -> Vec<&'a str> {
    units.iter().map(|unit| unit.name.as_str()).collect()
}

impl Unit {
    /// Whether it is up, and nothing is about to change that.
    fn runs(&self) -> bool {
        self.active == "active" && self.sub == "running" && self.job.is_none()
    }
}

impl Run {
    fn of(read: &Properties, names: &[&str]) -> Option<Run> {
        let pid = u32::try_from(read.number(PID)?).ok()?;
        let values = names.iter().filter(|name| !is_of_group(name));
        Some(Run {
            pid,
            started: started_ticks(pid)?,
            group: group(pid)?,
            values: values
                .map(|name| (name.to_string(), value(read, name)))
                .collect(),
        })
    }

    fn is_on(&self) -> bool {
        started_ticks(self.pid) == Some(self.started) && self.says_what_is()
    }

    /// Whether the process that the unit's status text names still lives. gt-agent says something else
    /// when its agent is another process, or while there is none.
    fn says_what_is(&self) -> bool {
        let Some(Some(Value::Text(said))) = self.values.get(SAID) else {
            return true;
        };
        said.is_empty() || process_of(said).is_some_and(|agent| started_ticks(agent).is_some())
    }

    fn is_same(&self, other: &Run) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    fn knows(&self, name: &str) -> bool {
        is_of_group(name) || self.values.contains_key(name)
    }

    fn properties(&self, names: &[&str]) -> Properties {
        let mut properties = Properties::default();
        let mut group = None;
        for name in names {
            let value = match self.values.get(*name) {
                Some(value) => value.clone(),
                None => {
                    let group = group.get_or_insert_with(|| opened(&self.group));
                    group.as_ref().and_then(|group| of_group(group, name))
                }
            };
            let value = value.map(|value| match value {
                Value::Text(text) => zbus::Str::from(text).into(),
                Value::Number(number) => number.into(),
                Value::Small(number) => number.into(),
                Value::Int(number) => OwnedVariant::from(number),
            });
            if let Some(value) = value {
                properties.0.insert(name.to_string(), value);
            }
        }
        properties
    }
}

fn value(read: &Properties, name: &str) -> Option<Value> {
    let value = read.0.get(name)?;
    None.or_else(|| u64::try_from(value).ok().map(Value::Number))
        .or_else(|| u32::try_from(value).ok().map(Value::Small))
        .or_else(|| i32::try_from(value).ok().map(Value::Int))
        .or_else(|| read.text(name).map(Value::Text))
}

/// Whether a property changes during a run, and is read from the control group.
fn is_of_group(name: &str) -> bool {
    matches!(
        name,
        "MemoryCurrent" | "CPUUsageNSec" | "TasksCurrent" | "FreezerState"
    )
}

/// A control group's directory; `None`: it has gone, or there are no unified control groups.
fn opened(group: &str) -> Option<OwnedFd> {
    let path = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn of_group(group: &OwnedFd, name: &str) -> Option<Value> {
    let read = |file: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(group, file, flags, Mode::empty()).ok()?;
        small(file.into())
    };
    let field = |file: &str, key: &str| -> Option<u64> {
        let text = read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    let number = |file: &str| read(file)?.trim().parse().ok().map(Value::Number);
    match name {
        "MemoryCurrent" => number("memory.current"),
        "TasksCurrent" => number("pids.current"),
        "CPUUsageNSec" => field("cpu.stat", "usage_usec ").map(|usec| Value::Number(usec * 1000)),
        // Without unified control groups there is no such file, and nothing can be frozen.
        _ => Some(Value::Text(match field("cgroup.events", "frozen ") {
            Some(1) => "frozen".into(),
            _ => "running".into(),
        })),
    }
}

/// When a process was started, in clock ticks since boot: with its pid this tells it from all others.
/// `None`: it has ended.
pub fn started_ticks(pid: u32) -> Option<u64> {
    let stat = small_file(format!("/proc/{pid}/stat"))?;
    // The command name stands in parentheses and may contain any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn group(pid: u32) -> Option<String> {
    let text = small_file(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_string())
}

fn load(path: &Path) -> Runs {
    let text = files::read_untrusted(path, LIMIT).ok().flatten();
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_by_its_process() {
        let own = std::process::id();
        let run = Run {
            pid: own,
            started: started_ticks(own).unwrap(),
            group: group(own).unwrap_or_default(),
            values: BTreeMap::new(),
        };
        assert!(run.is_on());
        let other = Run {
            started: run.started + 1,
            ..run.clone()
        };
        assert!(!other.is_on());
    }

    #[test]
    fn what_was_said_of_an_agent_counts_as_long_as_it_lives() {
        let own = std::process::id();
        let mut agent = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let said = |said: &str| Run {
            pid: own,
            started: started_ticks(own).unwrap(),
            group: String::new(),
            values: [(SAID.to_string(), Some(Value::Text(said.into())))].into(),
        };
        let run = said(&format!(
            "Process {} in session 'x' of town '/t'",
            agent.id()
        ));
        assert!(run.is_on() && said("").is_on());
        // Until the agent starts again, which its unit says then.
        assert!(!said("Waiting for an answer of the tmux server").is_on());
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert!(!run.is_on());
    }

    #[test]
    fn what_was_read_comes_back() {
        let mut read = Properties::default();
        read.0.insert("MainPID".into(), std::process::id().into());
        read.0
            .insert("Result".into(), zbus::Str::from("success").into());
        read.0.insert("NRestarts".into(), 3u32.into());
        read.0
            .insert("ActiveEnterTimestamp".into(), 7_000_000u64.into());
        read.0.insert("ExecMainStatus".into(), (-1i32).into());
        let names = [
            "MainPID",
            "Result",
            "NRestarts",
            "ActiveEnterTimestamp",
            "ExecMainStatus",
            "Absent",
        ];
        let Some(run) = Run::of(&read, &names) else {
            // A host without unified control groups.
            return;
        };
        let text = serde_json::to_string(&run).unwrap();
        let again: Run = serde_json::from_str(&text).unwrap();
        assert_eq!(again, run);
        let back = again.properties(&names);
        assert_eq!(back.text("Result"), read.text("Result"));
        assert_eq!(back.number("NRestarts"), Some(3));
        assert_eq!(
            back.time("ActiveEnterTimestamp"),
            read.time("ActiveEnterTimestamp")
        );
        assert_eq!(back.int("ExecMainStatus"), Some(-1));
        assert_eq!(back.text("Absent"), None);
        assert!(names.iter().all(|name| again.knows(name)) && !again.knows("Other"));
    }
}
