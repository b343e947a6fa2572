//! What a tick decides: a folder for each case, with what is seen and what is to come of it,
//! and properties that hold whatever is seen.
//!
//! `DECIDE_WRITE=1 cargo test --test decide` writes missing `plan.json` files; read them before
//! you commit them. Nothing is written otherwise.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gastown::agent::Agent;
use gastown::heartbeat::decide::decide;
use gastown::heartbeat::memory::{Clocks, Pokes, Record, Retry, Shown};
use gastown::heartbeat::observed::{Activity, Beat, Observed, Refused, Seen, UnitState};
use gastown::heartbeat::plan::{Action, Plan};
use gastown::terminal::State;
use gastown::tmux::Words;
use gastown::town::left::Left;
use gastown::town::ours::Ours;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What the case is about: a step of the design, or a row of the failures.
    about: String,
    now: Timestamp,
    seen: Observed,
}

#[test]
fn cases() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decide");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let case = entry.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(case.join(name));
        let input: Input = serde_json::from_str(&read("input.json").unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        assert!(!input.about.is_empty(), "{}", case.display());
        let plan = decide(&input.seen, input.now);
        let text = serde_json::to_string_pretty(&plan).unwrap() + "\n";
        match read("plan.json") {
            Ok(want) => {
                let want: Plan = serde_json::from_str(&want).unwrap();
                if plan != want {
                    wrong.push(format!("{}:\n{text}", case.display()));
                }
            }
            Err(_) if std::env::var_os("DECIDE_WRITE").is_some() => {
                std::fs::write(case.join("plan.json"), text).unwrap();
            }
            Err(e) => panic!("{}/plan.json: {e}", case.display()),
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 20, "only {count} cases were found");
}

fn now() -> Timestamp {
    "2026-01-16T10:00:00Z".parse().unwrap()
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (-40_000i64..4_000).prop_map(|s| now() + SignedDuration::from_secs(s))
}

fn unit() -> impl Strategy<Value = UnitState> {
    let active = prop::sample::select(vec![
        "active",
        "active",
        "active",
        "inactive",
        "failed",
        "activating",
        "deactivating",
    ]);
    let job = prop::option::weighted(0.1, prop::sample::select(vec!["start", "stop"]));
    let status = prop::sample::select(vec![0, 1, 75, 78, 127]);
    let times = (prop::option::of(moment()), prop::option::of(moment()));
    (active, job, status, times, 0u64..4).prop_map(
        |(active, job, status, (since, down), restarts)| UnitState {
            active: active.into(),
            job: job.map(String::from),
            status,
            since,
            down,
            restarts,
            ..UnitState::default()
        },
    )
}

fn shown() -> impl Strategy<Value = Shown> {
    (0u64..3, 0usize..2).prop_map(|(position, column)| Shown {
        hash: "x".into(),
        position,
        column,
    })
}

fn seen() -> impl Strategy<Value = Seen> {
    let marks = vec![
        "estop",
        "rig-estop",
        "held",
        "parked",
        "docked",
        "no-auto-restart",
        "unknown",
    ];
    let refusal = prop::option::weighted(0.3, prop::sample::select(marks));
    let rare = || prop::bool::weighted(0.1);
    let flags = (any::<bool>(), rare(), any::<bool>(), rare());
    let screen = prop::option::of(shown());
    (
        flags,
        refusal,
        unit(),
        prop::option::of(Just("%1".to_string())),
        screen,
    )
        .prop_map(
            |((wanted, dismissed, session, gone), refusal, unit, pane, screen)| Seen {
                wanted,
                dismissed,
                gone,
                stray: !wanted,
                refusal: refusal.map(|mark| Refused {
                    mark: mark.into(),
                    reason: "it is so".into(),
                }),
                unit,
                pane,
                screen,
                session,
                usable: (wanted != session).then_some(!gone),
                terminal: (session && dismissed).then_some(State::Draft),
                withheld: session && dismissed,
                pid: 1,
                left_over: false,
                agreed: false,
                disagreement: None,
                words: (wanted && session).then(|| Words {
                    text: "You are".into(),
                    after: now(),
                }),
                outside: session && wanted,
                elsewhere: None,
                cpu: dismissed.then_some(7),
                appeared: session.then(now),
                left: match (wanted, dismissed) {
                    (true, true) => Some(Left::Closed(now() - SignedDuration::from_secs(5))),
                    (false, true) => Some(Left::Waiting(now())),
                    (false, false) => Some(Left::AtWork),
                    (true, false) => None,
                },
                strayed: (session && !wanted).then_some(812),
            },
        )
}

fn record() -> impl Strategy<Value = Record> {
    let pokes = (
        0u32..6,
        0u32..6,
        prop::option::of(moment()),
        prop::option::of(shown()),
    );
    let retry = prop::option::of((0u32..40, moment()));
    (pokes, retry, 0u64..4).prop_map(|((count, unanswered, last, screen), retry, restarts)| {
        Record {
            pokes: Pokes {
                count,
                unanswered,
                last,
                screen,
                cpu: Some(5),
                tip: None,
                waits: None,
            },
            retry: retry.map(|(count, at)| Retry { count, at }),
            restarts,
            ..Record::default()
        }
    })
}

