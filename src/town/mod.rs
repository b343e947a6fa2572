//! The town: a directory of files that agents, people and `gt` write. One file here per format,
//! with `parse(&str)` apart from the reading.
//!
//! Every file may be missing, broken, or hostile. Missing is normal and has a default; broken is
//! never taken for missing; hostile names are checked before they reach a path or a program.

pub mod activity;
pub mod agent_state;
pub mod deacon;
pub mod dialect;
pub mod docked;
pub mod env_file;
pub mod first_words;
pub mod hooks;
pub mod json;
pub mod kept;
pub mod launch;
pub mod left;
pub mod marks;
pub mod names;
pub mod near;
pub mod ours;
pub mod patrols;
pub mod pending;
pub mod poke;
mod presets;
mod program;
pub mod rigs;
mod role_changes;
pub mod roles;
pub mod settings;
mod shared_env;
pub mod slips;
mod socket;
mod sources;
pub mod state;
pub mod wisp;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User, geteuid};

use crate::agent::{self, AddressError, Agent, Role};
use crate::environment::sudo_user;
use crate::exit::Exit;
use crate::{files, journal, printable};
use dialect::{Dialect, Said};
pub use env_file::home;
use kept::Kept;
use ours::Ours;
use patrols::Patrols;
pub use program::Appearance;
use rigs::Rigs;
use sources::Sources;

/// The marker of a town, below its root.
const FILE: &str = "mayor/town.json";

/// How many entries of a rig's `crew` or `polecats` directory are looked at, at most.
const WORKERS: usize = 1000;

/// A town and its configuration, as it was at one moment. Marks, heartbeats and other things that
/// change by the minute are read when they are asked for.
#[derive(Debug, Clone)]
pub struct Town {
    root: PathBuf,
    marker: Kept<Option<Dialect>>,
    dialect: Dialect,
    said: Kept<Said>,
    socket: String,
    wanted_socket: String,
    wish: Option<String>,
    rigs: Kept<Rigs>,
    patrols: Kept<patrols::Blocks>,
    accounts: Kept<Option<String>>,
    ours: Kept<ours::File>,
    sources: Sources,
    /// Each rig's settings, read when first asked for: an agent's start needs those of one rig. Boxed,
    /// so that the others cost nothing: each agent has a process that loads the town.
    rig_sources: BTreeMap<String, OnceLock<Box<Sources>>>,
}

/// Whether a directory is a town: it has a file that `gt install` makes, or last good copies of
/// ours.
///
/// # Errors
/// The directory cannot be looked into.
pub(crate) fn has_town(root: &Path) -> Result<bool> {
    let signs = [FILE, rigs::FILE, kept::DIR].map(|file| files::is_there(&root.join(file)));
    if signs.iter().any(|sign| matches!(sign, Ok(true))) {
        return Ok(true);
    }
    signs.into_iter().collect::<Result<Vec<bool>>>()?;
    Ok(false)
}

/// Whether it is certain that the root is a link to nothing.
fn leads_nowhere(root: &Path) -> bool {
    let gone = |e: std::io::Error| e.kind() == ErrorKind::NotFound;
    root.is_symlink() && root.metadata().err().is_some_and(gone)
}

fn no_town(root: &Path) -> String {
    let link = match leads_nowhere(root) {
        true => ", which is a link to nothing",
        false => "",
    };
    let what = format!("There is no town at '{}'{link}", root.display());
    match sudo_user() {
        Some(user) => format!("{what}, for you are root by sudo; run this as {user}, without sudo"),
        None if geteuid().is_root() => {
            format!("{what}, and you are root; run this as the user whose town it is")
        }
        None => format!(
            "{what}; make one with 'gt install', or set {} in '~/{}'",
            env_file::ROOT,
            env_file::FILE
        ),
    }
}

