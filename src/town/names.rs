//! Where an agent lives in this town: tmux session and socket, bead, directory. Gas Town's names,
//! by era.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Era, Town};
use crate::agent::{Agent, Role};

/// tmux would make these changes by itself, and then not find the session by its name.
fn tmux_name(name: &str) -> String {
    name.replace(['.', ':'], "_")
}

/// The town's socket in a current town: the directory's name and a hash of its real path, so that
/// two towns never share a server.
pub(super) fn socket(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let mut base = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => base.push(c),
            _ if base.ends_with('-') => {}
            _ => base.push('-'),
        }
    }
    let base = match base.trim_matches('-') {
        "" => "default",
        base => base,
    };
    let real = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let hash = Sha256::digest(real.as_os_str().as_bytes());
    let mut socket = format!("{base}-");
    for byte in &hash[..3] {
        _ = write!(socket, "{byte:02x}");
    }
    socket
}

impl Town {
    /// The agent's tmux session.
    pub fn session(&self, agent: &Agent) -> String {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let role = agent.role_name();
        let (town, rig) = match self.era {
            Era::Classic => ("gt", format!("gt-{rig}")),
            Era::Current => ("hq", self.rigs().prefix(rig).to_string()),
        };
        tmux_name(&match agent.role() {
            Role::Mayor | Role::Deacon | Role::Boot => format!("{town}-{role}"),
            Role::Dog => format!("{town}-dog-{name}"),
            Role::Witness | Role::Refinery => format!("{rig}-{role}"),
            Role::Crew => format!("{rig}-crew-{name}"),
            Role::Polecat => format!("{rig}-{name}"),
        })
    }

    /// The agent that a session's name stands for. A guess: names are not unique, and a `.` is
    /// lost in them. The pane option of a session that is ours says for certain.
    pub fn agent_of_session(&self, session: &str) -> Option<Agent> {
        let town = match self.era {
            Era::Classic => "gt-",
            Era::Current => "hq-",
        };
        let of_town = session.strip_prefix(town).and_then(|rest| match rest {
            "mayor" => Some(Agent::mayor()),
            "deacon" => Some(Agent::deacon()),
            "boot" => Agent::new(Role::Boot, None, None).ok(),
            _ => Agent::new(Role::Dog, None, Some(rest.strip_prefix("dog-")?)).ok(),
        });
        of_town.or_else(|| {
            // The longest start wins: the rig `a-b` over the rig `a`.
            let (rest, rig) = self
                .rigs()
                .names()
                .filter_map(|rig| {
                    let start = match self.era {
                        Era::Classic => format!("gt-{rig}-"),
                        Era::Current => format!("{}-", self.rigs().prefix(rig)),
                    };
                    Some((session.strip_prefix(&tmux_name(&start))?, rig))
                })
                .min_by_key(|(rest, _)| rest.len())?;
            let (role, name) = match rest {
                "witness" => (Role::Witness, None),
                "refinery" => (Role::Refinery, None),
                _ => match rest.strip_prefix("crew-") {
                    Some(name) => (Role::Crew, Some(name)),
                    None => (Role::Polecat, Some(rest)),
                },
            };
            Agent::new(role, Some(rig), name).ok()
        })
    }

