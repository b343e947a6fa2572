//! `mayor/daemon.json`: which agents the town wants running, and for which rigs. Written by `gt`.
//!
//! `{"type":"daemon-patrol-config","patrols":{"witness":{"enabled":true,"rigs":["gastown"]}}}`

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::dialect::Dialect;
use super::env_file::is_variable;
use super::json::{self, nullable};
use super::near::{self, LONGEST, Places};
use super::rigs::Rigs;
use super::settings::{NO_DURATION, unusable};
use crate::agent::{Agent, Role};
use crate::environment::is_fixed;
use crate::printable;

/// The file, below the town's root.
pub const FILE: &str = "mayor/daemon.json";

/// The words that have a meaning in the file.
pub(super) const WORDS: Places = &[
    ("", &["env", "heartbeat", "patrols"]),
    ("heartbeat", &["interval"]),
    (
        "patrols",
        &["mayor", "deacon", "witness", "refinery", "dolt_server"],
    ),
    ("patrols.*", &["enabled", "rigs"]),
];

/// The patrols that we know, as the file has them; `None` for one that it does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Blocks {
    deacon: Option<Block>,
    witness: Option<Block>,
    refinery: Option<Block>,
    mayor: Option<Block>,
    #[serde(deserialize_with = "lenient")]
    dolt_server: Option<DoltServer>,
    #[serde(skip)]
    env: BTreeMap<String, String>,
    #[serde(skip)]
    heartbeat: Option<Heartbeat>,
    #[serde(skip)]
    slips: Vec<String>,
}

/// The server that holds the town's beads, where the file has `gt` run it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DoltServer {
    #[serde(deserialize_with = "nullable")]
    enabled: bool,
    /// Its port, if it is one.
    #[serde(deserialize_with = "lenient")]
    pub port: Option<u16>,
    /// Its machine; `None`: this one.
    #[serde(deserialize_with = "lenient")]
    pub host: Option<String>,
}

/// How often the daemon ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Heartbeat {
    interval: Value,
}

impl Blocks {
    /// The time between two ticks, if the file has one.
    ///
    /// # Errors
    /// The file has no usable duration there; the error says what it has.
    pub(super) fn interval(&self) -> Result<Option<SignedDuration>, String> {
        let given = self.heartbeat.as_ref().map(|beat| &beat.interval);
        let Some(value) = given.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let length = value.as_str().and_then(|text| json::duration(text).ok());
        let unusable = || unusable("heartbeat.interval", value, NO_DURATION, FILE);
        length.map(Some).ok_or_else(unusable)
    }

    /// The variables for all agents.
    pub(super) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The server that holds the town's beads, if the file has `gt` run it.
    pub(super) fn dolt_server(&self) -> Option<&DoltServer> {
        self.dolt_server.as_ref().filter(|server| server.enabled)
    }

    /// A message for each slip of the pen in the file, see [`near`].
    pub fn slips(&self) -> &[String] {
        &self.slips
    }

    /// The rigs that patrols are switched on for and that are not registered: a typo there switches
    /// the patrol off for the rig that is meant.
    pub fn unknown_rigs(&self, rigs: &Rigs) -> BTreeSet<&str> {
        let blocks = [&self.witness, &self.refinery].into_iter().flatten();
        let named = blocks.filter(|block| block.enabled).flat_map(|b| &b.rigs);
        let unknown = named.filter(|rig| !rigs.contains(rig));
        unknown.map(String::as_str).collect()
    }
}

/// One patrol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Block {
    /// As in Go, `false` when the block has no such key.
    #[serde(deserialize_with = "nullable")]
    enabled: bool,
    /// Empty: all rigs.
    #[serde(deserialize_with = "nullable")]
    rigs: Vec<String>,
}

/// What has another form than we read is none: `gt` may give it one that we do not know.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(de: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(de)?).ok())
}

/// Reads the file.
///
/// # Errors
/// The text is not the JSON of a patrol configuration.
pub fn parse(text: &str) -> Result<Blocks> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default, deserialize_with = "nullable")]
        patrols: Blocks,
        #[serde(default)]
        heartbeat: Option<Heartbeat>,
        #[serde(default, deserialize_with = "lenient")]
        env: Option<BTreeMap<String, Value>>,
    }
    let file: File = json::parse(text)?;
    let mut slips = near::of_json(FILE, text, WORDS);
    let (mut env, mut unfit) = (BTreeMap::new(), Vec::new());
    for (key, value) in file.env.unwrap_or_default() {
        let text = match value {
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        match text {
            Some(text) if is_variable(&key) && !is_fixed(&key) && !text.contains('\0') => {
                env.insert(key, text);
            }
            _ => unfit.push(format!(
                "{:?}",
                key.chars().take(LONGEST).collect::<String>()
            )),
        }
    }
    if !unfit.is_empty() {
        slips.push(format!(
            "'{FILE}' has {} in 'env', which no agent can be given; take it out",
            printable::names(&unfit)
        ));
    }
    Ok(Blocks {
        heartbeat: file.heartbeat,
        env,
        slips,
        ..file.patrols
    })
}