/// Why `user` must not run the town. Only the owner of its `daemon` directory may: two users'
/// managers would run every agent twice.
fn foreign_runner(root: &Path, user: Uid) -> Option<String> {
    let dir = root.join("daemon");
    let owner = Uid::from_raw(dir.metadata().ok()?.uid());
    if owner == user {
        return None;
    }
    let name = User::from_uid(owner).ok().flatten();
    let name = name.map_or_else(|| owner.to_string(), |user| user.name);
    let (town, dir) = (root.display(), dir.display());
    let is_own_root = root
        .metadata()
        .is_ok_and(|root| root.uid() == user.as_raw());
    let cure = match is_own_root {
        // The town is the user's own: a command that somebody else ran here made `daemon` theirs.
        true => format!("if that is not so, run as root: chown -R {user} '{dir}'"),
        false => format!(
            "log in as {name}, or set {} in '~/{}'",
            env_file::ROOT,
            env_file::FILE
        ),
    };
    Some(format!(
        "The town '{town}' is run by {name}, to whom '{dir}' belongs, and by nobody else; {cure}"
    ))
}

impl Town {
    /// The user's town.
    ///
    /// # Errors
    /// As [`env_file::locate`] and [`Town::at`]. [`Exit::BadConfig`]: the directory is no town,
    /// such as the mount point of a disk that is not there, or another user runs the town.
    pub fn load() -> Result<Town> {
        let at = env_file::locate()?;
        let is_town = !leads_nowhere(&at.root) && has_town(&at.root)?;
        let fits = || {
            ensure!(is_town, no_town(&at.root));
            match foreign_runner(&at.root, geteuid()) {
                Some(why) => bail!(why),
                None => Ok(()),
            }
        };
        fits().map_err(|e| e.context(Exit::BadConfig))?;
        files::keep_to(&at.root);
        journal::set_town(&at.root);
        Town::at(&at.root, at.socket.as_deref())
    }

    /// The town at `root`, on the tmux socket `socket`, else on the one that its configuration or
    /// dialect names. Other broken configuration files are no error here: see [`Town::problems`].
    ///
    /// # Errors
    /// [`Exit::BadConfig`]: `root` is no directory, or `mayor/town.json` is broken and was never good.
    /// Any other: `root` cannot be looked at.
    pub fn at(root: &Path, socket: Option<&str>) -> Result<Town> {
        let is_dir = files::is_dir(root)?;
        let usable = || {
            ensure!(is_dir && root.to_str().is_some(), no_town(root));
            Ok(())
        };
        usable().map_err(|e| e.context(Exit::BadConfig))?;
        let marker = Kept::load_filled(root, FILE, parse_marker, Option::is_none);
        let by_itself = marker.known()?.unwrap_or(Dialect::OLDEST);
        let ours = Kept::load(root, ours::FILE, ours::parse);
        let said = Kept::load(root, dialect::FILE, dialect::parse_said);
        let release = ours.value.gt_version.or(said.value.release);
        let dialect = release.map_or(by_itself, Dialect::of);
        let wanted_socket = socket
            .or(ours.value.tmux_socket.as_deref())
            .filter(|name| *name != env_file::AUTO)
            .map_or_else(|| dialect.socket(root), String::from);
        let rigs = Kept::load_filled(root, rigs::FILE, rigs::parse, Rigs::is_empty);
        let rig_sources = rigs
            .value
            .names()
            .map(|rig| (rig.to_string(), OnceLock::new()));
        Ok(Town {
            root: root.to_path_buf(),
            marker,
            dialect,
            said,
            socket: served_socket(root).unwrap_or_else(|| wanted_socket.clone()),
            wanted_socket,
            wish: socket.map(String::from),
            rig_sources: rig_sources.collect(),
            rigs,
            patrols: Kept::load(root, patrols::FILE, patrols::parse),
            sources: Sources::load(root, ""),
            accounts: Kept::load(root, settings::ACCOUNTS_FILE, settings::parse_accounts),
            ours,
        })
    }

    /// The root, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// The conventions that the town follows: those of the `gt` in use.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The tmux socket that the town's sessions are on, a name for `tmux -L`. While a tmux server
    /// runs it is the one that server was started with, else [`Town::wanted_socket`].
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The tmux socket that the town's tmux server will use when it is started next: the one that
    /// the user set, else the one where the `gt` in use looks for sessions.
    pub fn wanted_socket(&self) -> &str {
        &self.wanted_socket
    }

    /// Reads the town's files anew, with the same `socket` as it was loaded with.
    ///
    /// # Errors
    /// As [`Town::at`].
    pub fn again(&self) -> Result<Town> {
        Town::at(&self.root, self.wish.as_deref())
    }

