//! Logging. The only place that knows journald.
//!
//! Sentences for people, data in fields (`GT_AGENT`, `GT_REASON`, ...), and a MESSAGE_ID for
//! every event that a person may ask about; `packaging/gastown.catalog` explains each.

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use log::kv::{self, Key, Source, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::agent::Agent;
use crate::printable;

/// The root of the town that this program works for.
static TOWN: OnceLock<String> = OnceLock::new();

/// Declares the events: constants for the programs, a list for the tests and for `history`.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $id;)*
        /// Every event by name and MESSAGE_ID.
        pub const EVENTS: &[(&str, &str)] = &[$((stringify!($name), $id)),*];
    };
}

events! {
    /// An agent's process runs under its unit.
    AGENT_STARTED = "60e4a44a3ce749be8d33f409be94042d";
    /// A session that was there already was taken over with its processes.
    AGENT_ADOPTED = "d3debc7d4f244600a4aed6d78b54ad2d";
    /// The process of an agent was outside of its unit, and was brought back.
    AGENT_STRAYED = "931808be5d464311a77b3f1dcb3ffde9";
    /// An agent ended by itself, with its exit status and last screen lines.
    AGENT_ENDED = "bc27b3a1531f4b89a31a7b72f8f3f812";
    /// An agent was stopped on request of the manager.
    AGENT_STOPPED = "4fc469bd1f67412eb65d29aeaa9eddff";
    /// An agent could not be started.
    AGENT_NOT_STARTED = "87f34bd7472e40228d5ed273e13fec62";
    /// A start was refused: held, parked, docked, emergency stop, or the town is stopped.
    AGENT_REFUSED = "44f10623985c42e19e5c8aca3d724a53";
    /// A spawned polecat was ready and was told to begin.
    SPAWN_BEGUN = "1b93e1fe296e49e4b83ff49d233973a5";
    /// A spawn was refused, or its polecat was not ready in time, or has gone.
    SPAWN_FAILED = "b93424dab4c24129aa3ad555e5353763";
    /// A lifecycle request was executed.
    REQUEST_DONE = "b4253e90f06f4e9ba2962cf28afb9a81";
    /// What a lifecycle request asked for was done by another one for the same agent.
    REQUEST_JOINED = "7df9e6c71f994ead87af28f1028a2ebb";
    /// A lifecycle request was refused, or its agent did not start.
    REQUEST_REFUSED = "96abd380c64640f88b462de7542347ac";
    /// A tick is done.
    TICK = "80f14319fb474e6f85ca51ba418fb604";
    /// A tick started an agent that was to run and did not.
    TICK_STARTED = "46fdf36e63304c3abb0f4fd8b84270fb";
    /// A tick stopped an agent that is not to run.
    TICK_STOPPED = "b526572508d44bb599b1b167ba0c0cef";
    /// An agent that gave up is tried again.
    AGENT_RETRIED = "ba9dea6e59884762849e3b0d91c94eb7";
    /// A reminder was typed to an agent.
    POKED = "6b400ae93d3e4863961b4ff45dcda470";
    /// A reminder was typed, but the agent's screen does not show that it was taken.
    POKE_UNANSWERED = "f66294d6f24d41e6a5e6108c169ba39b";
    /// A reminder is due and is not typed, because the terminal is not fit for it.
    POKE_WAITS = "b6323097aa264469add8c9368e3d54db";
    /// An agent whose program takes no first words as an argument has got them typed.
    INSTRUCTED = "4b9b9ecaffde4448a0e2bfcd437bfed9";
    /// What an agent reports by its hooks is not what its screen shows.
    REPORT_DISAGREES = "a15b118bb76941f0ba79a283e9ff06ab";
    /// A question was answered for a person, because a setting says so.
    QUESTION_AGREED = "bf1e6ed40c2f4a1e8309b68911319881";
    /// The Deacon is restarted because nothing shows that it lives.
    DEACON_STUCK = "95091345925b49edb21b76bbbf68d953";
    /// The machine slept, or its clock was set: nobody is judged this time.
    NOBODY_JUDGED = "27997c5414764a6b8ef7adac2cb191b0";
    /// Several agents died at about the same time.
    MASS_DEATH = "028d17ee1b94495bbcff2edb37e66c8b";
    /// A bead said that an agent runs which does not.
    BEAD_MARKED_DEAD = "3f8b96feb89f4a7f816ff4ffaa62abf7";
    /// The Witness of a rig was told that a polecat crashed.
    CRASH_TOLD = "5d0c1f0e6c5b4d0f9a3a8f7d2b6e4c19";
    /// A condition began that a person should know of.
    ALERT_BEGAN = "acfae6b58a0f41aebf96b63729a5bb29";
    /// A condition that a person was told of is over.
    ALERT_ENDED = "d150ba2b6caa4ceeaa2c8d8c6643d1d4";
}

struct Journal {
    inner: JournalLog,
}

/// The fields of a message, and those that are added: `GT_TOWN`, and `GT_RIG` if the message is
/// about an agent of a rig.
struct Fields<'a> {
    own: &'a dyn Source,
    rig: Option<String>,
}