/// Which agents are wanted, by all settings together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patrols {
    blocks: Blocks,
    disabled: BTreeSet<String>,
    mayor: bool,
}

impl Patrols {
    /// Joins the file with `disabled_patrols` of the town's settings and our own `mayor` setting.
    /// Where none of them says, the Mayor is kept running if the `gt` in use does that, and the
    /// others always.
    pub fn new(
        blocks: Blocks,
        disabled: BTreeSet<String>,
        mayor: Option<bool>,
        dialect: Dialect,
    ) -> Self {
        let mayor = mayor
            .or(blocks.mayor.as_ref().map(|block| block.enabled))
            .unwrap_or(dialect.keeps_mayor());
        Patrols {
            blocks,
            disabled,
            mayor,
        }
    }

    /// Whether the patrols want this agent running. Roles without a patrol are never wanted.
    pub fn wants(&self, agent: &Agent) -> bool {
        let block = match agent.role() {
            Role::Mayor => return self.mayor && !self.disabled.contains("mayor"),
            Role::Deacon => &self.blocks.deacon,
            Role::Witness => &self.blocks.witness,
            Role::Refinery => &self.blocks.refinery,
            _ => return false,
        };
        !self.disabled.contains(agent.role_name())
            && block.as_ref().is_none_or(|block| {
                block.enabled
                    && agent.rig().is_none_or(|rig| {
                        block.rigs.is_empty() || block.rigs.iter().any(|r| r == rig)
                    })
            })
    }

    /// Every agent that the patrols want running.
    pub fn roster(&self, rigs: &Rigs) -> BTreeSet<Agent> {
        all(rigs).filter(|agent| self.wants(agent)).collect()
    }
}

