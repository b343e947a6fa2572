//! `settings/systemd.json`: our own settings. Written by people; every key is optional, and an
//! unknown one is an error. gastown-systemd.json(5) is about this file.
//!
//! Durations are texts such as `"90s"`, `"5m"` or `"1h 30m"`.

use std::fmt;

use anyhow::Result;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize};

use super::dialect::{Dialect, Release};
use super::json;
use super::patrols::Blocks;
use super::settings::Settings;

/// The file, below the town's root.
pub const FILE: &str = "settings/systemd.json";

/// The file as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    deacon: Deacon,
    poke_witnesses: Option<bool>,
    poke_spacing: Option<Length>,
    pub(super) mayor: Option<bool>,
    verify_requests: Option<bool>,
    request_max_age: Option<Length>,
    presync_limit: Option<Length>,
    spawn_deadline: Option<Length>,
    retry_first: Option<Length>,
    retry_longest: Option<Length>,
    alert_mail: Option<bool>,
    closed_sessions: Option<Closed>,
    closed_pause: Option<Length>,
    tick_interval: Option<Length>,
    pub(super) gt_version: Option<Release>,
    #[serde(deserialize_with = "socket")]
    pub(super) tmux_socket: Option<String>,
    session_keys: Option<bool>,
    terminal: Terminal,
}

