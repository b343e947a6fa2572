//! Slips of the pen in files that people write: a mistyped key, role or rig, which does nothing.
//!
//! `gt` reads these files too, and has many keys that change by release. So an unknown word is told
//! only when it is near one that has a meaning here; every other may be meant for `gt`.

use serde_json::Value;

use super::marks::ESTOP;
use super::near::{LONGEST, MOST, Places, meant, of_json, of_value, question};
use super::rigs::Rigs;
use super::{Town, env_file, roles, settings, wisp};
use crate::agent::Role;
use crate::files;

/// How many entries of a directory are looked at, at most.
const ENTRIES: usize = 1000;

const ROLES: &[&str] = &{
    let mut names = [""; Role::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Role::ALL[at].name();
        at += 1;
    }
    names
};

/// The keys of an agent in the settings or in the registry of agents.
const AGENT: &[&str] = &[
    "provider",
    "command",
    "args",
    "env",
    "process_names",
    "prompt_mode",
    "ready_prompt_prefix",
    "ready_delay_ms",
    "tmux",
    "exec_wrapper",
];

/// The words of `settings/config.json`, of the town or of a rig.
const SETTINGS: Places = &[
    (
        "",
        &[
            "agent",
            "agents",
            "crew_agents",
            "default_agent",
            "disabled_patrols",
            "operational",
            "role_agents",
            "role_effort",
            "runtime",
            "worker_agents",
        ],
    ),
    ("agents.*", AGENT),
    ("runtime", AGENT),
    ("role_agents", ROLES),
    ("role_effort", ROLES),
    (
        "disabled_patrols",
        &["mayor", "deacon", "witness", "refinery"],
    ),
    ("operational", &["daemon", "deacon", "polecat", "session"]),
    (
        "operational.daemon",
        &[
            "deacon_grace_period",
            "mass_death_threshold",
            "mass_death_window",
            "max_lifecycle_message_age",
            "recovery_heartbeat_interval",
            "sync_failure_escalation_threshold",
        ],
    ),
    (
        "operational.deacon",
        &[
            "heartbeat_stale_threshold",
            "heartbeat_very_stale_threshold",
        ],
    ),
    ("operational.polecat", &["pending_max_age"]),
    ("operational.session", &["bd_command_timeout"]),
];

/// The words of `settings/agents.json`, of the town or of a rig.
const AGENTS: Places = &[("", &["agents"]), ("agents.*", AGENT)];

/// The words of `.beads-wisp/config/<rig>.json`.
const WISP: Places = &[
    ("", &["values", "blocked"]),
    ("values", &["status", "auto_restart"]),
    ("values.status", &["parked", "docked"]),
    ("blocked", &["auto_restart"]),
];

/// The words of `roles/<role>.toml`, of the town or of a rig.
const ROLE: Places = &[("", &["session", "env"]), ("session", &["start_command"])];

/// The slips in the files above and in the accounts, and the names of files and marks that belong
/// to no rig or role. (Those in the patrols are told where these are read.)
pub fn all(town: &Town) -> Vec<String> {
    let mut slips = Vec::new();
    let rigs = town.rigs();
    let mut dirs = vec![String::new()];
    dirs.extend(rigs.names().map(|rig| format!("{rig}/")));
    for dir in &dirs {
        for (file, places) in [(settings::FILE, SETTINGS), (settings::AGENTS_FILE, AGENTS)] {
            slips.extend(of_file(town, &format!("{dir}{file}"), places));
        }
        let dir = format!("{dir}{}", roles::DIR);
        for name in names_in(town, &dir) {
            let Some(role) = name.strip_suffix(".toml") else {
                continue;
            };
            slips.extend(of_file(town, &format!("{dir}/{name}"), ROLE));
            let meant = meant(role, ROLES.iter().copied());
            slips.extend(meant.map(|meant| {
                format!(
                    "'{dir}/{name}' is of no role, so it does nothing; did you mean '{meant}.toml'?"
                )
            }));
        }
    }
    slips.extend(of_accounts(town));
    for name in names_in(town, wisp::DIR) {
        let Some(rig) = name.strip_suffix(".json") else {
            continue;
        };
        let file = format!("{}/{name}", wisp::DIR);
        slips.extend(of_file(town, &file, WISP));
        slips.extend(of_no_rig(town, rig, &file));
    }
    for name in names_in(town, "") {
        let rig = name.strip_prefix(ESTOP).and_then(|n| n.strip_prefix('.'));
        slips.extend(rig.and_then(|rig| of_no_rig(town, rig, &name)));
    }
    slips
}