    /// The rigs; while the registry is broken, those that it last named.
    pub fn rigs(&self) -> &Rigs {
        &self.rigs.value
    }

    /// The branch that the rig's worktrees follow.
    ///
    /// # Errors
    /// The rig's `config.json` is there and cannot be used; the error names it.
    pub fn default_branch(&self, rig: &str) -> Result<String> {
        let path = self.path(rig).join("config.json");
        let text = files::read(&path)?.unwrap_or_else(|| "{}".into());
        rigs::parse_branch(&text)
            .with_context(|| format!("Cannot use '{}'; mend it", path.display()))
    }

    /// Why the registry of rigs cannot be used now.
    pub fn rigs_error(&self) -> Option<&str> {
        self.rigs.error.as_deref()
    }

    /// Which agents are wanted.
    ///
    /// # Errors
    /// [`Exit::BadConfig`]: a file that decides this is broken, and there is no last good copy of
    /// it. Then no agent may be stopped as unwanted either.
    pub fn patrols(&self) -> Result<Patrols> {
        Ok(Patrols::new(
            self.patrols.known()?.clone(),
            self.sources.settings.known()?.disabled_patrols.clone(),
            self.ours.known()?.mayor,
            self.dialect,
        ))
    }

    /// Every agent that the patrols want running.
    ///
    /// # Errors
    /// As [`Town::patrols`].
    pub fn roster(&self) -> Result<BTreeSet<Agent>> {
        Ok(self.patrols()?.roster(self.rigs()))
    }

    /// Our own settings, complete; defaults where they are not known.
    pub fn ours(&self) -> Ours {
        self.ours_and_problems().0
    }

    /// Our own settings, and which of them are out of their range.
    fn ours_and_problems(&self) -> (Ours, Vec<String>) {
        let mut problems = Vec::new();
        let ours = Ours::complete(
            &self.ours.value,
            &self.sources.settings.value,
            &self.patrols.value,
            self.dialect,
            &mut problems,
        );
        (ours, problems)
    }

    /// Why our own settings cannot be used now.
    pub fn ours_error(&self) -> Option<&str> {
        self.ours.error.as_deref()
    }

    /// Reads an address; `RIG/NAME` is crew where the town has such a crew member.
    ///
    /// # Errors
    /// As [`Agent::parse`].
    pub fn agent(&self, text: &str) -> Result<Agent, AddressError> {
        Agent::parse_with(text, |rig, name| {
            self.is_crew(rig, name).map_err(|e| format!("{e:#}"))
        })
    }

    /// Whether the rig has a crew member of that name.
    ///
    /// # Errors
    /// Its directory cannot be looked into.
    pub fn is_crew(&self, rig: &str, name: &str) -> Result<bool> {
        let is_valid = agent::is_valid_name(rig) && agent::is_valid_name(name);
        Ok(is_valid && files::is_dir(&self.path(rig).join("crew").join(name))?)
    }

    /// Crew and polecats, by their directories. Files and hidden directories do not count. Agents
    /// whose directory cannot be read are missing: see [`Town::problems`].
    pub fn workers(&self) -> BTreeSet<Agent> {
        self.look_for_workers().0
    }

    /// Crew and polecats, and for each directory that was not wholly read, why not.
    fn look_for_workers(&self) -> (BTreeSet<Agent>, Vec<String>) {
        let (mut workers, mut unknown) = (BTreeSet::new(), Vec::new());
        for rig in self.rigs().names() {
            for (dir, role) in [("crew", Role::Crew), ("polecats", Role::Polecat)] {
                if self.sources_of(rig).is_some_and(|rig| rig.lacks(dir)) {
                    continue;
                }
                let dir = self.path(rig).join(dir);
                let shown = dir.display();
                match workers_in(&dir, rig, role, &mut workers) {
                    Ok(0) => {}
                    Ok(more) => unknown.push(format!(
                        "'{shown}' has {} entries, of which {WORKERS} are looked at: who works in the \
                         others is not known; remove what nobody works in",
                        WORKERS + more
                    )),
                    Err(e) => unknown.push(format!(
                        "{e:#}, so it is not known who works there; run 'ls -ld {shown}'"
                    )),
                }
            }
        }
        (workers, unknown)
    }