fn clocks() -> impl Strategy<Value = Clocks> {
    (
        prop::bool::weighted(0.9),
        0i64..40_000_000,
        0i64..40_000_000,
        moment(),
    )
        .prop_map(|(same, monotonic, more, realtime)| Clocks {
            boot_id: if same { "a" } else { "b" }.into(),
            monotonic,
            boottime: monotonic + more / 1000,
            realtime,
        })
}

const AGENTS: &[&str] = &[
    "mayor",
    "deacon",
    "a/witness",
    "a/refinery",
    "b/witness",
    "a/crew/max",
];

prop_compose! {
    fn observed()(
        agents in prop::collection::vec(prop::option::weighted(0.8, (seen(), record())), AGENTS.len()),
        heartbeat in prop_oneof![Just(Beat::Missing), Just(Beat::Unreadable), moment().prop_map(Beat::At)],
        paused in prop::option::weighted(0.2, Just("it is paused".to_string())),
        activity in prop_oneof![Just(Activity::Missing), Just(Activity::Ours), moment().prop_map(Activity::At)],
        clocks in (prop::option::of(clocks()), prop::option::of(clocks())),
        times in (prop::option::of(moment()), prop::option::of(moment()), prop::option::of(moment())),
        spacing in 1i64..4000,
        first in 1i64..4000,
        alerts in any::<bool>(),
    ) -> Observed {
        let mut seen = Observed {
            heartbeat, paused, activity, sign: times.0,
            clocks: clocks.0,
            rules: Ours {
                poke_spacing: SignedDuration::from_secs(spacing),
                retry_first: SignedDuration::from_secs(first),
                retry_longest: SignedDuration::from_secs(first * 6),
                ..Ours::default()
            },
            ..Observed::default()
        };
        seen.memory.clocks = clocks.1;
        seen.memory.ticked = times.2;
        seen.memory.woke = times.2;
        for (name, agent) in AGENTS.iter().zip(agents) {
            let name: Agent = name.parse().unwrap();
            if let Some((agent, record)) = agent {
                if alerts {
                    seen.alerts.insert(format!("unit-{}", name.unit()), "x".into());
                }
                seen.agents.insert(name.clone(), agent);
                seen.memory.agents.insert(name, record);
            }
        }
        seen
    }
}

