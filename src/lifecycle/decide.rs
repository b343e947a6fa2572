//! Whether a request is executed. No files, no clock, no bus.

use jiff::{SignedDuration, Timestamp};

use super::request::{Action, Request};

/// How far a sender's clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// A request counts as done with another one if it was made at most this long before that was done.
const OVERTAKEN: SignedDuration = SignedDuration::from_secs(60);

/// How long a request waits for an agent's program: an upgrade takes it away for a moment.
const UPGRADE: SignedDuration = SignedDuration::from_mins(1);

/// What is known of the agent that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Why the town has no such agent.
    pub unknown: Option<String>,
    /// When its present run began, or the last one.
    pub started: Option<Timestamp>,
    /// Why it may not run.
    pub refusal: Option<String>,
    /// Why every start of it would fail now.
    pub unfit: Option<String>,
    /// Why its next start would fail now, for want of its program.
    pub away: Option<String>,
    /// Why it is not known whether it may run.
    pub unsure: Option<String>,
    /// Why its state file does not confirm the request; checked where the town wants it. The
    /// error: why it is not known whether it does.
    pub unconfirmed: Result<Option<String>, String>,
    /// What was done last on request, and when that was done.
    pub last: Option<(Action, Timestamp)>,
}

impl Default for Standing {
    /// The standing of an agent against whose requests nothing speaks.
    fn default() -> Standing {
        Standing {
            unknown: None,
            started: None,
            refusal: None,
            unfit: None,
            away: None,
            unsure: None,
            unconfirmed: Ok(None),
            last: None,
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is executed.
    Execute,
    /// Another request, executed since, has done for this one too.
    Overtaken,
    /// It waits until what is not known is known; why.
    Wait(String),
    /// It is refused, for this reason.
    Refuse(String),
    /// It is refused, and nobody need see to it: what it asks for has happened without it.
    Moot(String),
}

/// Judges a request.
pub fn judge(
    request: &Request,
    standing: &Standing,
    max_age: SignedDuration,
    now: Timestamp,
) -> Verdict {
    let refuse = |why: &str| Verdict::Refuse(why.to_string());
    let age = request.made.until(now);
    if -age > SKEW {
        let made = request.made.at();
        return Verdict::Refuse(format!("it is from the future: made at {made}"));
    }
    if age > max_age {
        let made = request.made.at();
        return Verdict::Refuse(format!("it is too old: made at {made}"));
    }
    if let Some(why) = &standing.unknown {
        return refuse(why);
    }
    if is_overtaken(request, standing.last, now) {
        return Verdict::Overtaken;
    }
    match &standing.unconfirmed {
        Ok(None) => {}
        Ok(Some(why)) => return refuse(why),
        Err(why) => return Verdict::Wait(why.clone()),
    }
    if let Some(started) = standing.started.filter(|&s| request.made.is_before(s)) {
        let why = format!(
            "it was aimed at an earlier run of {}, which was started at {started}",
            request.agent
        );
        return match request.action {
            Action::Cycle | Action::Restart => Verdict::Moot(why),
            Action::Shutdown => Verdict::Refuse(why),
        };
    }
    // Marks and broken settings keep agents from being started; they are no reason not to stop one.
    if request.action == Action::Shutdown {
        return Verdict::Execute;
    }
    if let Some(why) = &standing.refusal {
        return Verdict::Refuse(format!("{} may not run: {why}", request.agent));
    }
    let away = standing.away.as_ref();
    if let Some(why) = standing.unfit.as_ref().or(away.filter(|_| age > UPGRADE)) {
        return refuse(why);
    }
    match away.or(standing.unsure.as_ref()) {
        Some(why) => Verdict::Wait(why.clone()),
        None => Verdict::Execute,
    }
}

fn is_overtaken(request: &Request, last: Option<(Action, Timestamp)>, now: Timestamp) -> bool {
    let made = request.made;
    last.is_some_and(|(done, at)| {
        // A time in the future is from before the clock was set back, and cannot be compared.
        let is_known = at <= now;
        is_known && request.action <= done && made.is_before(at) && made.until(at) <= OVERTAKEN
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::lifecycle::request::Moment;

    const NOW: &str = "2026-01-16T12:00:00.5Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn verdict(action: Action, made: &str, standing: &Standing) -> Verdict {
        let request = Request {
            agent: Agent::deacon(),
            action,
            made: Moment::parse(made).unwrap(),
            reason: None,
        };
        judge(&request, standing, SignedDuration::from_hours(6), at(NOW))
    }

    #[test]
    fn times() {
        let run = |started: &str| Standing {
            started: Some(at(started)),
            ..Standing::default()
        };
        let idle = Standing::default();
        for (made, standing, want) in [
            ("2026-01-16T12:00:00Z", &idle, None),
            ("2026-01-16T06:00:00.5Z", &idle, None),
            ("2026-01-16T06:00:00.4Z", &idle, Some("it is too old")),
            ("2026-01-16T12:01:00.5Z", &idle, None),
            ("2026-01-16T12:01:01Z", &idle, Some("it is from the future")),
            ("9999-01-16T12:01:01Z", &idle, Some("it is from the future")),
            ("2026-01-16T11:59:59Z", &run("2026-01-16T11:59:59.9Z"), None),
            (
                "2026-01-16T11:59:59.1Z",
                &run("2026-01-16T11:59:59.9Z"),
                Some("it was aimed at an earlier run of deacon"),
            ),
            (
                "2026-01-16T11:00:00Z",
                &run("2026-01-16T11:59:59Z"),
                Some("it was aimed at an earlier run of deacon"),
            ),
        ] {
            match (verdict(Action::Cycle, made, standing), want) {
                (Verdict::Execute, None) => {}
                (Verdict::Refuse(got) | Verdict::Moot(got), Some(want)) => {
                    assert!(got.starts_with(want), "{made}: {got}")
                }
                (got, want) => panic!("{made}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn only_a_restart_is_moot_once_the_agent_was_started_since() {
        let started = Standing {
            started: Some(at("2026-01-16T11:59:59.9Z")),
            ..Standing::default()
        };
        for (action, is_moot) in [
            (Action::Cycle, true),
            (Action::Restart, true),
            (Action::Shutdown, false),
        ] {
            let got = verdict(action, "2026-01-16T11:00:00Z", &started);
            assert_eq!(matches!(got, Verdict::Moot(_)), is_moot, "{action}");
            assert_eq!(matches!(got, Verdict::Refuse(_)), !is_moot, "{action}");
        }
    }

    #[test]
    fn who_may_not() {
        let made = "2026-01-16T12:00:00Z";
        let parked = Standing {
            refusal: Some("parked".into()),
            ..Standing::default()
        };
        let refused = Verdict::Refuse("deacon may not run: parked".into());
        assert_eq!(verdict(Action::Cycle, made, &parked), refused);
        assert_eq!(verdict(Action::Restart, made, &parked), refused);
        assert_eq!(verdict(Action::Shutdown, made, &parked), Verdict::Execute);
        for standing in [
            Standing {
                unknown: Some("no".into()),
                ..Standing::default()
            },
            Standing {
                unconfirmed: Ok(Some("no".into())),
                ..Standing::default()
            },
        ] {
            for action in [Action::Cycle, Action::Shutdown] {
                let got = verdict(action, made, &standing);
                assert_eq!(got, Verdict::Refuse("no".into()));
            }
        }
    }

    #[test]
    fn who_could_not_be_started_again_is_left_running() {
        let unfit = Standing {
            unfit: Some("no program".into()),
            ..Standing::default()
        };
        let made = "2026-01-16T12:00:00Z";
        for (action, want) in [
            (Action::Cycle, Verdict::Refuse("no program".into())),
            (Action::Restart, Verdict::Refuse("no program".into())),
            (Action::Shutdown, Verdict::Execute),
        ] {
            assert_eq!(verdict(action, made, &unfit), want);
        }
    }

    #[test]
    fn a_program_that_is_away_is_awaited_for_a_moment() {
        let away = Standing {
            away: Some("no program".into()),
            ..Standing::default()
        };
        for (action, made, want) in [
            (
                Action::Cycle,
                "2026-01-16T12:00:00Z",
                Verdict::Wait("no program".into()),
            ),
            (
                Action::Restart,
                "2026-01-16T11:59:01Z",
                Verdict::Wait("no program".into()),
            ),
            (
                Action::Restart,
                "2026-01-16T11:58:59Z",
                Verdict::Refuse("no program".into()),
            ),
            (Action::Shutdown, "2026-01-16T12:00:00Z", Verdict::Execute),
        ] {
            assert_eq!(verdict(action, made, &away), want, "{made}");
        }
    }

    #[test]
    fn what_is_not_known_waits_until_it_is_too_old() {
        let (made, old) = ("2026-01-16T12:00:00Z", "2026-01-16T05:00:00Z");
        let wait = Verdict::Wait("no disk".into());
        let unsure = Standing {
            unsure: Some("no disk".into()),
            ..Standing::default()
        };
        assert_eq!(verdict(Action::Cycle, made, &unsure), wait);
        assert_eq!(verdict(Action::Shutdown, made, &unsure), Verdict::Execute);
        let unread = Standing {
            unconfirmed: Err("no disk".into()),
            ..Standing::default()
        };
        for action in [Action::Cycle, Action::Shutdown] {
            assert_eq!(verdict(action, made, &unread), wait);
            for standing in [&unsure, &unread] {
                let got = verdict(action, old, standing);
                assert!(matches!(got, Verdict::Refuse(_)), "{got:?}");
            }
        }
    }

    #[test]
    fn what_was_done_since_does_for_the_weaker() {
        use Action::{Cycle, Restart, Shutdown};
        let done = |action, time: &str| Standing {
            last: Some((action, at(time))),
            started: Some(at(time)),
            ..Standing::default()
        };
        let set_back = Standing {
            started: None,
            ..done(Restart, "2026-01-16T12:00:08Z")
        };
        let made = "2026-01-16T12:00:00.1Z";
        assert_eq!(verdict(Cycle, made, &set_back), Verdict::Execute);
        let restarted = done(Restart, "2026-01-16T12:00:00.3Z");
        for (action, made, overtaken) in [
            (Cycle, "2026-01-16T12:00:00.1Z", true),
            (Restart, "2026-01-16T11:59:59Z", true),
            (Shutdown, "2026-01-16T12:00:00.1Z", false),
            // Made in the same second: perhaps after that start.
            (Cycle, "2026-01-16T12:00:00Z", false),
            (Cycle, "2026-01-16T12:00:00.4Z", false),
            (Cycle, "2026-01-16T11:59:00.2Z", false),
        ] {
            let got = verdict(action, made, &restarted) == Verdict::Overtaken;
            assert_eq!(got, overtaken, "{action} {made}");
        }
    }
}
