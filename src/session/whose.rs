//! Which agent and town a session belongs to. Its name alone does not tell: the Deacon of every town
//! is called the same, and a `gt` of another release uses another name, or another tmux server.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::process::{self, Head};
use crate::agent::Agent;
use crate::tmux::{Index, Pane, SOCKETS, Tmux, TmuxError, socket_dir};
use crate::town::Town;
use crate::town::dialect::Dialect;

/// What is to be known of an agent to find its terminal.
#[derive(Debug, Clone)]
pub struct Names {
    agent: Agent,
    instance: String,
    root: PathBuf,
    dir: PathBuf,
    /// The name that the agent's session is to have.
    pub session: String,
    /// The names that other releases of `gt` give that session.
    pub others: Vec<String>,
}

/// Where an agent's terminal is on a server.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This pane has the agent's mark.
    Own(&'a Pane),
    /// This is the first pane of the agent's session, which is not marked.
    Session(&'a Pane),
    /// A session with the agent's name belongs to somebody else: to whom.
    Taken(String),
    /// The agent has no terminal here.
    Nowhere,
}

/// To which town a process belongs.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    /// To another town, with this root.
    Theirs(PathBuf),
    /// Nothing tells.
    Unknown,
}

impl Names {
    /// The names of an agent of the town.
    pub fn of(town: &Town, agent: &Agent) -> Names {
        Names {
            instance: agent.instance(),
            root: town.root().to_path_buf(),
            dir: town.workdir(agent),
            session: town.session(agent),
            others: town.other_sessions(agent),
            agent: agent.clone(),
        }
    }

    /// All names that the agent's session may have.
    pub fn sessions(&self) -> Vec<&str> {
        let others = self.others.iter().map(String::as_str);
        std::iter::once(self.session.as_str())
            .chain(others)
            .collect()
    }

    /// Finds the agent's terminal among the panes of a server.
    pub fn find<'a>(&self, panes: &Index<'a>) -> Found<'a> {
        if let Some(pane) = panes.own(&self.instance, &self.session) {
            return Found::Own(pane);
        }
        if let Some(&first) = panes.session(&self.session).first() {
            return match &first.home {
                Some(home) if *home == self.instance => Found::Session(first),
                Some(home) => Found::Taken(format!(
                    "that of {} already; rename one of the two",
                    Agent::from_instance(home).map_or_else(|_| home.clone(), String::from)
                )),
                None => match whose(&self.root, first.pid) {
                    Whose::Theirs(root) if !first.dead => Found::Taken(format!(
                        "that of the town '{}'; give one of the two towns a tmux socket of its own \
                         by 'tmux_socket' in 'settings/systemd.json'",
                        root.display()
                    )),
                    _ => Found::Session(first),
                },
            };
        }
        self.other(panes).map_or(Found::Nowhere, Found::Session)
    }

    /// Where on a server the agent runs a second time, beside the pane that has its mark, in words: a
    /// `gt` of another release starts it under another name.
    pub fn beside(&self, socket: &str, panes: &Index<'_>) -> Option<String> {
        let Found::Own(_) = self.find(panes) else {
            return None;
        };
        self.other(panes).map(|pane| place(socket, pane))
    }

    /// The pane without a mark in which the agent runs, under any of its names.
    fn other<'a>(&self, panes: &Index<'a>) -> Option<&'a Pane> {
        let mut panes = panes.unmarked();
        panes.find(|pane| self.is_named(pane) && self.runs_in(pane))
    }

    fn is_named(&self, pane: &Pane) -> bool {
        pane.session == self.session || self.others.contains(&pane.session)
    }

    /// Whether certainly this agent of this town runs in a pane.
    fn runs_in(&self, pane: &Pane) -> bool {
        let Some(pid) = process::head(pane.pid).process() else {
            return false;
        };
        !pane.dead && whose(&self.root, pid) == Whose::Ours && self.is_agent(pid)
    }

    /// Whether a process says that it is the agent; if it says nothing, whether it works in the
    /// agent's directory.
    fn is_agent(&self, pid: u32) -> bool {
        let environment = process::environment(pid).unwrap_or_default();
        match environment.get("BD_ACTOR").map(|actor| Agent::parse(actor)) {
            Some(actor) => actor.is_ok_and(|actor| actor == self.agent),
            None => process::directory(pid).is_some_and(|dir| dir.starts_with(real(&self.dir))),
        }
    }
}

