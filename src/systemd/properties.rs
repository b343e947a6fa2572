//! What the manager knows of a unit, by name of property.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::digest;

/// How far two clocks may differ: they are not read at the same moment, nor do they run quite alike.
const CLOCKS_APART: Duration = Duration::from_millis(100);

/// All properties of a unit, of every interface it has, as the manager gives them.
#[derive(Debug, Default)]
pub struct Properties(pub(super) HashMap<String, OwnedVariant>);

impl Properties {
    /// A string property; `None` when it is absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
    }

    /// A property that is a list of strings; empty when it is absent.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or_default()
    }

    /// The paths that a path unit watches.
    pub fn watched(&self) -> Vec<String> {
        let paths: Vec<(String, String)> = self.get("Paths").unwrap_or_default();
        paths.into_iter().map(|(_, path)| path).collect()
    }

    /// An unsigned property of any width. systemd says "not set" by the largest number: `None`.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get::<u64>(name) {
            Some(u64::MAX) => None,
            Some(n) => Some(n),
            None => self.get::<u32>(name).map(u64::from),
        }
    }

    /// A property that is a list of pairs of strings; empty when it is absent.
    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.get(name).unwrap_or_default()
    }

    /// The command lines of `ExecStart=` or another one of its kind, each as its arguments.
    pub fn commands(&self, name: &str) -> Vec<Vec<String>> {
        type Line = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);
        let lines: Vec<Line> = self.get(name).unwrap_or_default();
        lines.into_iter().map(|line| line.1).collect()
    }

    /// The invocation that the unit is in, or was in last; empty when it has had none.
    pub fn invocation(&self) -> String {
        let id: Vec<u8> = self.get("InvocationID").unwrap_or_default();
        digest::hex(&id)
    }

    /// A signed 32-bit property, such as an exit status.
    pub fn int(&self, name: &str) -> Option<i32> {
        self.get(name)
    }

    /// A boolean property.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
    }

    /// Whether the unit's processes get no time: it is frozen, or has not been thawed wholly.
    pub fn is_frozen(&self) -> bool {
        let state = self.text("FreezerState");
        state.is_some_and(|state| state != "running")
    }

    /// The kind of the queued job is not a property; this tells its number, `None` without a job.
    pub fn job(&self) -> Option<u32> {
        let (id, _): (u32, OwnedObjectPath) = self.get("Job")?;
        (id != 0).then_some(id)
    }

    /// A wall-clock property in microseconds since the epoch; `None` when it never happened.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        let usec = self.number(name).filter(|&n| n != 0)?;
        Timestamp::from_microsecond(usec.try_into().ok()?).ok()
    }

    /// When the main process was started; the last one, if there is none now. If the clock was set
    /// since, the earlier of two times: what the clock said then, and what it would have said then as
    /// it is set now.
    pub fn main_started(&self) -> Option<Timestamp> {
        let told = self.time("ExecMainStartTimestamp")?;
        let since_boot = Duration::from_micros(self.number("ExecMainStartTimestampMonotonic")?);
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?);
        let ago = now.saturating_sub(since_boot);
        Some(by_both_clocks(told, ago, Timestamp::now()))
    }

    fn get<T>(&self, name: &str) -> Option<T>
    where
        T: TryFrom<OwnedVariant>,
    {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }
}

fn by_both_clocks(told: Timestamp, ago: Duration, now: Timestamp) -> Timestamp {
    told.min(now - ago + CLOCKS_APART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_makes_no_start_later() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let told = at("2026-01-16T12:00:00.5Z");
        let ago = Duration::from_secs(60);
        for (now, want) in [
            ("2026-01-16T12:01:00.5Z", told),
            ("2026-01-16T12:01:00.49Z", told),
            // The clock was set forward, or the machine slept.
            ("2026-01-16T15:01:00.5Z", told),
            // The clock was set back.
            ("2026-01-16T11:31:00.5Z", at("2026-01-16T11:30:00.6Z")),
        ] {
            assert_eq!(by_both_clocks(told, ago, at(now)), want, "{now}");
        }
    }
}