    /// Configuration files that are broken now, each in words.
    pub fn errors(&self) -> Vec<&str> {
        let errors = [
            &self.marker.error,
            &self.rigs.error,
            &self.patrols.error,
            &self.accounts.error,
            &self.ours.error,
            &self.said.error,
        ];
        let of_rigs = self
            .rig_sources
            .keys()
            .filter_map(|rig| self.sources_of(rig));
        let sources = [&self.sources].into_iter().chain(of_rigs);
        let errors = errors.into_iter().chain(sources.flat_map(Sources::errors));
        errors.filter_map(Option::as_deref).collect()
    }

    /// Everything that is wrong with the configuration, each in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.errors().iter().map(|e| e.to_string()).collect();
        problems.extend(self.ours_and_problems().1);
        problems.extend(self.rig_problems());
        problems.extend(self.dialect_problems());
        problems.extend(self.look_for_workers().1);
        problems.extend(left::noted(self).err().map(|e| {
            format!(
                "{e:#}, so it is not known who was at work, and nobody is started for that; mend it"
            )
        }));
        problems
    }

    /// What is wrong with single rigs in their registry, and with the patrols.
    pub fn rig_problems(&self) -> Vec<String> {
        let mut problems = self.rigs().problems().to_vec();
        problems.extend_from_slice(self.patrols.value.slips());
        let unknown = self.patrols.value.unknown_rigs(self.rigs());
        if !unknown.is_empty() && self.rigs.error.is_none() && self.patrols.error.is_none() {
            let named =
                unknown
                    .into_iter()
                    .map(|rig| match near::meant(rig, self.rigs().names()) {
                        Some(meant) => format!("{rig:?} (did you mean '{meant}'?)"),
                        None => format!("{rig:?}"),
                    });
            let named: Vec<String> = named.collect();
            problems.push(format!(
                "'{}' has patrols for {}, but '{}' has no such rig: a patrol with a list of rigs \
                 keeps no agents of others running; mend the name or take it out",
                self.path(patrols::FILE).display(),
                printable::names(&named),
                self.path(rigs::FILE).display()
            ));
        }
        if self.dialect.has_prefix_sessions() {
            problems.extend(self.rigs().shared_prefixes());
        }
        problems
    }

    /// Rigs without a directory: none of their agents is started, see [`Town::lacks`].
    pub fn homeless_rigs(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        let dirs = self.rigs().names().map(|rig| (rig, self.path(rig)));
        dirs.filter(|(_, dir)| matches!(files::is_dir(dir), Ok(false)))
    }

    /// Where the town does not follow the conventions of the `gt` in use, and why.
    fn dialect_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (said, release) = (&self.said.value, self.dialect.release());
        if let (None, Some(error)) = (self.ours.value.gt_version, &said.error) {
            problems.push(format!(
                "'{}' does not tell which release it is ({error}), so the town keeps to the \
                 conventions of gt {release}; mend it, or name the release as 'gt_version' in '{}'",
                said.program.display(),
                self.path(ours::FILE).display()
            ));
        }
        if self.socket != self.wanted_socket {
            problems.push(format!(
                "The town runs on tmux socket '{}', but is to be on '{}', where gt {release} looks \
                 for it; 'gastownctl down', then 'gastownctl up' moves it",
                self.socket, self.wanted_socket
            ));
        }
        problems
    }

    /// Keeps what the configuration files say now, to stand in for them when they are broken.
    /// For the heartbeat, once a tick; writes only what has changed.
    ///
    /// # Errors
    /// A copy cannot be written.
    pub fn keep_good(&self) -> Result<()> {
        let root = &self.root;
        self.marker.keep(root, FILE)?;
        self.rigs.keep(root, rigs::FILE)?;
        self.patrols.keep(root, patrols::FILE)?;
        self.accounts.keep(root, settings::ACCOUNTS_FILE)?;
        self.ours.keep(root, ours::FILE)?;
        self.said.keep(root, dialect::FILE)?;
        // Settings may parse and yet name an unknown program: such a text is not kept as good.
        let starts = |rig: Option<&str>| {
            // What is broken in a rig's own files is no fault of the town's.
            let is_sound = |name: &str| {
                let sources = self.sources_of(name);
                sources.is_none_or(|sources| sources.errors().all(Option::is_none))
            };
            let ours = |agent: &Agent| match rig {
                Some(_) => agent.rig() == rig,
                None => agent.rig().is_none_or(is_sound),
            };
            let mut agents = patrols::all(self.rigs()).filter(ours);
            agents.all(|agent| self.launch(&agent).is_ok())
        };
        self.sources.keep(root, "", || starts(None))?;
        for rig in self.rig_sources.keys() {
            if let Some(sources) = self.sources_of(rig) {
                sources.keep(root, &format!("{rig}/"), || starts(Some(rig)))?;
            }
        }
        Ok(())
    }

    /// The settings of a rig; `None`: it is not registered.
    fn sources_of(&self, rig: &str) -> Option<&Sources> {
        let sources = self.rig_sources.get(rig)?;
        Some(sources.get_or_init(|| Box::new(Sources::load(&self.root, &format!("{rig}/")))))
    }
}