/// The message about a file of a rig that is not registered; `None` while the registry is broken.
fn of_no_rig(town: &Town, rig: &str, file: &str) -> Option<String> {
    let rigs: &Rigs = town.rigs();
    if town.rigs_error().is_some() || rigs.contains(rig) {
        return None;
    }
    Some(format!(
        "'{file}' is of rig '{rig}', which is not registered, so it keeps nobody from running{}",
        question(rig, rigs.names())
    ))
}

/// The message when `default` names an account that does not exist: then no account is used.
fn of_accounts(town: &Town) -> Option<String> {
    let file = settings::ACCOUNTS_FILE;
    let text = files::read(&town.path(file)).ok()??;
    let value: Value = serde_json::from_str(&text).ok()?;
    let named = value
        .get("default")?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let accounts = value.get("accounts").and_then(Value::as_object);
    let known = || {
        accounts
            .into_iter()
            .flat_map(|all| all.keys().map(String::as_str))
    };
    if known().any(|name| name == named) {
        return None;
    }
    let shown: String = named.chars().take(LONGEST).collect();
    Some(format!(
        "'{file}' has '{shown}' as 'default', which is no account there, so none is used{}",
        question(named, known())
    ))
}

/// The names in `town.env` that mean nothing there.
pub fn of_town_env() -> Vec<String> {
    let file = env_file::home().map(|home| home.join(env_file::FILE));
    let text = file.and_then(|file| files::read(&file)).ok().flatten();
    of_env(&text.unwrap_or_default())
}

/// Tells every unknown name: `gt` does not read this file.
fn of_env(text: &str) -> Vec<String> {
    const KNOWN: [&str; 2] = [env_file::ROOT, env_file::SOCKET];
    let pairs = env_file::parse(text).unwrap_or_default();
    let unknown = pairs.iter().filter(|(key, _)| !KNOWN.contains(&&**key));
    let told = unknown.take(MOST).map(|(key, _)| {
        let key: String = key.chars().take(LONGEST).collect();
        format!(
            "'~/{}' has {key}, which does nothing there{}",
            env_file::FILE,
            question(&key, KNOWN)
        )
    });
    told.collect()
}

/// The slips of a file; none when it cannot be read: who uses the file tells that.
fn of_file(town: &Town, file: &str, places: Places) -> Vec<String> {
    let text = files::read(&town.path(file)).ok().flatten();
    let text = text.unwrap_or_default();
    match file.ends_with(".toml") {
        true => of_value(file, &toml(&text).unwrap_or_default(), places),
        false => of_json(file, &text, places),
    }
}

/// What a file of a role says.
fn toml(text: &str) -> Option<Value> {
    let is_short = text.len() <= files::TOML_LIMIT;
    is_short.then(|| toml_edit::de::from_str(text).ok())?
}