impl<'a> Fields<'a> {
    fn of(record: &'a Record<'_>) -> Fields<'a> {
        let own = record.key_values();
        // Alerts have their fields by the names that the hook gets.
        let field = |lower: &str, upper: &str| own.get(lower.into()).or(own.get(upper.into()));
        let agent = field("gt_agent", "GT_AGENT").map(|agent| agent.to_string());
        let agent = agent.and_then(|agent| Agent::parse(&agent).ok());
        let rig = agent.and_then(|agent| agent.rig().map(String::from));
        let rig = rig.filter(|_| field("gt_rig", "GT_RIG").is_none());
        Fields { own, rig }
    }
}

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.own.visit(visitor)?;
        let more = [("gt_town", TOWN.get()), ("gt_rig", self.rig.as_ref())];
        for (key, value) in more {
            if let Some(value) = value {
                visitor.visit_pair(Key::from_str(key), Value::from(value.as_str()))?;
            }
        }
        Ok(())
    }
}

/// Logs to the journal, with all fields.
fn send(journal: &JournalLog, record: &Record<'_>) {
    let fields = Fields::of(record);
    let mut more = Record::builder();
    more.args(*record.args())
        .metadata(record.metadata().clone())
        .module_path(record.module_path())
        .file(record.file())
        .line(record.line())
        .key_values(&fields);
    journal.log(&more.build());
}

/// Has all later messages name the town.
pub fn set_town(root: &Path) {
    let _ = TOWN.set(root.display().to_string());
}

/// Standard error, for people; events go to the journal, if there is one.
struct Stderr {
    events: Option<JournalLog>,
}

/// Sends log records to the journal when standard error is connected to it, else to standard
/// error. `identifier` is the SYSLOG_IDENTIFIER; `GASTOWN_LOG=debug` shows more.
pub fn init(identifier: &'static str) {
    let journal = connected_to_journal()
        .then(|| journal(identifier))
        .flatten();
    set(match journal {
        Some(inner) => Box::new(Journal { inner }),
        None => Box::new(Stderr { events: None }),
    });
}

/// As [`init`], for a command that people type: its events go to the journal too.
pub fn init_command(identifier: &'static str) {
    set(match journal(identifier) {
        Some(inner) if connected_to_journal() => Box::new(Journal { inner }),
        events => Box::new(Stderr { events }),
    });
}

fn journal(identifier: &str) -> Option<JournalLog> {
    let journal = JournalLog::new().ok()?;
    Some(journal.with_syslog_identifier(identifier.to_string()))
}

fn set(logger: Box<dyn Log>) {
    let level = match std::env::var("GASTOWN_LOG").as_deref() {
        Ok("debug") => LevelFilter::Debug,
        _ => LevelFilter::Info,
    };
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ours(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            send(&self.inner, record);
        }
    }

    fn flush(&self) {}
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ours(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let is_event = record.key_values().get("message_id".into()).is_some();
        if let Some(events) = self.events.as_ref().filter(|_| is_event) {
            return send(events, record);
        }
        let mut stderr = std::io::stderr();
        let red = printable::is_coloured(&stderr);
        // If standard error cannot be written, there is no place to tell that.
        let text = printable::lines(&record.args().to_string());
        let _ = match (record.level(), red) {
            (Level::Error, true) => writeln!(stderr, "\x1b[31m{text}\x1b[0m"),
            _ => writeln!(stderr, "{text}"),
        };
    }

    fn flush(&self) {}
}

/// Whether a message is ours: those of other crates are not for our users.
fn ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.starts_with("gastown") || target.starts_with("gt_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_rig_once() {
        for (own, rig) in [
            (vec![("GT_AGENT", "gastown/witness")], Some("gastown")),
            (
                vec![("gt_agent", "gastown/witness"), ("gt_rig", "gastown")],
                None,
            ),
            (
                vec![("GT_AGENT", "gastown/witness"), ("GT_RIG", "gastown")],
                None,
            ),
        ] {
            let fields = own.as_slice();
            let mut record = Record::builder();
            let record = record.key_values(&fields).build();
            assert_eq!(Fields::of(&record).rig.as_deref(), rig, "{own:?}");
        }
    }

    #[test]
    fn messages_name_rig_and_town() {
        set_town(Path::new("/home/me/gt"));
        for (agent, rig) in [
            ("gastown/witness", Some("gastown")),
            ("gastown/crew/max", Some("gastown")),
            ("deacon", None),
            ("", None),
        ] {
            let own = [("gt_agent", agent), ("gt_reason", "x")];
            let mut record = Record::builder();
            let record = record.key_values(&own).build();
            let fields = Fields::of(&record);
            let said = |key: &str| fields.get(key.into()).map(|value| value.to_string());
            assert_eq!(said("gt_rig").as_deref(), rig, "{agent}");
            assert_eq!(said("gt_town").as_deref(), Some("/home/me/gt"));
            assert_eq!(said("gt_agent").as_deref(), Some(agent));
        }
    }
}