/// Adds an agent for each directory in `dir`, also when others of them fail. Gives the number of
/// entries beyond [`WORKERS`], which are not looked at.
fn workers_in(dir: &Path, rig: &str, role: Role, workers: &mut BTreeSet<Agent>) -> Result<usize> {
    let failed = || format!("Failed to list '{}'", dir.display());
    let mut known = Ok(());
    let mut entries = match dir.read_dir() {
        Err(_) if matches!(files::is_dir(dir), Ok(false)) => return Ok(0),
        entries => entries.with_context(failed)?,
    };
    for entry in entries.by_ref().take(WORKERS) {
        let entry = entry.with_context(failed)?;
        let name = entry.file_name().into_string().unwrap_or_default();
        // No worker has an invalid name; a hidden directory has one.
        let Ok(worker) = Agent::new(role, Some(rig), Some(&name)) else {
            continue;
        };
        match files::is_dir(&entry.path()) {
            Ok(true) => _ = workers.insert(worker),
            Ok(false) => {}
            Err(e) => known = Err(e),
        }
    }
    known.map(|()| entries.count())
}

/// The socket that the running tmux server of the town was started with; `None`: no server runs,
/// or its socket is not known.
fn served_socket(root: &Path) -> Option<String> {
    let text = files::read(&root.join(dialect::SOCKET_FILE)).ok()??;
    let name = text.trim();
    agent::is_valid_name(name).then(|| name.to_string())
}

