//! What a request says.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::town::json::{self, nullable};

/// What is asked for. The order is that of strength: the stronger one does for the weaker too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Restart, with a handoff to the new session.
    Cycle,
    /// Restart afresh.
    Restart,
    /// Stop and stay down.
    Shutdown,
}

impl Action {
    /// Reads an action in any case; `stop` is a shutdown.
    pub fn parse(text: &str) -> Option<Action> {
        match text.to_lowercase().as_str() {
            "cycle" => Some(Action::Cycle),
            "restart" => Some(Action::Restart),
            "shutdown" | "stop" => Some(Action::Shutdown),
            _ => None,
        }
    }

    /// The action in one word.
    pub fn name(self) -> &'static str {
        match self {
            Action::Cycle => "cycle",
            Action::Restart => "restart",
            Action::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request as it is written into the spool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// The agent that asks, for itself.
    #[serde(deserialize_with = "nullable")]
    pub from: String,
    /// What is asked for.
    #[serde(deserialize_with = "nullable")]
    pub action: String,
    /// When, in RFC 3339.
    #[serde(deserialize_with = "nullable")]
    pub timestamp: String,
    /// Why.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The mail that it came by.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub mail: Option<Origin>,
}

/// The mail that a request came by, so that nothing is lost when it is not understood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Its name for `gt mail`.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
}

impl Written {
    /// Reads a file of the spool.
    ///
    /// # Errors
    /// It is not the JSON of a request.
    pub fn parse(text: &str) -> Result<Written, String> {
        json::parse(text).map_err(|e| format!("it is no request: {e}"))
    }

    /// Whether it says when it was made, and that is at most `age` ago.
    pub fn is_younger(&self, age: SignedDuration, now: Timestamp) -> bool {
        Moment::parse(&self.timestamp).is_ok_and(|made| made.until(now) <= age)
    }
}

/// When a request was made. A sender that writes whole seconds means any moment of that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    at: Timestamp,
}

impl Moment {
    /// Reads a time of RFC 3339 with its zone.
    ///
    /// # Errors
    /// The text is none; the error shows it.
    pub fn parse(text: &str) -> Result<Moment, String> {
        if text.is_empty() {
            return Err("it has no timestamp".into());
        }
        let at = text.parse().map_err(|_| {
            format!(
                "its timestamp '{}' is no time of RFC 3339 with a zone",
                shown(text)
            )
        })?;
        Ok(Moment { at })
    }

    fn is_whole(self) -> bool {
        self.at.subsec_nanosecond() == 0
    }

    /// The time itself.
    pub fn at(self) -> Timestamp {
        self.at
    }

    /// Whether it was certainly before `other`.
    pub fn is_before(self, other: Timestamp) -> bool {
        if self.is_whole() {
            self.at.as_second() < other.as_second()
        } else {
            self.at < other
        }
    }

    /// How long before `other` it was.
    pub fn until(self, other: Timestamp) -> SignedDuration {
        other.duration_since(self.at)
    }
}

/// A request that makes sense; whether it may be executed is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For whom.
    pub agent: Agent,
    /// What.
    pub action: Action,
    /// When it was made.
    pub made: Moment,
    /// Why, one line fit to be shown.
    pub reason: Option<String>,
}

impl Request {
    /// Makes sense of what is written; `agent` reads an address.
    ///
    /// # Errors
    /// What does not make sense, in words.
    pub fn of<E: fmt::Display>(
        written: &Written,
        agent: impl Fn(&str) -> Result<Agent, E>,
    ) -> Result<Request, String> {
        let agent = match written.from.as_str() {
            "" => return Err("it does not say 'from' whom it is".into()),
            from => agent(from).map_err(|e| e.to_string())?,
        };
        let action = Action::parse(&written.action).ok_or_else(|| {
            format!(
                "unknown action '{}'; use cycle, restart or shutdown",
                shown(&written.action)
            )
        })?;
        let reason = written.reason.as_deref().map(shown);
        Ok(Request {
            agent,
            action,
            made: Moment::parse(&written.timestamp)?,
            reason: reason.filter(|r| !r.is_empty()),
        })
    }
}

/// A hostile text on one short line.
fn shown(text: &str) -> String {
    let escaped = text.chars().take(200).flat_map(char::escape_debug);
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, String> {
        Request::of(&Written::parse(text)?, Agent::parse)
    }

    #[test]
    fn requests() {
        let time = "2026-01-16T09:31:05Z";
        for (from, action, want) in [
            (
                "gastown/witness",
                "cycle",
                ("gastown/witness", Action::Cycle),
            ),
            (
                "gastown-witness",
                "RESTART",
                ("gastown/witness", Action::Restart),
            ),
            ("mayor/", "stop", ("mayor", Action::Shutdown)),
            (
                "gastown/max",
                "Shutdown",
                ("gastown/polecats/max", Action::Shutdown),
            ),
            (
                "gastown-crew-max",
                "cycle",
                ("gastown/crew/max", Action::Cycle),
            ),
        ] {
            let text = format!(
                r#"{{"from":"{from}","action":"{action}","timestamp":"{time}","other":[1]}}"#
            );
            let got = read(&text).unwrap();
            assert_eq!((got.agent.to_string().as_str(), got.action), want, "{text}");
            assert_eq!(got.made.at(), time.parse().unwrap());
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let t = r#""timestamp":"2026-01-16T09:31:05Z""#;
        for (text, want) in [
            (String::new(), "it is no request: it is not a JSON object"),
            ("[]".into(), "it is no request: it is not a JSON object"),
            ("{".into(), "it is no request: EOF"),
            (r#"{"from":7}"#.into(), "it is no request: invalid type"),
            ("{}".into(), "it does not say 'from'"),
            (
                format!(r#"{{"from":"../x","action":"cycle",{t}}}"#),
                "'../x' is no agent",
            ),
            (
                format!(r#"{{"from":"overseer","action":"cycle",{t}}}"#),
                "'overseer' is no agent",
            ),
            (
                format!(r#"{{"from":"mayor","action":"dance\n",{t}}}"#),
                "unknown action 'dance\\n'",
            ),
            (
                format!(r#"{{"from":"mayor","action":null,{t}}}"#),
                "unknown action ''",
            ),
            (
                r#"{"from":"mayor","action":"cycle"}"#.into(),
                "it has no timestamp",
            ),
            (
                r#"{"from":"mayor","action":"cycle","timestamp":"2026-01-16T09:31:05"}"#.into(),
                "its timestamp '2026-01-16T09:31:05' is no time of RFC 3339 with a zone",
            ),
            (
                r#"{"from":"mayor","action":"cycle","timestamp":"yesterday"}"#.into(),
                "its timestamp 'yesterday' is no time",
            ),
        ] {
            let got = read(&text).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }

    #[test]
    fn whole_seconds_are_compared_as_such() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (made, other, want) in [
            ("2026-01-16T09:31:05Z", "2026-01-16T09:31:05.9Z", false),
            ("2026-01-16T09:31:05Z", "2026-01-16T09:31:06.0Z", true),
            ("2026-01-16T10:31:05+01:00", "2026-01-16T09:31:05.9Z", false),
            ("2026-01-16T09:31:05.1Z", "2026-01-16T09:31:05.9Z", true),
            ("2026-01-16T09:31:05.9Z", "2026-01-16T09:31:05.9Z", false),
        ] {
            let got = Moment::parse(made).unwrap().is_before(at(other));
            assert_eq!(got, want, "{made} {other}");
        }
    }
}
