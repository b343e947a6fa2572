//! The tmux session, the bead and the directory of an agent, by the names that the release of `gt`
//! in use gives them.

use std::path::PathBuf;

use anyhow::Result;

use super::Town;
use super::dialect::Dialect;
use crate::agent::{Agent, Role};
use crate::files;

/// tmux makes these changes to a session's name by itself, and then does not find the session by
/// the name that was asked for.
fn tmux_name(name: &str) -> String {
    name.replace(['.', ':'], "_")
}

impl Town {
    /// The agent's tmux session.
    pub fn session(&self, agent: &Agent) -> String {
        self.session_in(agent, self.dialect)
    }

    /// The names that the agent's session has in releases of `gt` with other conventions.
    pub fn other_sessions(&self, agent: &Agent) -> Vec<String> {
        let session = self.session(agent);
        let others = Dialect::OF_NAMES.map(|dialect| self.session_in(agent, dialect));
        let mut others = Vec::from(others);
        others.retain(|other| *other != session);
        others.dedup();
        others
    }

    fn session_in(&self, agent: &Agent, dialect: Dialect) -> String {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let role = agent.role_name();
        let hq = |is_hq| if is_hq { "hq" } else { "gt" };
        let (town, helpers) = (hq(dialect.has_hq_sessions()), hq(dialect.has_hq_helpers()));
        let rig = if dialect.has_prefix_sessions() {
            self.rigs().session_prefix(rig).to_string()
        } else {
            format!("gt-{rig}")
        };
        tmux_name(&match agent.role() {
            Role::Mayor | Role::Deacon => format!("{town}-{role}"),
            Role::Boot => format!("{helpers}-{role}"),
            Role::Dog => format!("{helpers}-dog-{name}"),
            Role::Witness | Role::Refinery => format!("{rig}-{role}"),
            Role::Crew => format!("{rig}-crew-{name}"),
            Role::Polecat => format!("{rig}-{name}"),
        })
    }