    /// Why the town has no such agent: a start or a request must not make one. `None`: it has,
    /// or what rigs it has is not known.
    pub fn lacks(&self, agent: &Agent) -> Option<String> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        if agent.rig().is_some() && !self.rigs().contains(rig) {
            let file = self.path(super::rigs::FILE);
            return self
                .rigs_error()
                .is_none()
                .then(|| format!("'{}' has no rig '{rig}'", file.display()));
        }
        let dir = match agent.role() {
            Role::Dog => format!("deacon/dogs/{name}"),
            Role::Crew => format!("{rig}/crew/{name}"),
            Role::Polecat => format!("{rig}/polecats/{name}"),
            _ => return None,
        };
        let dir = self.path(&dir);
        (!dir.is_dir()).then(|| {
            format!(
                "the town has no agent {agent}: there is no '{}'",
                dir.display()
            )
        })
    }

    /// The bead that stands for the agent; `None` for roles that have none in this era.
    pub fn bead(&self, agent: &Agent) -> Option<String> {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let role = agent.role_name();
        if self.era == Era::Classic {
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
            Role::Mayor | Role::Deacon => Some(format!("hq-{role}")),
            Role::Dog => Some(format!("hq-dog-{name}")),
            Role::Witness | Role::Refinery => Some(format!("{start}-{role}")),
            Role::Crew | Role::Polecat => Some(format!("{start}-{role}-{name}")),
        }
    }

    /// The agent's working directory: the first of its places that exists, else its rig's, else
    /// the town's root.
    pub fn workdir(&self, agent: &Agent) -> PathBuf {
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        let places = match (agent.role(), self.era) {
            (Role::Mayor, Era::Classic) => vec![],
            (Role::Mayor, Era::Current) => vec!["mayor".into()],
            (Role::Deacon, _) => vec!["deacon".into()],
            (Role::Boot, _) => vec!["deacon/dogs/boot".into(), "deacon".into()],
            (Role::Dog, _) => vec![format!("deacon/dogs/{name}"), "deacon".into()],
            (Role::Witness, Era::Classic) => vec![format!("{rig}/witness")],
            (Role::Witness, Era::Current) => {
                vec![format!("{rig}/witness/rig"), format!("{rig}/witness")]
            }
            (Role::Refinery, _) => vec![format!("{rig}/refinery/rig"), format!("{rig}/mayor/rig")],
            (Role::Crew, _) => vec![format!("{rig}/crew/{name}")],
            (Role::Polecat, _) => vec![
                format!("{rig}/polecats/{name}/{rig}"),
                format!("{rig}/polecats/{name}"),
            ],
        };
        places
            .iter()
            .map(String::as_str)
            .chain([rig])
            .filter(|place| !place.is_empty())
            .map(|place| self.path(place))
            .find(|dir| dir.is_dir())
            .unwrap_or_else(|| self.root.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town;
    use std::fs;

    fn agent(text: &str) -> Agent {
        Agent::parse(text).unwrap()
    }

    #[test]
    fn sessions_and_beads_of_both_eras() {
        let (_dir, classic) = town(1);
        let (_dir, current) = town(2);
        for (text, old_session, new_session, old_bead, new_bead) in [
            (
                "mayor",
                "gt-mayor",
                "hq-mayor",
                Some("gt-mayor"),
                Some("hq-mayor"),
            ),
            (
                "deacon",
                "gt-deacon",
                "hq-deacon",
                Some("gt-deacon"),
                Some("hq-deacon"),
            ),
            ("boot", "gt-boot", "hq-boot", None, None),
            (
                "dog alpha",
                "gt-dog-alpha",
                "hq-dog-alpha",
                None,
                Some("hq-dog-alpha"),
            ),
            (
                "gastown/witness",
                "gt-gastown-witness",
                "gt-witness",
                Some("gt-witness-gastown"),
                Some("gt-gastown-witness"),
            ),
            (
                "ff/refinery",
                "gt-ff-refinery",
                "ff-refinery",
                Some("gt-refinery-ff"),
                Some("ff-refinery"),
            ),
            (
                "a.b-c/crew/max",
                "gt-a_b-c-crew-max",
                "ab-crew-max",
                Some("gt-crew-a.b-c-max"),
                Some("ab-a.b-c-crew-max"),
            ),
            (
                "gastown/polecats/nux",
                "gt-gastown-nux",
                "gt-nux",
                Some("gt-polecat-gastown-nux"),
                Some("gt-gastown-polecat-nux"),
            ),
        ] {
            let agent = agent(text);
            assert_eq!(classic.session(&agent), old_session);
            assert_eq!(current.session(&agent), new_session);
            assert_eq!(classic.bead(&agent).as_deref(), old_bead, "{text}");
            assert_eq!(current.bead(&agent).as_deref(), new_bead, "{text}");
            for (town, session) in [(&classic, old_session), (&current, new_session)] {
                assert_eq!(
                    town.agent_of_session(session).as_ref(),
                    Some(&agent),
                    "{session}"
                );
            }
        }
    }

    #[test]
    fn sessions_of_others_are_nobodys() {
        let (_dir, classic) = town(1);
        let (_dir, current) = town(2);
        for session in [
            "",
            "gt",
            "dotfiles-main",
            "gt-other-witness",
            "hq-mayor",
            "gt-gastown-",
        ] {
            assert_eq!(classic.agent_of_session(session), None, "{session}");
        }
        for session in [
            "",
            "hq-lookalike",
            "hq-overseer",
            "zz-witness",
            "gt-",
            "gt-a b",
        ] {
            assert_eq!(current.agent_of_session(session), None, "{session}");
        }
        // The longer rig wins.
        let got = classic.agent_of_session("gt-gastown-x-witness").unwrap();
        assert_eq!(got, agent("gastown-x/witness"));
    }

    #[test]
    fn sockets() {
        let dir = tempfile::tempdir().unwrap();
        for (name, base) in [
            ("gt", "gt"),
            ("My Town", "my-town"),
            ("my_town!", "my-town"),
            ("café", "caf"),
            ("!!!!", "default"),
            ("a.b--c", "a-b-c"),
        ] {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            let socket = socket(&root);
            let (got, hash) = socket.rsplit_once('-').unwrap();
            assert_eq!(got, base);
            assert!(hash.len() == 6 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        // The hash is that of the real path, here as `printf / | sha256sum` has it.
        assert_eq!(socket(Path::new("/")), "default-8a5eda");
        let link = dir.path().join("gt2");
        std::os::unix::fs::symlink(dir.path().join("gt"), &link).unwrap();
        let hash = |root: &Path| socket(root).rsplit_once('-').unwrap().1.to_string();
        assert_eq!(hash(&link), hash(&dir.path().join("gt")));
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
