//! The variables that the daemon of current `gt` gives to all agents alike: by `env` of
//! `mayor/daemon.json`, the address of the server that holds the town's beads, and where
//! measurements go.

use std::collections::BTreeMap;

use super::Town;
use crate::agent::Agent;
use crate::files;

/// The Dolt server's configuration, which `gt dolt start` writes, below the town's root.
const DOLT: &str = ".dolt-data/config.yaml";

/// What claude and `bd` need to send metrics, and then logs, to the addresses that `gt` sends its own to.
const METRICS: &[(&str, &str)] = &[
    ("CLAUDE_CODE_ENABLE_TELEMETRY", "1"),
    ("OTEL_METRICS_EXPORTER", "otlp"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
];
const LOGS: &[(&str, &str)] = &[
    ("OTEL_LOGS_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
    ("OTEL_LOG_TOOL_DETAILS", "true"),
    ("OTEL_LOG_TOOL_CONTENT", "true"),
    ("OTEL_LOG_USER_PROMPTS", "true"),
];

impl Town {
    /// What the file has in `env`, for agents whose role and program say nothing of it.
    pub(super) fn given_env(&self) -> impl Iterator<Item = (&String, &String)> {
        let is_current = self.dialect().has_address_roles();
        let env = self.patrols.value.env().iter();
        env.filter(move |_| is_current)
    }

    /// The addresses for an agent; `own` are the variables that tell it who it is.
    pub(super) fn addresses(
        &self,
        agent: &Agent,
        own: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let blocks = &self.patrols.value;
        let given = |key: &str| blocks.env().get(key).filter(|value| !value.is_empty());
        let mut env = BTreeMap::new();
        let server = blocks.dolt_server();
        let text = files::read(&self.path(DOLT)).ok().flatten();
        let said = given("GT_DOLT_PORT").and_then(|port| port.parse().ok());
        let port = text.as_deref().and_then(listener_port);
        let port = port.or(server.and_then(|server| server.port)).or(said);
        if let Some(port) = port.filter(|port| *port != 0) {
            for key in ["GT_DOLT_PORT", "BEADS_DOLT_PORT"] {
                env.insert(key.into(), port.to_string());
            }
        }
        let host = server.and_then(|server| server.host.as_ref());
        let host = given("BEADS_DOLT_SERVER_HOST")
            .or(host.filter(|host| !host.is_empty()))
            .or(given("GT_DOLT_HOST"));
        if let Some(host) = host {
            env.insert("BEADS_DOLT_SERVER_HOST".into(), host.clone());
        }
        let signals = [
            ("METRICS", METRICS, "GT_OTEL_METRICS_URL"),
            ("LOGS", LOGS, "GT_OTEL_LOGS_URL"),
        ];
        for (name, fixed, address) in signals {
            let Some(address) = given(address).cloned() else {
                break;
            };
            env.insert(format!("BD_OTEL_{name}_URL"), address.clone());
            env.insert(format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT"), address);
            let fixed = fixed
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()));
            env.extend(fixed);
            env.insert(
                "OTEL_RESOURCE_ATTRIBUTES".into(),
                self.attributes(agent, own),
            );
        }
        env
    }

    /// Whose measurements these are.
    fn attributes(&self, agent: &Agent, own: &BTreeMap<String, String>) -> String {
        let town = self
            .root()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let attributes = [
            ("role", own.get("GT_ROLE").cloned()),
            ("rig", agent.rig().map(String::from)),
            ("actor", own.get("BD_ACTOR").cloned()),
            ("agent", agent.name().map(String::from)),
            ("town", town),
            ("session", own.get("GT_SESSION").cloned()),
        ];
        // A comma or an equals sign in a value would begin another attribute.
        let sound = |value: String| value.replace([',', '='], "_");
        let given = attributes
            .into_iter()
            .filter_map(|(key, value)| Some((key, sound(value?))));
        let texts: Vec<String> = given
            .map(|(key, value)| format!("gt.{key}={value}"))
            .collect();
        texts.join(",")
    }
}

/// The port in a Dolt server's configuration: `port:` in the block `listener:`.
fn listener_port(yaml: &str) -> Option<u16> {
    let lines = yaml
        .lines()
        .skip_while(|line| line.trim_end() != "listener:");
    let mut block = lines
        .skip(1)
        .take_while(|line| line.starts_with([' ', '\t']));
    let port = block.find_map(|line| line.trim().strip_prefix("port:"))?;
    port.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::patrols::FILE;
    use crate::town::tests::town_with;

    #[test]
    fn the_port_is_the_listeners() {
        for (yaml, want) in [
            (
                "log_level: warning\n\nlistener:\n  host: 127.0.0.1\n  port: 3308\n  max: 9\nx: 1\n",
                Some(3308),
            ),
            ("listener:\n\tport: 1\n", Some(1)),
            ("listener:\n  max: 9\nmetrics:\n  port: 4\n", None),
            ("  port: 4\nlistener:\n", None),
            ("listener:\n  port: 70000\n", None),
            ("listener:\n  port: x\n", None),
            ("", None),
        ] {
            assert_eq!(listener_port(yaml), want, "{yaml}");
        }
    }

    #[test]
    fn agents_of_current_gt_get_what_all_share() {
        let dolt = (DOLT, "listener:\n  port: 3309\n");
        let env = r#"{"env":{"GT_DOLT_PORT":3310,"GT_DOLT_HOST":"mini","K":"v","GT_ROLE":"x","TMUX":"x","a b":"x","L":[1]}}"#;
        let server = r#"{"patrols":{"dolt_server":{"enabled":true,"port":3311,"host":"h"}}}"#;
        let off = r#"{"patrols":{"dolt_server":{"enabled":false,"port":3311,"host":"h"}}}"#;
        let otel = r#"{"env":{"GT_OTEL_METRICS_URL":"http://m","GT_OTEL_LOGS_URL":"http://l"}}"#;
        for (version, files, want) in [
            (2, vec![], ""),
            (2, vec![(FILE, off)], ""),
            (2, vec![dolt], "BEADS_DOLT_PORT=3309 GT_DOLT_PORT=3309"),
            (
                2,
                vec![dolt, (FILE, env)],
                "BEADS_DOLT_PORT=3309 BEADS_DOLT_SERVER_HOST=mini GT_DOLT_HOST=mini GT_DOLT_PORT=3309 K=v",
            ),
            (
                2,
                vec![(FILE, env)],
                "BEADS_DOLT_PORT=3310 BEADS_DOLT_SERVER_HOST=mini GT_DOLT_HOST=mini GT_DOLT_PORT=3310 K=v",
            ),
            // What a program's settings say of a variable counts more.
            (
                2,
                vec![
                    (FILE, env),
                    (
                        "settings/config.json",
                        r#"{"agents":{"claude":{"command":"claude","env":{"K":"mine"}}}}"#,
                    ),
                ],
                "BEADS_DOLT_PORT=3310 BEADS_DOLT_SERVER_HOST=mini GT_DOLT_HOST=mini GT_DOLT_PORT=3310 K=mine",
            ),
            (2, vec![(DOLT, "listener:\n  port: 0\n")], ""),
            (
                2,
                vec![(
                    FILE,
                    r#"{"patrols":{"dolt_server":{"enabled":true,"port":0,"host":""}}}"#,
                )],
                "",
            ),
            (
                2,
                vec![(FILE, server)],
                "BEADS_DOLT_PORT=3311 BEADS_DOLT_SERVER_HOST=h GT_DOLT_PORT=3311",
            ),
            (
                2,
                vec![(FILE, otel)],
                "BD_OTEL_LOGS_URL=http://l BD_OTEL_METRICS_URL=http://m CLAUDE_CODE_ENABLE_TELEMETRY=1 \
                 GT_OTEL_LOGS_URL=http://l GT_OTEL_METRICS_URL=http://m \
                 OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://l OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf \
                 OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://m OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf \
                 OTEL_LOGS_EXPORTER=otlp OTEL_LOG_TOOL_CONTENT=true OTEL_LOG_TOOL_DETAILS=true OTEL_LOG_USER_PROMPTS=true \
                 OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=1000 \
                 OTEL_RESOURCE_ATTRIBUTES=gt.role=ff/polecats/nux,gt.rig=ff,gt.actor=ff/polecats/nux,gt.agent=nux,gt.town=T,gt.session=S",
            ),
            // Older ones had no such variables.
            (1, vec![dolt, (FILE, env)], ""),
        ] {
            let agent = Agent::parse("ff/polecats/nux").unwrap();
            let (_bare, without) = town_with(version, &[]);
            let (_dir, town) = town_with(version, &files);
            let before = without.launch(&agent).unwrap().env;
            let env = town.launch(&agent).unwrap().env;
            let (session, name) = (&env.get("GT_SESSION"), town.root().file_name().unwrap());
            let more = env.iter().filter(|(key, _)| !before.contains_key(*key));
            let more: Vec<String> = more
                .map(|(key, value)| {
                    let value = value.replace(&format!("gt.town={}", name.display()), "gt.town=T");
                    let session = session.map(|session| format!("gt.session={session}"));
                    let value =
                        session.map_or(value.clone(), |s| value.replace(&s, "gt.session=S"));
                    format!("{key}={value}")
                })
                .collect();
            assert_eq!(more.join(" "), want);
            assert!(before.keys().all(|key| env.contains_key(key)));
        }
    }
}