/// The tmux servers that exist, other than the one in use, on which a `gt` of another release would
/// have the town's sessions.
#[derive(Debug, Default)]
pub struct OtherServers(Vec<(String, Vec<Pane>)>);

impl OtherServers {
    /// Lists them.
    ///
    /// # Errors
    /// tmux fails: then it is not known what runs there.
    pub fn look(town: &Town) -> Result<OtherServers, TmuxError> {
        let directory = std::env::var_os("TMUX_TMPDIR").map(PathBuf::from);
        let mut sockets = sockets(town, directory.as_deref());
        sockets.retain(|socket| is_there(socket));
        let panes = |socket: String| Ok((socket.clone(), Tmux::on(&socket).panes()?));
        let servers: Result<_, TmuxError> = sockets.into_iter().map(panes).collect();
        servers.map(OtherServers)
    }

    /// Where the agent runs on one of them, in words.
    pub fn find(&self, names: &Names) -> Option<String> {
        self.0.iter().find_map(|(socket, panes)| {
            let is_its = |pane: &&Pane| names.is_named(pane) && names.runs_in(pane);
            panes.iter().find(is_its).map(|pane| place(socket, pane))
        })
    }
}

/// What the sockets of such servers would be called: the names in /tmp, where the town's server is
/// whatever the environment says, and the paths in the directory that `TMUX_TMPDIR` names instead,
/// where a person's tmux and `gt` have theirs.
fn sockets(town: &Town, directory: Option<&Path>) -> Vec<String> {
    let mut names = Vec::from(Dialect::sockets(town.root()));
    names.extend([town.wanted_socket(), town.socket()].map(String::from));
    names.sort();
    names.dedup();
    let directory = directory.filter(|dir| dir.is_absolute() && *dir != Path::new(SOCKETS));
    let paths = directory.into_iter().flat_map(|dir| {
        let path = |name: &String| socket_dir(dir).join(name).display().to_string();
        names.iter().map(path).collect::<Vec<_>>()
    });
    let paths: Vec<String> = paths.collect();
    names.retain(|name| name != town.socket());
    names.extend(paths);
    names
}

/// Where an agent runs, and what ends it there, in words.
fn place(socket: &str, pane: &Pane) -> String {
    let flag = if socket.contains('/') { "-S" } else { "-L" };
    format!(
        "session '{0}' on tmux socket '{socket}' (process {1}; \
         'tmux {flag} {socket} kill-session -t ={0}' ends it)",
        pane.session, pane.pid
    )
}

/// Where the agent runs on another server, from which its unit cannot take it over, in words: then it
/// must not be started.
///
/// # Errors
/// tmux fails: then it is not known where the agent runs.
pub fn elsewhere(town: &Town, agent: &Agent) -> Result<Option<String>, TmuxError> {
    let names = Names::of(town, agent);
    let Some(place) = OtherServers::look(town)?.find(&names) else {
        return Ok(None);
    };
    let panes = Tmux::on(town.socket()).panes()?;
    Ok((names.find(&Index::of(&panes)) == Found::Nowhere).then_some(place))
}

/// Where an agent whose unit is down runs all the same, such as crew that a person has started; in
/// words. `None`: nowhere, as far as the panes tell.
pub fn outside(town: &Town, panes: &Index<'_>, agent: &Agent) -> Option<String> {
    let names = Names::of(town, agent);
    match names.find(panes) {
        Found::Own(pane) | Found::Session(pane) if names.runs_in(pane) => {
            Some(place(town.socket(), pane))
        }
        _ => None,
    }
}

/// Whether there is a socket of that name or path; it need not have a server.
fn is_there(socket: &str) -> bool {
    // What is absolute is not joined to anything.
    let meta = socket_dir(Path::new(SOCKETS)).join(socket).metadata();
    meta.is_ok_and(|meta| meta.file_type().is_socket())
}

/// To which town a pane's process belongs: to the one that it, or what runs in the foreground of its
/// shell, names in its environment, else to the one in whose directory it works.
fn whose(root: &Path, pid: u32) -> Whose {
    let head = match process::head(pid) {
        Head::Process(head) if head != pid => vec![head, pid],
        _ => vec![pid],
    };
    let said = head.iter().map(|pid| by_environment(root, *pid));
    let works = head.iter().map(|pid| {
        let dir = process::directory(*pid);
        dir.map_or(Whose::Unknown, |dir| by_directory(root, &dir))
    });
    said.chain(works)
        .find(|whose| *whose != Whose::Unknown)
        .unwrap_or(Whose::Unknown)
}

