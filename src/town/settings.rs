//! `settings/config.json` and `settings/agents.json`, of the town and of a rig: which program each
//! agent runs, with which command line, and thresholds of the town. Written by `gt` and by people.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::json::{self, nullable};

/// The settings file, below the root of the town or of a rig.
pub const FILE: &str = "settings/config.json";

/// The Claude accounts, below the town's root.
pub const ACCOUNTS_FILE: &str = "mayor/accounts.json";

/// The agent registry, below the root of the town or of a rig.
pub const AGENTS_FILE: &str = "settings/agents.json";

/// A map as Go reads one: a value may be `null`.
pub type Map<T> = BTreeMap<String, Option<T>>;

/// What we read of a settings file. Some keys are only in the town's file, and some only in a
/// rig's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The town's agent for all roles that have no other.
    pub default_agent: Option<String>,
    /// The rig's agent for all roles that have no other.
    pub agent: Option<String>,
    /// The same, defined here instead of named.
    pub runtime: Option<Custom>,
    /// Agents by name.
    #[serde(deserialize_with = "nullable")]
    pub agents: Map<Custom>,
    /// Role to agent.
    #[serde(deserialize_with = "nullable")]
    pub role_agents: Map<String>,
    /// Crew member to agent, in the town's file.
    #[serde(deserialize_with = "nullable")]
    pub crew_agents: Map<String>,
    /// Crew member to agent, in a rig's file.
    #[serde(deserialize_with = "nullable")]
    pub worker_agents: Map<String>,
    /// Role to `CLAUDE_CODE_EFFORT_LEVEL`.
    #[serde(deserialize_with = "nullable")]
    pub role_effort: Map<String>,
    /// Patrols that are off whatever `mayor/daemon.json` says.
    #[serde(deserialize_with = "nullable")]
    pub disabled_patrols: BTreeSet<String>,
    /// Thresholds by section and key. As in Go, one of the wrong kind counts as missing; a problem
    /// says so.
    pub operational: Value,
}

/// The words for a value that should be a duration, see [`unusable`].
pub(super) const NO_DURATION: &str = "no duration that can be used";

impl Settings {
    /// The whole number at `operational.<section>.<key>`, if there is one.
    ///
    /// # Errors
    /// Something else is there; the error says what.
    pub fn number(&self, section: &str, key: &str) -> Result<Option<u32>, String> {
        let usable = |value: &Value| value.as_u64().and_then(|number| number.try_into().ok());
        self.threshold(section, key, "no whole number that can be used", usable)
    }

    /// The duration at `operational.<section>.<key>`, if there is one.
    ///
    /// # Errors
    /// As for [`Settings::number`].
    pub fn duration(&self, section: &str, key: &str) -> Result<Option<SignedDuration>, String> {
        let usable = |value: &Value| json::duration(value.as_str()?).ok();
        self.threshold(section, key, NO_DURATION, usable)
    }

    fn threshold<T>(
        &self,
        section: &str,
        key: &str,
        what: &str,
        usable: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let found = self.operational.get(section).and_then(|all| all.get(key));
        let Some(value) = found.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let name = format!("operational.{section}.{key}");
        usable(value)
            .map(Some)
            .ok_or_else(|| unusable(&name, value, what, FILE))
    }
}

/// How much of a value that cannot be used is shown, in characters.
const SHOWN: usize = 60;

/// The message about a value that cannot be used.
pub(super) fn unusable(name: &str, value: &Value, what: &str, file: &str) -> String {
    let shown: String = value.to_string().chars().take(SHOWN).collect();
    format!("'{name}' is {shown}, {what}, so it counts as missing; mend it in '{file}'")
}

/// How an agent's program is run, as far as a file says; the preset it is based on has the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Custom {
    /// The preset that this agent is based on.
    pub provider: Option<String>,
    /// The program: an absolute path, or a name for PATH.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Option<Vec<String>>,
    /// Variables that are set for it.
    #[serde(deserialize_with = "nullable")]
    pub env: Map<String>,
    /// The names of its processes, by which `gt` finds it alive.
    pub process_names: Option<Vec<String>>,
    /// `arg`: the program takes its first prompt as the last argument; `none`: it does not.
    pub prompt_mode: Option<String>,
    /// What its input line begins with when it waits for input.
    pub ready_prompt_prefix: Option<String>,
    /// Milliseconds after its start from which it counts as ready, if its screen does not tell.
    pub ready_delay_ms: Option<u64>,
    /// Where older files have some of these keys.
    pub tmux: Option<Tmux>,
    /// Put before the command.
    #[serde(deserialize_with = "nullable")]
    pub exec_wrapper: Vec<String>,
}