fn parse_marker(text: &str) -> Result<Option<Dialect>> {
    dialect::parse_town(text).map(Some)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A town of that version with the rigs `gastown`, `gastown-x`, `ff` and `a.b-c`.
    pub(crate) fn town(version: i64) -> (tempfile::TempDir, Town) {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            files::write(&dir.path().join(file), text.as_bytes()).unwrap();
        };
        write(FILE, &format!(r#"{{"type":"town","version":{version}}}"#));
        write(
            rigs::FILE,
            r#"{"version":1,"rigs":{
                "gastown":{"beads":{"prefix":"gt-"}},"gastown-x":{"beads":{"prefix":"gx"}},
                "ff":{"beads":{"prefix":"ff"}},"a.b-c":{"beads":{"prefix":"ab"}}}}"#,
        );
        let town = Town::at(dir.path(), None).unwrap();
        (dir, town)
    }

    /// The town of that version again, with these files.
    pub(crate) fn town_with(version: i64, texts: &[(&str, &str)]) -> (tempfile::TempDir, Town) {
        let (dir, town) = town(version);
        for (file, text) in texts {
            files::write(&town.path(file), text.as_bytes()).unwrap();
        }
        let town = Town::at(dir.path(), None).unwrap();
        (dir, town)
    }

    #[test]
    fn a_directory_without_a_town_and_a_town_of_others_are_not_ours_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // What our units make below a mount point of which the disk is not there.
        fs::create_dir_all(root.join("mayor")).unwrap();
        assert!(!has_town(root).unwrap());
        for sign in [FILE, rigs::FILE, "daemon/last-good/x"] {
            let dir = tempfile::tempdir().unwrap();
            files::write(&dir.path().join(sign), b"").unwrap();
            assert!(has_town(dir.path()).unwrap(), "{sign}");
        }
        let nowhere = root.join("nowhere");
        std::os::unix::fs::symlink(root.join("missing"), &nowhere).unwrap();
        assert!(has_town(&nowhere).is_err());
        assert!(leads_nowhere(&nowhere) && !leads_nowhere(root));
        assert!(no_town(&nowhere).contains("nowhere', which is a link to nothing"));
        // What a link that leads back to itself hides is not known.
        let round = root.join("round");
        std::os::unix::fs::symlink(&round, &round).unwrap();
        assert!(!leads_nowhere(&round));

        let (me, other) = (geteuid(), Uid::from_raw(geteuid().as_raw() + 1));
        assert_eq!(foreign_runner(root, other), None);
        fs::create_dir(root.join("daemon")).unwrap();
        assert_eq!(foreign_runner(root, me), None);
        assert!(foreign_runner(root, other).is_some());
    }

    #[test]
    fn a_town_needs_a_directory_and_a_sound_marker() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert_eq!(
            (town.dialect(), town.socket()),
            (Dialect::OLDEST, "default")
        );
        assert!(town.rigs().is_empty() && town.problems().is_empty());
        assert_eq!(Town::at(dir.path(), Some("s1")).unwrap().socket(), "s1");

        files::write(&dir.path().join(FILE), b"{").unwrap();
        for (root, want) in [
            (dir.path().to_path_buf(), "mayor/town.json': "),
            (dir.path().join("none"), "There is no town at '"),
        ] {
            let error = Town::at(&root, None).unwrap_err();
            assert_eq!(crate::exit::of(&error), Exit::BadConfig);
            assert!(format!("{error:#}").contains(want), "{error:#}");
        }
        // What cannot be looked into may be a town.
        let unknown = dir.path().join("loop");
        std::os::unix::fs::symlink(&unknown, &unknown).unwrap();
        let error = Town::at(&unknown, None).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::Failure);
        assert!(format!("{error:#}").contains("Failed to look into '"));
    }

    #[test]
    fn a_broken_file_is_a_problem_and_its_last_good_text_stands_in() {
        let good = [patrols::FILE, settings::FILE, ours::FILE].map(|file| (file, "{}"));
        let (dir, town) = town_with(2, &good);
        assert_eq!(town.socket(), socket::hashed(dir.path()));
        assert!(town.problems().is_empty(), "{:?}", town.problems());
        town.keep_good().unwrap();
        for file in [FILE, rigs::FILE, patrols::FILE, settings::FILE, ours::FILE] {
            files::write(&town.path(file), b"{\"x").unwrap();
        }
        let broken = Town::at(dir.path(), None).unwrap();
        assert!(broken.rigs_error().unwrap().contains("last good"));
        assert!(broken.ours_error().is_some());
        assert_eq!(broken.rigs(), town.rigs());
        assert_eq!(broken.roster().unwrap(), town.roster().unwrap());
        assert_eq!(broken.errors().len(), 5);
        assert_eq!(broken.socket(), town.socket());
        // The next tick does not take what stands in for good.
        broken.keep_good().unwrap();
        assert_eq!(Town::at(dir.path(), None).unwrap().rigs(), town.rigs());
        // A program that replaces the marker removes it for a moment.
        fs::remove_file(town.path(FILE)).unwrap();
        assert_eq!(Town::at(dir.path(), None).unwrap().socket(), town.socket());
    }

    #[test]
    fn what_is_broken_in_a_rig_keeps_no_file_of_the_town_from_being_kept() {
        let (dir, town) = town_with(
            2,
            &[
                (settings::FILE, r#"{"default_agent":"codex"}"#),
                ("ff/settings/config.json", "{"),
            ],
        );
        town.keep_good().unwrap();
        files::write(&town.path(settings::FILE), b"{").unwrap();
        let broken = Town::at(dir.path(), None).unwrap();
        let mayor = broken.launch(&Agent::mayor()).map(|launch| launch.preset);
        assert_eq!(mayor.unwrap(), "codex");
    }

    #[test]
    fn patrols_that_are_not_known_want_nothing_and_refuse_nothing() {
        for file in [patrols::FILE, settings::FILE, ours::FILE] {
            let (_dir, town) = town_with(1, &[(file, "junk")]);
            let error = town.roster().unwrap_err();
            assert_eq!(crate::exit::of(&error), Exit::BadConfig, "{file}");
        }
        let (_dir, town) = town_with(1, &[(rigs::FILE, "junk")]);
        assert_eq!(town.roster().unwrap(), [Agent::deacon()].into());
        assert!(town.rigs_error().is_some());
    }

    #[test]
    fn crew_by_its_directory() {
        let (_dir, town) = town(1);
        fs::create_dir_all(town.path("gastown/crew/max")).unwrap();
        for (text, want) in [
            ("gastown/max", "gastown/crew/max"),
            ("gastown/nux", "gastown/polecats/nux"),
        ] {
            assert_eq!(town.agent(text).unwrap().to_string(), want);
        }
        assert!(!town.is_crew("gastown", "..").unwrap());
        assert!(!town.is_crew("..", "max").unwrap());
    }

    #[test]
    fn workers_have_directories() {
        let (_dir, town) = town(1);
        for dir in [
            "crew/max",
            "polecats/nux",
            "polecats/.claude",
            "polecats/a b",
        ] {
            fs::create_dir_all(town.path("gastown").join(dir)).unwrap();
        }
        fs::write(town.path("gastown/polecats/README"), "").unwrap();
        let names: Vec<String> = town.workers().iter().map(Agent::to_string).collect();
        assert_eq!(names, ["gastown/crew/max", "gastown/polecats/nux"]);
        assert!(town.problems().is_empty());
        for n in 0..WORKERS {
            fs::write(town.path(&format!("gastown/crew/{n}")), "").unwrap();
        }
        let problems = town.problems();
        assert!(
            problems.len() == 1 && problems[0].contains("1001 entries, of which 1000"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_looked_into_is_neither_there_nor_missing() {
        let (_dir, town) = town(1);
        let max: Agent = "gastown/crew/max".parse().unwrap();
        let refinery: Agent = "gastown/refinery".parse().unwrap();
        let witness: Agent = "gastown/witness".parse().unwrap();
        assert!(town.lacks(&max).unwrap().is_some() && town.problems().is_empty());
        fs::create_dir_all(town.path("gastown")).unwrap();
        for dir in ["crew", "refinery"] {
            // Also for root: what leads nowhere but to itself cannot be entered.
            let path = town.path("gastown").join(dir);
            std::os::unix::fs::symlink(&path, &path).unwrap();
        }
        // What is below a rig was listed above.
        let town = town.again().unwrap();
        assert!(town.lacks(&max).is_err() && town.lacks(&refinery).is_err());
        assert!(town.worktree(&max).is_err() && town.worktree(&refinery).is_err());
        assert!(town.is_crew("gastown", "max").is_err() && town.agent("gastown/max").is_err());
        // Not the Mayor's clone, which is the next of its places.
        assert_eq!(town.workdir(&refinery), town.path("gastown/refinery/rig"));
        assert!(town.lacks(&witness).unwrap().is_none());
        // What is wrong with one of them conceals no other.
        let polecats = town.path("gastown/polecats");
        fs::create_dir_all(polecats.join("nux")).unwrap();
        std::os::unix::fs::symlink("loop", polecats.join("loop")).unwrap();
        let town = town.again().unwrap();
        let names: Vec<String> = town.workers().iter().map(Agent::to_string).collect();
        assert_eq!(names, ["gastown/polecats/nux"]);
        let problems = town.problems();
        let [crew, polecats] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert!(crew.contains("gastown/crew'") && crew.contains("who works there"));
        assert!(polecats.contains("polecats/loop'"), "{polecats}");
    }

    #[test]
    fn the_roster_is_what_all_settings_want() {
        let (dir, town) = town(1);
        let count = |name: &str| {
            let town = Town::at(dir.path(), None).unwrap();
            town.roster()
                .unwrap()
                .iter()
                .filter(|a| a.role_name() == name)
                .count()
        };
        assert_eq!(
            [count("mayor"), count("deacon"), count("witness")],
            [0, 1, 4]
        );
        for (file, text) in [
            (settings::FILE, r#"{"disabled_patrols":["deacon"]}"#),
            (ours::FILE, r#"{"mayor":true}"#),
            (
                patrols::FILE,
                r#"{"patrols":{"witness":{"enabled":true,"rigs":["ff"]}}}"#,
            ),
        ] {
            files::write(&town.path(file), text.as_bytes()).unwrap();
        }
        assert_eq!(
            [count("mayor"), count("deacon"), count("witness")],
            [1, 0, 1]
        );
    }
}