/// Whether an environment names the town with that root.
pub fn is_of_town(root: &Path, environment: &HashMap<String, String>) -> bool {
    said(root, environment) == Whose::Ours
}

fn by_environment(root: &Path, pid: u32) -> Whose {
    let environment = process::environment(pid).unwrap_or_default();
    said(root, &environment)
}

fn said(root: &Path, environment: &HashMap<String, String>) -> Whose {
    let named = ["GT_ROOT", "GT_TOWN_ROOT"]
        .iter()
        .find_map(|key| environment.get(*key).filter(|text| !text.is_empty()));
    match named.map(PathBuf::from) {
        None => Whose::Unknown,
        Some(named) if real(&named) == real(root) => Whose::Ours,
        Some(named) => Whose::Theirs(named),
    }
}

/// A path without links, as the kernel gives the directory of a process.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn by_directory(root: &Path, dir: &Path) -> Whose {
    let root = real(root);
    for above in dir.ancestors() {
        if above == root {
            return Whose::Ours;
        }
        if above.join("mayor/town.json").is_file() {
            return Whose::Theirs(above.to_path_buf());
        }
    }
    Whose::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_names_a_town() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("gt");
        let link = dir.path().join("link");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let (ours, same) = (root.to_str().unwrap(), link.to_str().unwrap());
        for (pairs, want) in [
            (&[][..], Whose::Unknown),
            (&[("GT_ROOT", "")], Whose::Unknown),
            (&[("GT_TOWN_ROOT", ours)], Whose::Ours),
            (&[("GT_ROOT", same)], Whose::Ours),
            (&[("GT_TOWN_ROOT", "/x")], Whose::Theirs("/x".into())),
            // What the agent itself was given counts before what its server has.
            (&[("GT_TOWN_ROOT", "/x"), ("GT_ROOT", ours)], Whose::Ours),
        ] {
            let environment = pairs
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect();
            assert_eq!(said(&root, &environment), want, "{pairs:?}");
        }
    }

    #[test]
    fn an_agent_that_says_nothing_is_known_by_its_directory_also_where_the_town_is_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        fs::create_dir_all(dir.path().join("gt/deacon")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("gt"), &link).unwrap();
        let names = |place: &str| Names {
            agent: Agent::deacon(),
            instance: "deacon".into(),
            root: link.clone(),
            dir: link.join(place),
            session: "gt-deacon".into(),
            others: Vec::new(),
        };
        let mut agent = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(dir.path().join("gt/deacon"))
            .env_remove("BD_ACTOR")
            .spawn()
            .unwrap();
        let found = ["deacon", "mayor"].map(|place| names(place).is_agent(agent.id()));
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert_eq!(found, [true, false]);
    }

    #[test]
    fn sockets_of_other_releases_and_of_another_directory() {
        let (_dir, town) = crate::town::tests::town(1);
        let here = sockets(&town, None);
        assert!(!here.is_empty() && !here.contains(&town.socket().to_string()));
        assert!(here.iter().all(|socket| !socket.contains('/')));
        for nowhere in ["", "tmp", "/tmp"] {
            assert_eq!(sockets(&town, Some(Path::new(nowhere))), here, "{nowhere}");
        }
        let there = sockets(&town, Some(Path::new("/run/x")));
        // The town's own name is another server there.
        let own = socket_dir(Path::new("/run/x")).join(town.socket());
        assert!(there.contains(&own.display().to_string()), "{there:?}");
        assert_eq!(there.len(), 2 * here.len() + 1);
    }

    #[test]
    fn a_directory_is_in_a_town() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for town in ["gt", "gt/rig/other", "else"] {
            fs::create_dir_all(base.join(town).join("mayor")).unwrap();
            fs::write(base.join(town).join("mayor/town.json"), "{}").unwrap();
        }
        fs::remove_file(base.join("gt/mayor/town.json")).unwrap();
        let root = base.join("gt");
        for (dir, want) in [
            ("gt", Whose::Ours),
            ("gt/deacon", Whose::Ours),
            ("gt/rig/other/x", Whose::Theirs(base.join("gt/rig/other"))),
            ("else/deacon", Whose::Theirs(base.join("else"))),
            ("gtx/deacon", Whose::Unknown),
        ] {
            assert_eq!(by_directory(&root, &base.join(dir)), want, "{dir}");
        }
    }
}