/// What becomes of an agent whose session somebody closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closed {
    /// It is started again after a pause.
    #[default]
    Return,
    /// It stays down until a person starts it or has the town come up.
    Stay,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Deacon {
    stale: Option<Length>,
    very_stale: Option<Length>,
    grace: Option<Length>,
    pokes: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Terminal {
    asks: Option<Length>,
    busy: Option<Length>,
    unknown: Option<Length>,
    trust_town: Option<bool>,
    accept_bypass: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length(SignedDuration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        let length = json::duration(&text).map_err(serde::de::Error::custom)?;
        Ok(Length(length))
    }
}

fn socket<'de, D: Deserializer<'de>>(de: D) -> Result<Option<String>, D::Error> {
    let name: Option<String> = Option::deserialize(de)?;
    match name {
        Some(name) if !crate::agent::is_valid_name(&name) => {
            let text = format!("{name:?} is not the name of a tmux socket");
            Err(serde::de::Error::custom(text))
        }
        name => Ok(name),
    }
}

/// Reads the file.
///
/// # Errors
/// The text is not JSON, has an unknown key, or a value of the wrong kind.
pub fn parse(text: &str) -> Result<File> {
    json::parse(text)
}

/// Our settings, complete: what the file says, else the town's `operational` settings, else the
/// default. Where the default follows the `gt` in use, "classic" is that of gt 0.1.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ours {
    /// `deacon.stale`: the age from which a Deacon's heartbeat is stale. Classic 2 min, current
    /// 5 min. Town: `operational.deacon.heartbeat_stale_threshold`.
    pub stale: SignedDuration,
    /// `deacon.very_stale`: the age from which that is very stale, never less than `stale`. Classic
    /// 5 min, current 20 min. Town: `operational.deacon.heartbeat_very_stale_threshold`.
    pub very_stale: SignedDuration,
    /// `deacon.grace`: how long after its start the Deacon is not judged, and no Witness poked. 5 min.
    /// Town: `operational.daemon.deacon_grace_period`.
    pub grace: SignedDuration,
    /// `deacon.pokes`: after how many pokes without effect the Deacon counts as stuck and is
    /// restarted. 3; with 0 it never is.
    pub pokes: u32,
    /// `poke_witnesses`: whether Witnesses are poked at each tick. Classic yes, current no.
    pub poke_witnesses: bool,
    /// `poke_spacing`: the shortest time between two pokes of the Deacon, or of a Witness. 5 min.
    pub poke_spacing: SignedDuration,
    /// `mayor`: whether the Mayor is kept running; `None`: as `mayor/daemon.json` says, else as the
    /// `gt` in use does.
    pub mayor: Option<bool>,
    /// `verify_requests`: whether `requesting_<action>` must be true in the agent's state.json for
    /// a request to be executed. No: no `gt` ever sets it.
    pub verify_requests: bool,
    /// `request_max_age`: requests older than this are refused. 6 h.
    /// Town: `operational.daemon.max_lifecycle_message_age`.
    pub request_max_age: SignedDuration,
    /// `presync_limit`: how long the sync of a worktree before a start may take in all. 60 s, and at most
    /// 4 min: gt-lifecycle.service, which waits for that start, may run for 5 min.
    pub presync_limit: SignedDuration,
    /// After how many failed syncs in a row a person is told. 3.
    /// Town: `operational.daemon.sync_failure_escalation_threshold`.
    pub sync_failures: u32,
    /// How long one call of `bd` may take. 20 s, and at most 60 s, because a tick makes several.
    /// Town: `operational.session.bd_command_timeout`.
    pub bd_limit: SignedDuration,
    /// `spawn_deadline`: how long a spawn may take until it is ready. 5 min.
    /// Town: `operational.polecat.pending_max_age`.
    pub spawn_deadline: SignedDuration,
    /// `retry_first`: the pause before an agent that gave up is tried again. 10 min.
    pub retry_first: SignedDuration,
    /// `retry_longest`: the longest that this pause grows to, never less than `retry_first`. 1 h.
    pub retry_longest: SignedDuration,
    /// `alert_mail`: whether alerts are mailed to the Mayor too. Yes.
    pub alert_mail: bool,
    /// `closed_sessions`: what becomes of an agent of a patrol whose session somebody closed.
    pub closed_sessions: Closed,
    /// `closed_pause`: how long after its session was closed an agent is started again. 10 s.
    pub closed_pause: SignedDuration,
    /// `tick_interval`: the time from one tick to the next while somebody works, at most 1 h.
    /// 5 min. Town: `operational.daemon.recovery_heartbeat_interval`, else `heartbeat.interval` of
    /// `mayor/daemon.json`.
    pub tick_interval: SignedDuration,
    /// How many agents must die within `mass_death_window` to be told of as one event. 3.
    /// Town: `operational.daemon.mass_death_threshold`.
    pub mass_deaths: u32,
    /// See `mass_deaths`. 30 s. Town: `operational.daemon.mass_death_window`.
    pub mass_death_window: SignedDuration,
    /// `session_keys`: whether gt's keys (prefix n, p and a) are bound on the tmux server. No.
    pub session_keys: bool,
    /// `terminal.asks`: how long an agent may wait for a person's answer until the person is told. 2 min.
    pub asks: SignedDuration,
    /// `terminal.busy`: how long an agent may work without a pause until a person is told. 12 h.
    pub busy: SignedDuration,
    /// `terminal.unknown`: how long a terminal may show nothing that is known until a person is told. 1 h.
    pub unknown: SignedDuration,
    /// `terminal.trust_town`: whether an agent's question "do you trust this directory?" is
    /// answered with yes for its own directory in the town. No.
    pub trust_town: bool,
    /// `terminal.accept_bypass`: whether the warning that an agent shows when it is started to run
    /// without asking for permissions is accepted for the person. No.
    pub accept_bypass: bool,
}

impl Default for Ours {
    /// The settings of a classic town without configuration.
    fn default() -> Ours {
        let (file, town) = (File::default(), Settings::default());
        Ours::new(&file, &town, &Blocks::default(), Dialect::OLDEST)
    }
}

impl Ours {
    /// Completes the file.
    pub fn new(file: &File, town: &Settings, patrols: &Blocks, dialect: Dialect) -> Ours {
        Ours::complete(file, town, patrols, dialect, &mut Vec::new())
    }