/// What a tick did to an agent, in a few words.
fn kind(action: &Action) -> &'static str {
    match action {
        Action::Start { .. } => "start",
        Action::Retry { .. } => "retry",
        Action::Stop { .. } => "stop",
        Action::Restart { .. } => "restart",
        Action::BringBack { .. } => "bring back",
        Action::Poke { .. } => "poke",
        Action::Instruct { .. } => "instruct",
        Action::Restore { .. } => "restore",
        Action::Tell { .. } => "tell",
        Action::MarkDead { .. } => "mark",
        Action::TakeBack { .. } => "take back",
        Action::Agree { .. } => "agree",
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_seen(seen in observed()) {
        let plan = decide(&seen, now());
        prop_assert_eq!(&plan, &decide(&seen, now()));
        prop_assert!((1..=3600).contains(&plan.next.seconds));
        let due = plan.memory.next.clone().unwrap().at;
        prop_assert!(due > now() && due <= now() + SignedDuration::from_hours(1));

        let mut acted = BTreeSet::new();
        for step in &plan.steps {
            let Some(agent) = step.action.agent() else { continue };
            if kind(&step.action) == "tell" { continue }
            // What else is done to it is done in its unit.
            if let Action::BringBack { pid, .. } = &step.action {
                prop_assert_eq!(seen.agents[agent].strayed, Some(*pid));
                continue;
            }
            prop_assert!(acted.insert(agent.clone()), "two actions for {}", agent);
            let found = &seen.agents[agent];
            let what = kind(&step.action);
            prop_assert!(!found.unit.is_changing(), "{} of one in change", what);
            if let Some(refused) = &found.refusal {
                // One whose rig is not restarted may run, but is not started.
                let may = match (refused.mark.as_str(), what) {
                    ("unknown", _) | (_, "start" | "retry") => false,
                    ("no-auto-restart", "stop") => found.dismissed,
                    ("no-auto-restart", _) | (_, "stop") => true,
                    _ => false,
                };
                prop_assert!(may, "{} of one that is {}", what, refused.mark);
            }
            match what {
                "start" | "retry" => {
                    let works = match found.left {
                        Some(Left::AtWork) => true,
                        left => agent.role().is_worker() && left.is_some(),
                    };
                    prop_assert!((found.wanted || works) && found.unit.is_down());
                }
                "stop" => prop_assert!(found.unit.is_active()
                    && (found.dismissed || found.refusal.is_some())),
                "poke" | "restart" => {
                    prop_assert!(found.wanted && found.unit.is_active() && plan.gap.is_none());
                    if *agent == Agent::deacon() {
                        prop_assert!(seen.paused.is_none());
                    }
                }
                _ => {}
            }
            if what == "retry" {
                let retry = plan.memory.agents[agent].retry.as_ref().unwrap();
                prop_assert!(retry.at <= now() + seen.rules.retry_longest);
            }
            if what == "poke" {
                let before = seen.memory.agents[agent].pokes.last;
                let passed = before.map(|last| now().duration_since(last));
                prop_assert!(passed.is_none_or(|passed| passed >= seen.rules.poke_spacing));
            }
            if what == "restart" {
                let pokes = &seen.memory.agents[agent].pokes;
                prop_assert!(pokes.unanswered >= seen.rules.pokes);
                prop_assert!(matches!(seen.heartbeat, Beat::At(at) if at < now()
                    && found.unit.since.is_none_or(|since| since > now() || at >= since)));
            }
        }
        // A condition does not begin and end at once, and none begins twice.
        for key in plan.raise.keys() {
            prop_assert!(!plan.clear.contains_key(key) && !seen.alerts.contains_key(key));
        }
        // What a tick leaves is what a file can hold.
        let text = serde_json::to_string(&plan.memory).unwrap();
        prop_assert_eq!(serde_json::from_str::<gastown::heartbeat::memory::Memory>(&text).unwrap(), plan.memory);
    }

    /// Ticks in a row, at whatever moments, with an agent that never does anything: its pokes
    /// keep their distance, and it is restarted only after three of them.
    #[test]
    fn pokes_keep_their_distance(steps in prop::collection::vec(1i64..1200, 1..60)) {
        let mut seen = Observed::default();
        let mut time = now();
        let deacon = Seen {
            wanted: true,
            pane: Some("%1".into()),
            screen: Some(Shown::default()),
            unit: UnitState { active: "active".into(), since: Some(time), ..UnitState::default() },
            ..Seen::default()
        };
        seen.agents = BTreeMap::from([(Agent::deacon(), deacon)]);
        seen.heartbeat = Beat::At(time);
        let (mut last, mut pokes): (Option<Timestamp>, u32) = (None, 0);
        for step in steps {
            time += SignedDuration::from_secs(step);
            let plan = decide(&seen, time);
            for step in &plan.steps {
                match kind(&step.action) {
                    "poke" => {
                        let spacing = seen.rules.poke_spacing * (1 << pokes.saturating_sub(1));
                        let wait = last.map(|last| time.duration_since(last));
                        prop_assert!(wait.is_none_or(|wait| wait >= spacing));
                        (last, pokes) = (Some(time), pokes + 1);
                    }
                    "restart" => {
                        prop_assert_eq!(pokes, seen.rules.pokes);
                        // The next process.
                        pokes = 0;
                        seen.heartbeat = Beat::At(time);
                        let unit = &mut seen.agents.get_mut(&Agent::deacon()).unwrap().unit;
                        unit.since = Some(time);
                    }
                    other => prop_assert!(false, "{}", other),
                }
            }
            seen.memory = plan.memory;
        }
    }

    /// Once everything asked for is done, the same look asks for nothing: no storm.
    #[test]
    fn a_second_look_at_once_asks_for_no_more(seen in observed()) {
        let plan = decide(&seen, now());
        prop_assume!(plan.gap.is_none());
        let mut after = seen.clone();
        after.memory = plan.memory.clone();
        for step in &plan.steps {
            if let Some(agent) = step.action.agent() && kind(&step.action) != "tell" {
                let found = after.agents.get_mut(agent).unwrap();
                found.strayed = None;
                found.unit.active = match kind(&step.action) {
                    "start" | "retry" | "restart" => "activating",
                    "stop" => "deactivating",
                    _ => "active",
                }.into();
            }
        }
        after.alerts.extend(plan.raise.clone());
        after.alerts.retain(|key, _| !plan.clear.contains_key(key));
        let again = decide(&after, now());
        prop_assert_eq!(again.steps, vec![]);
        prop_assert_eq!(again.raise, BTreeMap::new());
    }
}

#[test]
fn who_is_gone_is_forgotten() {
    let mut seen = Observed::default();
    let record = Record {
        restarts: 3,
        ..Record::default()
    };
    for name in ["a/polecats/nux", "a/polecats/gone"] {
        let agent: Agent = name.parse().unwrap();
        seen.memory.agents.insert(agent, record.clone());
    }
    let nux: Agent = "a/polecats/nux".parse().unwrap();
    let unit = UnitState {
        restarts: 3,
        ..UnitState::default()
    };
    let running = Seen {
        unit,
        ..Seen::default()
    };
    seen.agents.insert(nux.clone(), running);
    let plan = decide(&seen, "2026-01-16T10:00:00Z".parse().unwrap());
    assert_eq!(plan.memory.agents.into_keys().collect::<Vec<_>>(), [nux]);
}