fn names_in(town: &Town, dir: &str) -> Vec<String> {
    let names = files::names(&town.path(dir), ENTRIES).unwrap_or_default();
    let names = names.into_iter();
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::patrols;
    use crate::town::tests::town_with;

    /// The table of a man page has each key that counts here.
    #[test]
    fn every_key_is_in_the_man_page() {
        let page = include_str!("../../packaging/man/gastown-systemd.json.5");
        let (_, table) = page.split_once("SETTINGS OF GAS TOWN").unwrap();
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        let told: Vec<&str> = table.split(|c| !is_part(c)).collect();
        for (place, words) in [SETTINGS, AGENTS, WISP, ROLE, patrols::WORDS].concat() {
            let keys = words.iter().filter(|word| !ROLES.contains(word));
            for key in keys {
                assert!(told.contains(key), "'{key}' of '{place}'");
            }
        }
    }

    #[test]
    fn what_town_env_does_not_know_is_told() {
        let told = of_env("GT_TOWN_ROT=/x\nGT_TOWN_ROOT=/y\nMY_KEY=1\n");
        assert_eq!(told.len(), 2);
        assert!(
            told[0].ends_with(
                "has GT_TOWN_ROT, which does nothing there; did you mean 'GT_TOWN_ROOT'?"
            )
        );
        assert!(told[1].ends_with("has MY_KEY, which does nothing there"));
    }

    #[test]
    fn slips_in_all_files_are_told_with_what_was_meant() {
        let good = r#"{"type":"town-settings","version":1,"cli_theme":"x","default_agent":"sh",
            "agents":{"a":{"command":"/bin/sh","args":[],"hooks":{},"session":{},"tmux":{}}},
            "role_agents":{"witness":"a","dog":"a","boot":"a"},"cost_tier":"x","scheduler":{},
            "crew_agents":{"witnes":"a"},"disabled_patrols":["handler","witness"],"web_timeouts":{},
            "operational":{"nudge":{},"mail":{},"dolt":{},"web":{},"witness":{},
            "polecat":{"heartbeat_stale_threshold":"3m"},
            "session":{"bd_subprocess_timeout":"5s","bd_command_timeout":"5s"},
            "daemon":{"mass_death_window":"1m","boot_spawn_cooldown":"2m","doctor_mol_cooldown":"1m"}}}"#;
        let rigs = ("mayor/rigs.json", r#"{"rigs":{"gastown":{},"beads":{}}}"#);
        for (file, text, want) in [
            ("settings/config.json", good, None),
            (
                "gastown/settings/config.json",
                r#"{"type":"rig-settings","agent":"x","merge_queue":{}}"#,
                None,
            ),
            (
                "settings/config.json",
                r#"{"role_agents":{"witnes":"a"}}"#,
                Some("did you mean 'witness'?"),
            ),
            (
                "gastown/settings/config.json",
                r#"{"role_agent":{}}"#,
                Some("did you mean 'role_agents'?"),
            ),
            (
                "settings/config.json",
                r#"{"disabled_patrols":["refinry"]}"#,
                Some("did you mean 'refinery'?"),
            ),
            (
                "settings/config.json",
                r#"{"operational":{"daemon":{"deacon_grace_perod":"5m"}}}"#,
                Some("did you mean 'deacon_grace_period'?"),
            ),
            (
                "settings/agents.json",
                r#"{"version":1,"agents":{"a":{"comand":"x"}}}"#,
                Some("did you mean 'command'?"),
            ),
            (
                ".beads-wisp/config/gastown.json",
                r#"{"rig":"gastown","values":{"status":"parked","priority_adjustment":1,"max_polecats":2}}"#,
                None,
            ),
            (
                ".beads-wisp/config/gastown.json",
                r#"{"values":{"status":"active"}}"#,
                None,
            ),
            (
                ".beads-wisp/config/gastown.json",
                r#"{"values":{"status":"parkd"}}"#,
                Some(
                    "'parkd' in 'values.status', which does nothing there; did you mean 'parked'?",
                ),
            ),
            (
                ".beads-wisp/config/gastwon.json",
                "{}",
                Some("did you mean 'gastown'?"),
            ),
            (
                ".beads-wisp/config/other.json",
                "{}",
                Some("which is not registered, so it keeps nobody from running"),
            ),
            ("ESTOP.beds", "", Some("did you mean 'beads'?")),
            ("ESTOP.beads", "", None),
            ("ESTOP", "", None),
            (
                "gastown/roles/refinary.toml",
                "",
                Some("did you mean 'refinery.toml'?"),
            ),
            (
                "roles/refinery.toml",
                "scope = \"rig\"\n[session]\npattern = \"x\"\nstart_command = \"x\"\n[health]\n",
                None,
            ),
            (
                "roles/refinery.toml",
                "[sesion]\n",
                Some("did you mean 'session'?"),
            ),
            (
                "gastown/roles/crew.toml",
                "[session]\nstart_comand = \"x\"\n",
                Some("did you mean 'start_command'?"),
            ),
            (
                "mayor/accounts.json",
                r#"{"accounts":{"work":{}},"default":"work"}"#,
                None,
            ),
            ("mayor/accounts.json", r#"{"accounts":{"work":{}}}"#, None),
            (
                "mayor/accounts.json",
                r#"{"accounts":{"work":{}},"default":"wrok"}"#,
                Some("so none is used; did you mean 'work'?"),
            ),
            (
                "mayor/accounts.json",
                r#"{"default":"me"}"#,
                Some("so none is used"),
            ),
        ] {
            let (_dir, town) = town_with(1, &[rigs, (file, text)]);
            let got = all(&town);
            match want {
                None => assert_eq!(got, [""; 0], "{file}"),
                Some(want) => {
                    assert_eq!(got.len(), 1, "{got:?}");
                    assert!(
                        got[0].ends_with(want) && got[0].starts_with(&format!("'{file}' ")),
                        "{got:?}"
                    );
                }
            }
        }
        // Where it is not known which rigs there are, no file is called one of none.
        let (_dir, town) = town_with(1, &[rigs, ("ESTOP.beds", "")]);
        files::write(&town.path("mayor/rigs.json"), b"{").unwrap();
        assert_eq!(all(&town.again().unwrap()), [""; 0]);
    }
}