    /// As [`Ours::new`]; adds to `problems`, in words, each value that is out of its range, and
    /// each value of the town's that cannot be used.
    pub fn complete(
        file: &File,
        town: &Settings,
        patrols: &Blocks,
        dialect: Dialect,
        problems: &mut Vec<String>,
    ) -> Ours {
        let classic = dialect.pokes_by_tick();
        let mins = SignedDuration::from_mins;
        let by_dialect = |old, new| mins(if classic { old } else { new });
        let of = |key: Option<Length>, default| key.map_or(default, |length| length.0);
        let by_patrols = told(patrols.interval(), problems);
        let mut or_town = |key: Option<Length>, section, name, default| {
            let town = || told(town.duration(section, name), problems);
            key.map(|length| length.0).or_else(town).unwrap_or(default)
        };

        let secs = SignedDuration::from_secs;
        let most = json::LONGEST;
        let deacon = &file.deacon;
        let stale = or_town(
            deacon.stale,
            "deacon",
            "heartbeat_stale_threshold",
            by_dialect(2, 5),
        );
        let very_stale = or_town(
            deacon.very_stale,
            "deacon",
            "heartbeat_very_stale_threshold",
            by_dialect(5, 20).max(stale),
        );
        let retry_first = of(file.retry_first, mins(10));
        let retry_longest = of(file.retry_longest, mins(60).max(retry_first));
        let tick_interval = or_town(
            file.tick_interval,
            "daemon",
            "recovery_heartbeat_interval",
            by_patrols.unwrap_or(mins(5)),
        );
        let grace = or_town(deacon.grace, "daemon", "deacon_grace_period", mins(5));
        let request_max_age = or_town(
            file.request_max_age,
            "daemon",
            "max_lifecycle_message_age",
            mins(6 * 60),
        );
        let spawn_deadline = or_town(file.spawn_deadline, "polecat", "pending_max_age", mins(5));
        let bd_limit = or_town(None, "session", "bd_command_timeout", secs(20));
        let mass_death_window = or_town(None, "daemon", "mass_death_window", secs(30));
        let mut count = |name, default, least| {
            let number = told(town.number("daemon", name), problems).unwrap_or(default);
            let range = (least, u32::MAX);
            within(
                &format!("operational.daemon.{name}"),
                number,
                range,
                problems,
            )
        };
        let sync_failures = count("sync_failure_escalation_threshold", 3, 1);
        let mass_deaths = count("mass_death_threshold", 3, 2);
        let mut within = |name, value, range| {
            let (value, (least, most)) = (Span(value), range);
            within(name, value, (Span(least), Span(most)), problems).0
        };
        Ours {
            stale,
            very_stale: within("deacon.very_stale", very_stale, (stale, most)),
            grace,
            pokes: deacon.pokes.unwrap_or(3),
            poke_witnesses: file.poke_witnesses.unwrap_or(classic),
            poke_spacing: of(file.poke_spacing, mins(5)),
            mayor: file.mayor,
            verify_requests: file.verify_requests.unwrap_or(false),
            request_max_age,
            presync_limit: within(
                "presync_limit",
                of(file.presync_limit, mins(1)),
                (SignedDuration::ZERO, mins(4)),
            ),
            sync_failures,
            bd_limit: within(
                "operational.session.bd_command_timeout",
                bd_limit,
                (secs(1), mins(1)),
            ),
            spawn_deadline,
            retry_first,
            retry_longest: within("retry_longest", retry_longest, (retry_first, most)),
            alert_mail: file.alert_mail.unwrap_or(true),
            closed_sessions: file.closed_sessions.unwrap_or_default(),
            closed_pause: of(file.closed_pause, secs(10)),
            tick_interval: within("tick_interval", tick_interval, (secs(10), mins(60))),
            mass_deaths,
            mass_death_window,
            session_keys: file.session_keys.unwrap_or(false),
            asks: of(file.terminal.asks, mins(2)),
            busy: of(file.terminal.busy, mins(12 * 60)),
            unknown: of(file.terminal.unknown, mins(60)),
            trust_town: file.terminal.trust_town.unwrap_or(false),
            accept_bypass: file.terminal.accept_bypass.unwrap_or(false),
        }
    }
}