    /// Why the town has no such agent: a start or a request must not make one. `None`: the town has
    /// it, or the registry of rigs is broken, so that nobody knows.
    ///
    /// # Errors
    /// A directory that the agent may work in cannot be looked at.
    pub fn lacks(&self, agent: &Agent) -> Result<Option<String>> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        if agent.rig().is_some() && !self.rigs().contains(rig) {
            let file = self.path(super::rigs::FILE);
            let is_known = self.rigs_error().is_none();
            return Ok(is_known.then(|| format!("'{}' has no rig '{rig}'", file.display())));
        }
        self.found_workdir(agent)?;
        let dir = match agent.role() {
            Role::Dog => format!("deacon/dogs/{name}"),
            Role::Crew => format!("{rig}/crew/{name}"),
            Role::Polecat => format!("{rig}/polecats/{name}"),
            Role::Witness | Role::Refinery => rig.to_string(),
            _ => return Ok(None),
        };
        let dir = self.path(&dir);
        Ok((!files::is_dir(&dir)?).then(|| {
            format!(
                "the town has no agent {agent}: there is no '{}'",
                dir.display()
            )
        }))
    }

    /// As [`Town::lacks`], with an error as a reason too: why the agent is not started.
    pub fn lack(&self, agent: &Agent) -> Option<String> {
        let unknown = |e| Some(format!("it is not known where it works: {e:#}"));
        self.lacks(agent).unwrap_or_else(unknown)
    }

    /// The bead that stands for the agent; `None` for roles that have none.
    pub fn bead(&self, agent: &Agent) -> Option<String> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let role = agent.role_name();
        let hq = if self.dialect.has_hq_beads() {
            "hq"
        } else {
            "gt"
        };
        if !self.dialect.has_prefix_beads() {
            return match agent.role() {
                Role::Boot | Role::Dog => None,
                Role::Mayor | Role::Deacon => Some(format!("gt-{role}")),
                Role::Witness | Role::Refinery => Some(format!("gt-{role}-{rig}")),
                Role::Crew | Role::Polecat => Some(format!("gt-{role}-{rig}-{name}")),
            };
        }
        let prefix = self.rigs().prefix(rig);
        let start = if prefix == rig {
            rig.to_string()
        } else {
            format!("{prefix}-{rig}")
        };
        match agent.role() {
            Role::Boot => None,
            Role::Mayor | Role::Deacon => Some(format!("{hq}-{role}")),
            Role::Dog => Some(format!("{hq}-dog-{name}")),
            Role::Witness | Role::Refinery => Some(format!("{start}-{role}")),
            Role::Crew | Role::Polecat => Some(format!("{start}-{role}-{name}")),
        }
    }

    /// The bead that stands for a rig.
    pub fn rig_bead(&self, rig: &str) -> String {
        format!("{}-rig-{rig}", self.rigs().prefix(rig))
    }

    /// The git worktree that is a Refinery's or crew member's own; `None`: there is none.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn worktree(&self, agent: &Agent) -> Result<Option<PathBuf>> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let dir = match agent.role() {
            Role::Refinery => self.path(&format!("{rig}/refinery/rig")),
            Role::Crew => self.path(&format!("{rig}/crew/{name}")),
            _ => return Ok(None),
        };
        Ok(files::is_dir(&dir)?.then_some(dir))
    }

    /// The agent's working directory: the first of its places that exists, else its rig's, else
    /// the town's root. When they cannot be looked at it is the first place, where [`Town::lacks`]
    /// keeps the agent from being started.
    pub fn workdir(&self, agent: &Agent) -> PathBuf {
        let found = self.found_workdir(agent);
        found.unwrap_or_else(|_| self.places(agent).next().unwrap_or_default())
    }

    fn found_workdir(&self, agent: &Agent) -> Result<PathBuf> {
        for place in self.places(agent) {
            if files::is_dir(&place)? {
                return Ok(place);
            }
        }
        Ok(self.root.clone())
    }

    /// The directories that the agent may work in, the best first, ending with the rig's and the
    /// town's.
    fn places(&self, agent: &Agent) -> impl Iterator<Item = PathBuf> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let places = match agent.role() {
            Role::Mayor if !self.dialect.has_mayor_dir() => vec![],
            Role::Mayor => vec!["mayor".into()],
            Role::Deacon => vec!["deacon".into()],
            Role::Boot => vec!["deacon/dogs/boot".into(), "deacon".into()],
            Role::Dog => vec![format!("deacon/dogs/{name}"), "deacon".into()],
            Role::Witness if !self.dialect.has_prefix_beads() => vec![format!("{rig}/witness")],
            Role::Witness => vec![format!("{rig}/witness/rig"), format!("{rig}/witness")],
            Role::Refinery => vec![format!("{rig}/refinery/rig"), format!("{rig}/mayor/rig")],
            Role::Crew => vec![format!("{rig}/crew/{name}")],
            Role::Polecat => vec![
                format!("{rig}/polecats/{name}/{rig}"),
                format!("{rig}/polecats/{name}"),
            ],
        };
        let rig = agent.rig().map(String::from);
        let places = places.into_iter().chain(rig);
        places
            .map(|place| self.path(&place))
            .chain([self.root.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::{town, town_with};
    use std::fs;

    fn agent(text: &str) -> Agent {
        Agent::parse(text).unwrap()
    }

    /// A town as it is with a release of gt.
    fn town_of(release: &str) -> (tempfile::TempDir, Town) {
        let ours = format!(r#"{{"gt_version":"{release}"}}"#);
        town_with(2, &[(crate::town::ours::FILE, &ours)])
    }

    #[test]
    fn sessions_of_each_release() {
        let releases = [
            "0.1.0", "0.2.0", "0.2.1", "0.2.6", "0.6.0", "0.7.0", "1.0.1",
        ];
        let towns = releases.map(town_of);
        for (text, [first, hq, prefix]) in [
            ("mayor", ["gt-mayor", "hq-mayor", "hq-mayor"]),
            ("deacon", ["gt-deacon", "hq-deacon", "hq-deacon"]),
            ("boot", ["gt-boot", "gt-boot", "hq-boot"]),
            (
                "dog alpha",
                ["gt-dog-alpha", "gt-dog-alpha", "hq-dog-alpha"],
            ),
            (
                // Its prefix is written 'gt-'.
                "gastown/witness",
                ["gt-gastown-witness", "gt-gastown-witness", "gt--witness"],
            ),
            (
                "ff/refinery",
                ["gt-ff-refinery", "gt-ff-refinery", "ff-refinery"],
            ),
            (
                "a.b-c/crew/max",
                ["gt-a_b-c-crew-max", "gt-a_b-c-crew-max", "ab-crew-max"],
            ),
            (
                "gastown/polecats/nux",
                ["gt-gastown-nux", "gt-gastown-nux", "gt--nux"],
            ),
        ] {
            let agent = agent(text);
            let want = [first, first, hq, hq, hq, prefix, prefix];
            for ((_dir, town), want) in towns.iter().zip(want) {
                assert_eq!(town.session(&agent), want, "{text}");
                let mut others = vec![first, hq, prefix];
                others.dedup();
                others.retain(|other| *other != want);
                assert_eq!(town.other_sessions(&agent), others, "{text}");
            }
        }
    }

    #[test]
    fn beads_of_each_release() {
        let towns = ["0.1.0", "0.1.1", "0.2.0", "1.0.1"].map(town_of);
        for (text, want) in [
            ("mayor", ["gt-mayor", "gt-mayor", "hq-mayor", "hq-mayor"]),
            ("boot", ["", "", "", ""]),
            (
                "dog alpha",
                ["", "gt-dog-alpha", "hq-dog-alpha", "hq-dog-alpha"],
            ),
            (
                "gastown/witness",
                [
                    "gt-witness-gastown",
                    "gt-gastown-witness",
                    "gt-gastown-witness",
                    "gt-gastown-witness",
                ],
            ),
            (
                "ff/refinery",
                [
                    "gt-refinery-ff",
                    "ff-refinery",
                    "ff-refinery",
                    "ff-refinery",
                ],
            ),
            (
                "a.b-c/crew/max",
                [
                    "gt-crew-a.b-c-max",
                    "ab-a.b-c-crew-max",
                    "ab-a.b-c-crew-max",
                    "ab-a.b-c-crew-max",
                ],
            ),
        ] {
            for ((_dir, town), want) in towns.iter().zip(want) {
                let bead = town.bead(&agent(text)).unwrap_or_default();
                assert_eq!(bead, want, "{text}");
            }
        }
    }

    #[test]
    fn the_first_directory_that_exists() {
        let (_dir, classic) = town(1);
        let (_dir, current) = town(2);
        for town in [&classic, &current] {
            for dir in [
                "mayor",
                "deacon/dogs/boot",
                "gastown/witness/rig",
                "gastown/mayor/rig",
            ] {
                fs::create_dir_all(town.path(dir)).unwrap();
            }
            fs::create_dir_all(town.path("gastown/polecats/nux/gastown")).unwrap();
            fs::create_dir_all(town.path("gastown/polecats/ace")).unwrap();
            fs::write(town.path("gastown/crew"), "").unwrap();
        }
        for (text, old, new) in [
            ("mayor", "", "mayor"),
            ("deacon", "deacon", "deacon"),
            ("boot", "deacon/dogs/boot", "deacon/dogs/boot"),
            ("dog x", "deacon", "deacon"),
            ("gastown/witness", "gastown/witness", "gastown/witness/rig"),
            ("gastown/refinery", "gastown/mayor/rig", "gastown/mayor/rig"),
            ("gastown/crew/max", "gastown", "gastown"),
            (
                "gastown/polecats/nux",
                "gastown/polecats/nux/gastown",
                "gastown/polecats/nux/gastown",
            ),
            (
                "gastown/polecats/ace",
                "gastown/polecats/ace",
                "gastown/polecats/ace",
            ),
            ("gone/witness", "", ""),
        ] {
            for (town, want) in [(&classic, old), (&current, new)] {
                let want = if want.is_empty() {
                    town.root().into()
                } else {
                    town.path(want)
                };
                assert_eq!(town.workdir(&agent(text)), want, "{text}");
            }
        }
    }
}