/// See [`Custom::tmux`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Tmux {
    pub process_names: Option<Vec<String>>,
    pub ready_prompt_prefix: Option<String>,
    pub ready_delay_ms: Option<u64>,
}

/// Reads a settings file.
///
/// # Errors
/// The text is not the JSON of settings.
pub fn parse(text: &str) -> Result<Settings> {
    json::parse(text)
}

/// Reads an agent registry, `{"version":1,"agents":{...}}`.
///
/// # Errors
/// The text is not the JSON of a registry.
pub fn parse_agents(text: &str) -> Result<Map<Custom>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default, deserialize_with = "nullable")]
        agents: Map<Custom>,
    }
    Ok(json::parse::<File>(text)?.agents)
}

/// Reads `mayor/accounts.json`: the Claude configuration directory of the default account.
///
/// # Errors
/// The text is not the JSON of accounts.
pub fn parse_accounts(text: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct File {
        default: Option<String>,
        #[serde(default, deserialize_with = "nullable")]
        accounts: Map<Value>,
    }
    #[derive(Deserialize)]
    struct Account {
        config_dir: Option<String>,
    }
    let mut file: File = json::parse(text)?;
    let account = file.default.and_then(|name| file.accounts.remove(&name));
    // Only the default account is read, so that a mistake in another does no harm.
    let account: Option<Account> = account.flatten().map(serde_json::from_value).transpose()?;
    let dir = account.and_then(|account| account.config_dir);
    Ok(dir.filter(|dir| !dir.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_empty_and_unknown_keys_are_others() {
        let settings = parse(
            r#"{"type":"town-settings","version":1,"cli_theme":"x","default_agent":"stub",
                "agents":null,"role_agents":{"witness":"w","polecat":null},"role_effort":null,
                "disabled_patrols":["handler"],"runtime":null,
                "operational":{"deacon":{"heartbeat_stale_threshold":"90s","cooldown":7},
                               "daemon":{"deacon_grace_period":"soon"}}}"#,
        )
        .unwrap();
        assert_eq!(settings.default_agent.as_deref(), Some("stub"));
        assert_eq!(settings.role_agents["polecat"], None);
        assert!(settings.disabled_patrols.contains("handler"));
        for (section, key, want) in [
            ("deacon", "heartbeat_stale_threshold", Ok(Some(90))),
            (
                "deacon",
                "cooldown",
                Err("'operational.deacon.cooldown' is 7, "),
            ),
            (
                "daemon",
                "deacon_grace_period",
                Err("'operational.daemon.deacon_grace_period' is \"soon\", "),
            ),
            ("mail", "x", Ok(None)),
        ] {
            match (settings.duration(section, key), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.map(|d| d.as_secs()), want),
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{got}"),
                (got, _) => panic!("{section}.{key}: {got:?}"),
            }
        }
        for text in [
            "",
            "[]",
            "null",
            r#"{"default_agent":1}"#,
            r#"{"agents":{"a":{"args":"x"}}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registries_and_accounts() {
        let agents = parse_agents(
            r#"{"version":1,"agents":{"a":{"command":"/x","env":{"K":"v","N":null}},"b":null}}"#,
        )
        .unwrap();
        assert_eq!(agents["a"].as_ref().unwrap().command.as_deref(), Some("/x"));
        assert_eq!(agents["b"], None);

        let accounts =
            r#"{"version":1,"accounts":{"me":{"config_dir":"~/c"},"no":{},"bad":7},"default":"#;
        for (default, want) in [("\"me\"", Some("~/c")), ("\"no\"", None), ("null", None)] {
            let got = parse_accounts(&format!("{accounts}{default}}}")).unwrap();
            assert_eq!(got.as_deref(), want);
        }
        assert!(parse_accounts(&format!("{accounts}\"bad\"}}")).is_err());
        assert!(parse_accounts("x").is_err());
    }
}