/// Every agent that a patrol could want.
pub fn all(rigs: &Rigs) -> impl Iterator<Item = Agent> {
    let of_rigs = rigs.names().flat_map(|rig| {
        [Role::Witness, Role::Refinery]
            .into_iter()
            .filter_map(move |role| Agent::new(role, Some(rig), None).ok())
    });
    [Agent::mayor(), Agent::deacon()].into_iter().chain(of_rigs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(text: &str, disabled: &[&str], mayor: Option<bool>, dialect: Dialect) -> String {
        let rigs = super::super::rigs::parse(r#"{"rigs":{"a":{},"b":{}}}"#).unwrap();
        let disabled = disabled.iter().map(|name| name.to_string()).collect();
        let agents = Patrols::new(parse(text).unwrap(), disabled, mayor, dialect).roster(&rigs);
        let names: Vec<String> = agents.iter().map(Agent::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn rosters() {
        let (classic, current) = (Dialect::OLDEST, Dialect::NEWEST);
        let rigs = "a/witness a/refinery b/witness b/refinery";
        let no_rigs = r#"{"patrols":{"witness":{"enabled":false},"refinery":{}}}"#;
        for (text, disabled, mayor, dialect, want) in [
            ("{}", &[][..], None, classic, format!("deacon {rigs}")),
            ("{}", &[], None, current, format!("mayor deacon {rigs}")),
            (
                "{}",
                &[],
                Some(true),
                classic,
                format!("mayor deacon {rigs}"),
            ),
            (
                "{}",
                &["mayor"],
                Some(true),
                classic,
                format!("deacon {rigs}"),
            ),
            (
                "{}",
                &["witness", "handler"],
                None,
                classic,
                "deacon a/refinery b/refinery".into(),
            ),
            (no_rigs, &[], None, classic, "deacon".into()),
            (no_rigs, &["deacon"], Some(false), current, String::new()),
            (
                r#"{"patrols":{"mayor":{"enabled":true},"deacon":{"enabled":false,"interval":5},
                    "witness":{"enabled":true,"rigs":["b","gone","../x"]},
                    "refinery":{"enabled":true,"rigs":null},
                    "restart_tracker":{"initial_backoff":30000000000}}}"#,
                &[],
                None,
                classic,
                "mayor a/refinery b/witness b/refinery".into(),
            ),
            (
                r#"{"patrols":{"mayor":{}}}"#,
                &[],
                None,
                current,
                format!("deacon {rigs}"),
            ),
            (
                r#"{"patrols":null}"#,
                &[],
                None,
                classic,
                format!("deacon {rigs}"),
            ),
        ] {
            assert_eq!(
                roster(text, disabled, mayor, dialect),
                want,
                "{text} {disabled:?}"
            );
        }
    }

    #[test]
    fn many_variables_that_cannot_be_given_are_one_problem() {
        let env = |names: &[String]| {
            let pairs: Vec<String> = names
                .iter()
                .map(|name| format!(r#""{name}":"x""#))
                .collect();
            parse(&format!(r#"{{"env":{{{}}}}}"#, pairs.join(","))).unwrap()
        };
        assert_eq!(
            env(&["a b".into(), "GOOD".into()]).slips(),
            [r#"'mayor/daemon.json' has "a b" in 'env', which no agent can be given; take it out"#]
        );
        let names: Vec<String> = (0..1000).map(|n| format!("a {n}")).collect();
        let slips = env(&names).slips;
        assert!(
            slips.len() == 1 && slips[0].contains("and 995 more"),
            "{slips:?}"
        );
    }

    #[test]
    fn a_rig_that_is_not_registered_is_named() {
        let rigs = super::super::rigs::parse(r#"{"rigs":{"a":{},"b":{}}}"#).unwrap();
        for (text, want) in [
            ("{}", &[][..]),
            (
                r#"{"patrols":{"witness":{"enabled":true,"rigs":["a","b"]}}}"#,
                &[],
            ),
            (
                r#"{"patrols":{"witness":{"enabled":true,"rigs":["a","B"]},
                    "refinery":{"enabled":true,"rigs":["B","c"]}}}"#,
                &["B", "c"],
            ),
            // Switched off, or no patrol of rigs.
            (
                r#"{"patrols":{"witness":{"enabled":false,"rigs":["B"]},
                    "deacon":{"enabled":true,"rigs":["B"]}}}"#,
                &[],
            ),
        ] {
            let blocks = parse(text).unwrap();
            let got: Vec<&str> = blocks.unknown_rigs(&rigs).into_iter().collect();
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn only_near_misses_in_patrols_are_told() {
        for (text, want) in [
            ("", &[][..]),
            ("[]", &[]),
            // All that gt 1.2 knows, and what it may know tomorrow.
            (
                r#"{"type":"daemon-patrol-config","version":1,"env":{"A":"b"},
                    "heartbeat":{"enabled":true,"interval":"3m"},"patrols":{"mayor":{},
                    "refinery":{"enabled":true,"interval":"5m","agent":"x","rigs":[]},
                    "witness":{},"deacon":{},"handler":{},"dolt_server":{"port":1},
                    "dolt_remotes":{"databases":[],"remote":"x","branch":"y"},"dolt_backup":{},
                    "jsonl_git_backup":{},"wisp_reaper":{},"doctor_dog":{},"compactor_dog":{},
                    "checkpoint_dog":{},"scheduled_maintenance":{},"main_branch_test":{},
                    "quota_dog":{},"restart_tracker":{"initial_backoff":1},"polecats":{}}}"#,
                &[],
            ),
            (
                r#"{"patrols":{"witnes":{"enabled":false},"refinery":{"enabeld":true}},"Patrols":1}"#,
                &[
                    "'Patrols', ",
                    "'witnes' in 'patrols', ",
                    "'enabeld' in 'patrols.refinery', ",
                ],
            ),
            (
                r#"{"patrols":{"witness":{"enabled":true,"rig":["a"]}}}"#,
                &["'rig' in 'patrols.witness', "],
            ),
        ] {
            let got = near::of_json(FILE, text, WORDS);
            assert_eq!(got.len(), want.len(), "{got:?}");
            for (got, want) in got.iter().zip(want) {
                let want = want.strip_suffix(", ").unwrap();
                assert!(got.starts_with(&format!("'{}' has {want},", FILE)), "{got}");
            }
        }
    }

    #[test]
    fn broken_is_not_a_default() {
        for text in [
            "",
            "[]",
            r#"{"patrols":{"witness":{"enabled":"yes"}}}"#,
            r#"{"patrols":{"witness":{"enabled":true,"rigs":"a"}}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn workers_are_nobodys_patrol() {
        let patrols = Patrols::new(Blocks::default(), BTreeSet::new(), None, Dialect::NEWEST);
        for text in [
            "a/crew/max",
            "a/polecats/nux",
            "deacon/boot",
            "deacon/dogs/x",
        ] {
            assert!(!patrols.wants(&Agent::parse(text).unwrap()), "{text}");
        }
    }
}