/// A duration as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span(SignedDuration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// What the town gives, if it can be used; else a problem says that it cannot.
fn told<T>(given: Result<Option<T>, String>, problems: &mut Vec<String>) -> Option<T> {
    given.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

/// The value of a setting, brought into its range; a problem says if that changed the value.
fn within<T: Ord + Copy + fmt::Display>(
    name: &str,
    value: T,
    (least, most): (T, T),
    problems: &mut Vec<String>,
) -> T {
    let used = value.clamp(least, most);
    if used != value {
        let how = if value < least { "less" } else { "more" };
        let file = match name.starts_with("operational.") {
            true => super::settings::FILE,
            false => FILE,
        };
        problems.push(format!(
            "'{name}' is {value}, {how} than {used}, which is used instead; mend it in '{file}', or \
             where else the town sets it"
        ));
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::settings;

    #[test]
    fn what_is_out_of_range_is_told_with_what_is_used() {
        let soon = r#"{"heartbeat":{"interval":"soon"}}"#;
        let mut problems = Vec::new();
        let patrols = super::super::patrols::parse(soon).unwrap();
        let (file, town) = (File::default(), Settings::default());
        Ours::complete(&file, &town, &patrols, Dialect::NEWEST, &mut problems);
        assert_eq!(
            problems,
            [
                "'heartbeat.interval' is \"soon\", no duration that can be used, so it counts as missing; mend it in 'mayor/daemon.json'"
            ]
        );
        for (file, town, want) in [
            (
                r#"{"tick_interval":"10s","deacon":{"stale":"15m"},"retry_first":"2h"}"#,
                "{}",
                None,
            ),
            (
                r#"{"tick_interval":"1s"}"#,
                "{}",
                Some(
                    "'tick_interval' is 1s, less than 10s, which is used instead; mend it in 'settings/systemd.json', or where else the town sets it",
                ),
            ),
            (
                r#"{"tick_interval":"2h"}"#,
                "{}",
                Some(
                    "'tick_interval' is 2h, more than 1h, which is used instead; mend it in 'settings/systemd.json', or where else the town sets it",
                ),
            ),
            (
                r#"{"presync_limit":"10m"}"#,
                "{}",
                Some(
                    "'presync_limit' is 10m, more than 4m, which is used instead; mend it in 'settings/systemd.json', or where else the town sets it",
                ),
            ),
            (
                r#"{"deacon":{"stale":"15m","very_stale":"14m"}}"#,
                "{}",
                Some(
                    "'deacon.very_stale' is 14m, less than 15m, which is used instead; mend it in 'settings/systemd.json', or where else the town sets it",
                ),
            ),
            (
                r#"{"retry_longest":"1m"}"#,
                "{}",
                Some(
                    "'retry_longest' is 1m, less than 10m, which is used instead; mend it in 'settings/systemd.json', or where else the town sets it",
                ),
            ),
            (
                "{}",
                r#"{"operational":{"session":{"bd_command_timeout":"5m"}}}"#,
                Some(
                    "'operational.session.bd_command_timeout' is 5m, more than 1m, which is used instead; mend it in 'settings/config.json', or where else the town sets it",
                ),
            ),
            (
                "{}",
                r#"{"operational":{"daemon":{"mass_death_threshold":1}}}"#,
                Some(
                    "'operational.daemon.mass_death_threshold' is 1, less than 2, which is used instead; mend it in 'settings/config.json', or where else the town sets it",
                ),
            ),
            (
                "{}",
                r#"{"operational":{"daemon":{"sync_failure_escalation_threshold":0}}}"#,
                Some(
                    "'operational.daemon.sync_failure_escalation_threshold' is 0, less than 1, which is used instead; mend it in 'settings/config.json', or where else the town sets it",
                ),
            ),
            (
                "{}",
                r#"{"operational":{"daemon":{"mass_death_threshold":-3,"mass_death_window":null}}}"#,
                Some(
                    "'operational.daemon.mass_death_threshold' is -3, no whole number that can be used, so it counts as missing; mend it in 'settings/config.json'",
                ),
            ),
            (
                "{}",
                r#"{"operational":{"daemon":{"mass_death_window":"soon"}}}"#,
                Some(
                    "'operational.daemon.mass_death_window' is \"soon\", no duration that can be used, so it counts as missing; mend it in 'settings/config.json'",
                ),
            ),
            (
                r#"{"deacon":{"grace":"1m"}}"#,
                r#"{"operational":{"daemon":{"deacon_grace_period":7}}}"#,
                None,
            ),
        ] {
            let mut problems = Vec::new();
            let (file, town) = (parse(file).unwrap(), settings::parse(town).unwrap());
            Ours::complete(
                &file,
                &town,
                &Blocks::default(),
                Dialect::NEWEST,
                &mut problems,
            );
            let want: Vec<String> = want.into_iter().map(String::from).collect();
            assert_eq!(problems, want);
        }
    }

    fn ours(text: &str, town: &str, dialect: Dialect) -> Ours {
        let (file, town) = (parse(text).unwrap(), settings::parse(town).unwrap());
        Ours::new(&file, &town, &Blocks::default(), dialect)
    }

    #[test]
    fn file_over_town_over_default() {
        let town = r#"{"operational":{"deacon":{"heartbeat_stale_threshold":"3m",
            "heartbeat_very_stale_threshold":"9m"},"daemon":{"deacon_grace_period":"1m"}}}"#;
        for (text, town, dialect, want) in [
            ("{}", "{}", Dialect::OLDEST, [120, 300, 300]),
            ("{}", "{}", Dialect::NEWEST, [300, 1200, 300]),
            ("{}", town, Dialect::NEWEST, [180, 540, 60]),
            (
                r#"{"deacon":{"stale":"90s","grace":"1h 30m"}}"#,
                town,
                Dialect::OLDEST,
                [90, 540, 5400],
            ),
            (
                r#"{"deacon":{"stale":"15m"}}"#,
                "{}",
                Dialect::OLDEST,
                [900, 900, 300],
            ),
        ] {
            let got = ours(text, town, dialect);
            let got = [got.stale, got.very_stale, got.grace].map(|d| d.as_secs());
            assert_eq!(got, want, "{text} {town}");
        }
    }

    #[test]
    fn limits_of_the_town_are_taken_within_reason() {
        for (town, want) in [
            ("{}", (3, 20)),
            (
                r#"{"operational":{"daemon":{"sync_failure_escalation_threshold":5},
                    "session":{"bd_command_timeout":"45s"}}}"#,
                (5, 45),
            ),
            (
                r#"{"operational":{"daemon":{"sync_failure_escalation_threshold":0},
                    "session":{"bd_command_timeout":"10ms"}}}"#,
                (1, 1),
            ),
            (
                r#"{"operational":{"daemon":{"sync_failure_escalation_threshold":-1},
                    "session":{"bd_command_timeout":"1h"}}}"#,
                (3, 60),
            ),
        ] {
            let got = ours("{}", town, Dialect::NEWEST);
            assert_eq!((got.sync_failures, got.bd_limit.as_secs()), want, "{town}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let all = ours(
            r#"{"deacon":{"stale":"1s","very_stale":"2s","grace":"3s","pokes":4},
                "poke_witnesses":false,"poke_spacing":"5s","mayor":true,"verify_requests":false,
                "request_max_age":"6s","presync_limit":"7s","spawn_deadline":"8s",
                "retry_first":"9s","retry_longest":"10s","alert_mail":false,
                "closed_sessions":"stay","closed_pause":"11s","tick_interval":"12s",
                "session_keys":true,
                "terminal":{"asks":"11s","busy":"12s","unknown":"13s","trust_town":true,"accept_bypass":true}}"#,
            "{}",
            Dialect::OLDEST,
        );
        let secs = SignedDuration::from_secs;
        assert_eq!(
            all,
            Ours {
                stale: secs(1),
                very_stale: secs(2),
                grace: secs(3),
                pokes: 4,
                poke_witnesses: false,
                poke_spacing: secs(5),
                mayor: Some(true),
                verify_requests: false,
                request_max_age: secs(6),
                presync_limit: secs(7),
                sync_failures: 3,
                bd_limit: secs(20),
                spawn_deadline: secs(8),
                retry_first: secs(9),
                retry_longest: secs(10),
                alert_mail: false,
                closed_sessions: Closed::Stay,
                closed_pause: secs(11),
                tick_interval: secs(12),
                mass_deaths: 3,
                mass_death_window: secs(30),
                session_keys: true,
                asks: secs(11),
                busy: secs(12),
                unknown: secs(13),
                trust_town: true,
                accept_bypass: true,
            }
        );
        let defaults = |dialect| {
            let ours = ours("{}", "{}", dialect);
            (ours.poke_witnesses, ours.verify_requests, ours.alert_mail)
        };
        assert_eq!(defaults(Dialect::OLDEST), (true, false, true));
        assert_eq!(defaults(Dialect::NEWEST), (false, false, true));
    }

    #[test]
    fn the_interval_of_ticks() {
        let patrols = |text: &str| super::super::patrols::parse(text).unwrap();
        let town = r#"{"operational":{"daemon":{"recovery_heartbeat_interval":"2m",
            "mass_death_threshold":5,"mass_death_window":"1m"}}}"#;
        for (file, town, block, want) in [
            ("{}", "{}", "{}", 300),
            (
                "{}",
                "{}",
                r#"{"heartbeat":{"enabled":true,"interval":"3m"}}"#,
                180,
            ),
            ("{}", "{}", r#"{"heartbeat":{"interval":"soon"}}"#, 300),
            (
                "{}",
                "{}",
                r#"{"heartbeat":{"interval":180000000000}}"#,
                300,
            ),
            ("{}", town, r#"{"heartbeat":{"interval":"3m"}}"#, 120),
            (r#"{"tick_interval":"1s"}"#, town, "{}", 10),
            (r#"{"tick_interval":"20h"}"#, town, "{}", 3600),
        ] {
            let (file, town) = (parse(file).unwrap(), settings::parse(town).unwrap());
            let ours = Ours::new(&file, &town, &patrols(block), Dialect::NEWEST);
            assert_eq!(ours.tick_interval.as_secs(), want, "{block}");
        }
        let ours = ours("{}", town, Dialect::NEWEST);
        assert_eq!(
            (ours.mass_deaths, ours.mass_death_window.as_secs()),
            (5, 60)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            (r#"{"poke_witneses":true}"#, "unknown field `poke_witneses`"),
            (r#"{"deacon":{"stall":"5m"}}"#, "unknown field `stall`"),
            (
                r#"{"poke_spacing":"5 parsecs"}"#,
                "\"5 parsecs\" is not a duration",
            ),
            (r#"{"poke_spacing":"0s"}"#, "\"0s\" is not between"),
            (r#"{"poke_spacing":"-5m"}"#, "\"-5m\" is not between"),
            (r#"{"poke_spacing":"721h"}"#, "\"721h\" is not between"),
            (r#"{"poke_spacing":5}"#, "invalid type: integer `5`"),
            (r#"{"gt_version":"new"}"#, "\"new\" is not a release of gt"),
            (
                r#"{"tmux_socket":"a/b"}"#,
                "\"a/b\" is not the name of a tmux socket",
            ),
            (r#"{"mayor":"yes"}"#, "invalid type: string \"yes\""),
            ("", "it is not a JSON object"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("5m", Some(300_000)),
            ("1h30m0s", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("5", None),
            ("", None),
            ("999999999999h", None),
        ] {
            let got = json::duration(text).ok().map(|d| d.as_millis());
            assert_eq!(got, want, "{text}");
        }
    }
}
