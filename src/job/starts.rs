//! How often each job has been started lately: the brake for a job that something starts again and
//! again, and what `status` and `doctor` say of it.
//!
//! The times of the starts are in the user's runtime directory, one file per job.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::files;
use crate::systemd::runtime_dir;

/// For how long a start is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// More starts than this within [`MEMORY`] are too many: something is wrong.
const TOO_MANY: usize = 100;

/// More starts than this within [`BURST_TIME`] are slowed down.
const BURST: usize = 30;

/// See [`BURST`].
const BURST_TIME: Duration = Duration::from_secs(10);

/// How long such a start waits. Work that comes meanwhile is done by the same run.
const BRAKE: Duration = Duration::from_secs(1);

/// The jobs that are counted.
const NAMES: [&str; 3] = ["gt-heartbeat", "gt-lifecycle", "gt-spawn-trigger"];

/// Remembers that the job is started now, and waits when there were many starts just before.
pub fn note(name: &str) {
    let (Some(path), Some(now)) = (path(name), now()) else {
        return;
    };
    let mut starts = recent(&path, now);
    if let Some(wait) = brake(&starts, now) {
        std::thread::sleep(wait);
    }
    starts.push(now);
    let text: String = starts
        .iter()
        .map(|t| format!("{}\n", t.as_millis()))
        .collect();
    // Lost with the next boot, and of no worth after a minute: this need not be durable.
    if let Err(e) = files::replace(&path, text.as_bytes()) {
        log::debug!("{e:#}, ignoring");
    }
}

/// The jobs that are started far too often now, each in a sentence.
pub fn too_often() -> Vec<String> {
    let Some(now) = now() else {
        return Vec::new();
    };
    let count = |name: &&str| path(name).map_or(0, |path| recent(&path, now).len());
    let many = NAMES.iter().map(|name| (name, count(name)));
    many.filter(|(_, count)| *count > TOO_MANY)
        .map(|(name, count)| {
            format!(
                "{name}.service was started {count} times within a minute; \
                 see 'journalctl --user -u {name}.service'"
            )
        })
        .collect()
}

fn brake(starts: &[Duration], now: Duration) -> Option<Duration> {
    let burst = starts.iter().filter(|start| now - **start <= BURST_TIME);
    (burst.count() >= BURST).then_some(BRAKE)
}

/// The starts within [`MEMORY`], as times since the boot.
fn recent(path: &Path, now: Duration) -> Vec<Duration> {
    let text = files::read_untrusted(path, files::ENTRY_LIMIT);
    parse(&text.ok().flatten().unwrap_or_default(), now)
}

fn parse(text: &str, now: Duration) -> Vec<Duration> {
    let times = text.lines().filter_map(|line| line.parse().ok());
    let times = times.map(Duration::from_millis);
    times
        .filter(|start| *start <= now && now - *start <= MEMORY)
        .collect()
}

fn path(name: &str) -> Option<PathBuf> {
    Some(
        runtime_dir()?
            .join("gastown")
            .join(format!("{name}.starts")),
    )
}

/// The time since the boot, with the time that the machine slept.
fn now() -> Option<Duration> {
    Some(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_starts_count_and_a_burst_is_slowed_down() {
        let secs = Duration::from_secs;
        let now = secs(1000);
        let text = "1000000\n999999\njunk\n939999\n940000\n1000001\n";
        let times: Vec<u128> = parse(text, now).iter().map(Duration::as_millis).collect();
        assert_eq!(times, [1_000_000, 999_999, 940_000]);
        for (ago, count, want) in [
            (0, BURST - 1, None),
            (0, BURST, Some(BRAKE)),
            (10, BURST, Some(BRAKE)),
            (11, 10 * BURST, None),
        ] {
            assert_eq!(
                brake(&vec![now - secs(ago); count], now),
                want,
                "{ago} {count}"
            );
        }
    }
}
