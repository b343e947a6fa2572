//! The user manager, over D-Bus. The only place that knows zbus.
//!
//! Calls block, and each has a time limit; errors are ordinary errors with one-line texts.

mod jobs;
mod properties;
mod runs;
mod transient;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures_util::future::join_all;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use zbus::fdo::Error::{FileNotFound, UnknownInterface, UnknownObject, UnknownProperty};
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use crate::environment::sudo_user;
use crate::exit::Exit;
use crate::files;
use jobs::Removed;
pub use jobs::{Job, Verb};
pub use properties::Properties;
pub use runs::started_ticks;
pub use transient::After;

/// How long one D-Bus call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// How long a manager may be off the bus.
const AWAY_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two questions to a manager that is off the bus.
const AWAY_POLL: Duration = Duration::from_millis(50);

/// How many calls wait for their answers at the same time.
const CALLS_MAX: usize = 500;

const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";

/// The error for a unit that is not loaded.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The target that starts and stops the town.
pub const TARGET: &str = "gastown.target";

type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<Row>>;
    fn get_unit_file_state(&self, name: &str) -> zbus::Result<String>;
    fn list_unit_files_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<(String, String)>>;
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn freeze_unit(&self, name: &str) -> zbus::Result<()>;
    fn thaw_unit(&self, name: &str) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn subscribe(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
    fn attach_processes_to_unit(&self, name: &str, sub: &str, pids: &[u32]) -> zbus::Result<()>;
    fn get_unit_processes(&self, name: &str) -> zbus::Result<Vec<(String, u32, String)>>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        aux: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn environment(&self) -> zbus::Result<Vec<String>>;
}

/// A unit as the manager lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name, with suffix.
    pub name: String,
    /// Its `Description=`.
    pub description: String,
    /// `active`, `activating`, `failed`, `inactive`, ...
    pub active: String,
    /// `running`, `auto-restart`, `dead`, `waiting`, ...
    pub sub: String,
    /// The kind of its queued job (`start`, `stop`, `restart`, ...), if there is one.
    pub job: Option<String>,
    /// `loaded`, `masked`, `bad-setting`, `not-found`, ...
    pub load: String,
}

impl Unit {
    /// Nothing of it runs.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// A stop of it is in the queue.
    pub fn is_stopping(&self) -> bool {
        self.job.as_deref() == Some("stop")
    }
}

/// Asks the manager. While the manager executes itself anew it is off the bus for a moment, and does
/// not answer what it was asked just before: then we ask again.
fn ask<T>(call: impl AsyncFn() -> zbus::Result<T>) -> zbus::Result<T> {
    let deadline = Instant::now() + AWAY_LIMIT;
    loop {
        match zbus::block_on(call()) {
            Err(e) if is_away(&e) && Instant::now() < deadline => std::thread::sleep(AWAY_POLL),
            answer => return answer,
        }
    }
}

fn is_away(e: &zbus::Error) -> bool {
    use zbus::fdo::Error::{NameHasNoOwner, NoReply, ServiceUnknown};
    let zbus::Error::FDO(e) = e else { return false };
    matches!(**e, NoReply(_) | ServiceUnknown(_) | NameHasNoOwner(_))
}

/// The error of a call, in words. If the manager or the bus has gone, or gives no answer, it is not
/// known what the call did: the error carries [`Exit::NoManager`], and callers try again later.
fn failed(what: impl std::fmt::Display, e: &zbus::Error) -> anyhow::Error {
    let error = anyhow!("{what}: {e}");
    match is_away(e) || matches!(e, zbus::Error::InputOutput(_)) {
        true => error.context(Exit::NoManager),
        false => error,
    }
}

/// A connection to the user manager of the calling user.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
    removed: OnceLock<Removed>,
}

impl Systemd {
    /// Connects to the bus of the user manager, which is found without any environment.
    ///
    /// # Errors
    /// There is none, or it does not answer; the error carries [`Exit::NoManager`].
    pub fn connect() -> Result<Systemd> {
        let bus = runtime_dir().map(|dir| dir.join("bus"));
        let bus = bus.filter(|path| path.exists()).ok_or_else(|| {
            let uid = nix::unistd::geteuid();
            anyhow!("No bus at '/run/user/{uid}/bus'; run {}", cure()).context(Exit::NoManager)
        })?;
        let address = format!("unix:path={}", bus.display());
        let connect = move || {
            zbus::block_on(async {
                let connection = zbus::connection::Builder::address(address.as_str())
                    .method_timeout(CALL_LIMIT)
                    .build()
                    .await?;
                let manager = ManagerProxy::builder(&connection)
                    .cache_properties(zbus::proxy::CacheProperties::No)
                    .build()
                    .await?;
                Ok(Systemd {
                    connection,
                    manager,
                    removed: OnceLock::new(),
                })
            })
        };
        // The limit of calls does not count for the greeting.
        let (done, connected) = mpsc::channel();
        std::thread::spawn(move || done.send(connect()));
        let connected = match connected.recv_timeout(CALL_LIMIT) {
            Ok(connected) => connected.map_err(|e: zbus::Error| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", CALL_LIMIT.as_secs())),
        };
        connected.map_err(|e| {
            anyhow!(
                "Failed to reach the user manager at '{}': {e}; run {}",
                bus.display(),
                cure()
            )
            .context(Exit::NoManager)
        })
    }

    /// The manager's own state: `running`, `degraded`, `starting`, ...
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn state(&self) -> Result<String> {
        ask(async || self.manager.system_state().await)
            .map_err(|e| anyhow!("Failed to ask the user manager for its state: {e}"))
    }

    /// The manager's version text, such as `252.39-1~deb12u2`.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn version(&self) -> Result<String> {
        ask(async || self.manager.version().await)
            .map_err(|e| anyhow!("Failed to ask the user manager for its version: {e}"))
    }

    /// The environment block that the manager hands to services.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn environment(&self) -> Result<Vec<String>> {
        ask(async || self.manager.environment().await)
            .map_err(|e| anyhow!("Failed to ask the user manager for its environment: {e}"))
    }

    /// The loaded units whose names match any of the patterns, in one call.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn units(&self, patterns: &[&str]) -> Result<BTreeMap<String, Unit>> {
        let rows = ask(async || self.manager.list_units_by_patterns(&[], patterns).await)
            .map_err(|e| failed("Failed to list units", &e))?;
        let unit = |(name, description, load, active, sub, _, _, id, kind, _): Row| {
            let job = (id != 0).then_some(kind);
            let unit = Unit {
                name: name.clone(),
                description,
                active,
                sub,
                job,
                load,
            };
            (name, unit)
        };
        Ok(rows.into_iter().map(unit).collect())
    }

    /// Whether the town is up, or is just coming up.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn town_is_up(&self) -> Result<bool> {
        let units = self.units(&[TARGET])?;
        Ok(units.get(TARGET).is_some_and(|target| match &target.job {
            Some(job) => job != "stop",
            None => target.active == "active",
        }))
    }

    /// Whether somebody has stopped the town: its target is to stop, or was active earlier and
    /// is no more. A town that was never started is not stopped: single agents may be tried. The
    /// manager forgets what a target that is not enabled was, so the town's stop leaves a note.
    ///
    /// # Errors
    /// The manager does not answer, or it is not known whether there is such a note.
    pub fn town_is_stopped(&self) -> Result<bool> {
        let units = self.units(&[TARGET])?;
        Ok(match units.get(TARGET) {
            Some(target) if target.is_stopping() => true,
            Some(target) if target.job.is_some() || target.active == "active" => false,
            _ if stop_note().map_or(Ok(false), |note| files::is_there(&note))? => true,
            Some(_) => self
                .properties(TARGET)?
                .time("InactiveEnterTimestamp")
                .is_some(),
            None => false,
        })
    }

    /// Whether a unit has a stop in the queue.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn is_stopping(&self, unit: &str) -> Result<bool> {
        let units = self.units(&[unit])?;
        Ok(units.get(unit).is_some_and(Unit::is_stopping))
    }

    /// `enabled`, `disabled`, `static`, ... of an installed unit file; `None` when there is none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn unit_file_state(&self, name: &str) -> Result<Option<String>> {
        // For a list of unit files, the manager would read every one that there is.
        match ask(async || self.manager.get_unit_file_state(name).await) {
            Ok(state) => Ok(Some(state)),
            Err(zbus::Error::FDO(e)) if matches!(*e, FileNotFound(_)) => Ok(None),
            Err(e) => Err(anyhow!("Failed to look up unit file '{name}': {e}")),
        }
    }

    /// The states of installed unit files by their names, `masked` among them.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn unit_files(&self, names: &[&str]) -> Result<BTreeMap<String, String>> {
        let rows = ask(async || self.manager.list_unit_files_by_patterns(&[], names).await)
            .map_err(|e| anyhow!("Failed to look up unit files '{}': {e}", names.join("', '")))?;
        let named = |(path, state): (String, String)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            (name.to_string(), state)
        };
        Ok(rows.into_iter().map(named).collect())
    }

    /// All properties of a unit, which the manager loads for that, in one call.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn properties(&self, unit: &str) -> Result<Properties> {
        let failed =
            |e: zbus::Error| failed(format_args!("Failed to read properties of '{unit}'"), &e);
        let path = path(unit).map_err(failed)?;
        let all = async || {
            let properties = Some("org.freedesktop.DBus.Properties");
            let manager = Some("org.freedesktop.systemd1");
            let call = self
                .connection
                .call_method(manager, &path, properties, "GetAll", &(""));
            call.await
        };
        let reply = ask(all).map_err(failed)?;
        let body = reply.body();
        Ok(Properties(body.deserialize().map_err(failed)?))
    }

    /// Some properties of many units, which are asked for all at once: all properties of one unit
    /// are hundreds. What a unit does not have is absent.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn read(&self, units: &[&str], names: &[&str]) -> Result<BTreeMap<String, Properties>> {
        let mut all: BTreeMap<String, Properties> = BTreeMap::new();
        let asked: Vec<(&str, &str)> = units
            .iter()
            .flat_map(|unit| names.iter().map(move |name| (*unit, *name)))
            .collect();
        for some in asked.chunks(CALLS_MAX) {
            let get = async || {
                let calls = some.iter().map(|(unit, name)| self.get(unit, name));
                let values = join_all(calls).await.into_iter();
                values.collect::<zbus::Result<Vec<_>>>()
            };
            let values = ask(get).map_err(|e| {
                let (first, many) = (some[0].0, units.len());
                failed(
                    format_args!("Failed to read of {many} units, from '{first}' on"),
                    &e,
                )
            })?;
            for ((unit, name), value) in some.iter().zip(values) {
                let properties = all.entry(unit.to_string()).or_default();
                if let Some(value) = value {
                    properties.0.insert(name.to_string(), value);
                }
            }
        }
        Ok(all)
    }

    /// Which of these units the manager refuses to start, as it has them now: why, in words that begin
    /// in lower case, with what to do. Those that are `listed` as loaded are not asked about.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn refused(
        &self,
        units: &[&str],
        listed: &BTreeMap<String, Unit>,
    ) -> Result<BTreeMap<String, String>> {
        const STATE: &str = "LoadState";
        const FILE: &str = "FragmentPath";
        let is_loaded = |name: &str| listed.get(name).is_some_and(|unit| unit.load == "loaded");
        let asked = units.iter().copied().filter(|name| !is_loaded(name));
        let asked: Vec<&str> = asked.collect();
        let read = self.read(&asked, &[STATE, FILE])?.into_iter();
        let why = |(unit, properties): (String, Properties)| {
            let file = properties.text(FILE).unwrap_or_default();
            let why = not_loaded(&unit, &properties.text(STATE)?, Path::new(&file))?;
            Some((unit, why))
        };
        Ok(read.filter_map(why).collect())
    }

    /// Those of these units that are masked, each with the command that ends that.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn masked(&self, units: &[&str]) -> Result<Vec<(String, String)>> {
        const STATE: &str = "LoadState";
        const FILE: &str = "FragmentPath";
        let read = self.read(units, &[STATE, FILE])?.into_iter();
        let masked = read.filter(|(_, of)| of.text(STATE).as_deref() == Some("masked"));
        let with_command = |(unit, of): (String, Properties)| {
            let command = unmask(&unit, Path::new(&of.text(FILE).unwrap_or_default()));
            (unit, command)
        };
        Ok(masked.map(with_command).collect())
    }

    /// One property of a unit; `None`: it has none of that name.
    async fn get(&self, unit: &str, name: &str) -> zbus::Result<Option<OwnedVariant>> {
        self.get_of(&path(unit)?, name).await
    }

    async fn get_of(
        &self,
        path: &OwnedObjectPath,
        name: &str,
    ) -> zbus::Result<Option<OwnedVariant>> {
        let interface = match name {
            "Id" | "FreezerState" | "LoadState" | "FragmentPath" | "DropInPaths" => UNIT_INTERFACE,
            "NextElapseUSecMonotonic" => "org.freedesktop.systemd1.Timer",
            _ if name.ends_with("Timestamp") => UNIT_INTERFACE,
            _ => "org.freedesktop.systemd1.Service",
        };
        let body = (interface, name);
        let reply = self.connection.call_method(
            Some("org.freedesktop.systemd1"),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &body,
        );
        match reply.await {
            Ok(reply) => reply.body().deserialize().map(Some),
            Err(zbus::Error::FDO(e))
                if matches!(
                    *e,
                    UnknownInterface(_) | UnknownProperty(_) | UnknownObject(_)
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Forgets a unit's failure and its count of starts. A unit that is not loaded has none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn reset_failed(&self, unit: &str) -> Result<()> {
        match ask(async || self.manager.reset_failed_unit(unit).await) {
            Ok(()) | Err(zbus::Error::MethodError(..)) => Ok(()),
            Err(e) => Err(failed(format_args!("Failed to reset '{unit}'"), &e)),
        }
    }

    /// Moves processes into the cgroup of a unit that has `Delegate=yes`.
    ///
    /// # Errors
    /// The manager refuses; a process that has gone is an error too.
    pub fn attach(&self, unit: &str, pids: &[u32]) -> Result<()> {
        ask(async || self.manager.attach_processes_to_unit(unit, "", pids).await)
            .map_err(|e| anyhow!("Failed to move processes {pids:?} into '{unit}': {e}"))
    }

    /// The processes of a unit's cgroup, as pid and command line. A unit that the manager has
    /// unloaded, as it does with one that is down, has none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn processes(&self, unit: &str) -> Result<Vec<(u32, String)>> {
        match ask(async || self.manager.get_unit_processes(unit).await) {
            Ok(rows) => Ok(rows.into_iter().map(|(_, pid, cmd)| (pid, cmd)).collect()),
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => {
                Ok(Vec::new())
            }
            Err(e) => Err(anyhow!("Failed to list the processes of '{unit}': {e}")),
        }
    }

    /// The name of the unit that a process belongs to.
    ///
    /// # Errors
    /// The process is not of this manager.
    pub fn unit_of(&self, pid: u32) -> Result<String> {
        let failed = |e: zbus::Error| anyhow!("Failed to find the unit of process {pid}: {e}");
        let path = ask(async || self.manager.get_unit_by_pid(pid).await).map_err(failed)?;
        let value = ask(async || self.get_of(&path, "Id").await).map_err(failed)?;
        let name = value.and_then(|value| String::try_from(value).ok());
        name.with_context(|| format!("Process {pid} has an odd unit"))
    }

    /// Sends a signal to the main process of a unit.
    ///
    /// # Errors
    /// The unit has no main process, or the manager does not answer.
    pub fn signal_main(&self, unit: &str, signal: i32) -> Result<()> {
        ask(async || self.manager.kill_unit(unit, "main", signal).await)
            .map_err(|e| anyhow!("Failed to signal '{unit}': {e}"))
    }

    /// Sends a signal to every process of a unit.
    ///
    /// # Errors
    /// The unit is not active, or the manager does not answer.
    pub fn signal_all(&self, unit: &str, signal: i32) -> Result<()> {
        ask(async || self.manager.kill_unit(unit, "all", signal).await)
            .map_err(|e| anyhow!("Failed to signal '{unit}': {e}"))
    }

    /// Freezes every process of a unit.
    ///
    /// # Errors
    /// The unit is not active, or the kernel has no unified cgroups.
    pub fn freeze(&self, unit: &str) -> Result<()> {
        ask(async || self.manager.freeze_unit(unit).await)
            .map_err(|e| anyhow!("Failed to freeze '{unit}': {e}"))
    }

    /// Freezes many units at once, and gives those that are frozen. One that cannot be frozen, since a
    /// process of it waits for a disk, holds up none of the others.
    pub fn freeze_all(&self, units: Vec<Unit>) -> Vec<Unit> {
        let mut frozen = Vec::new();
        for some in units.chunks(CALLS_MAX) {
            let calls = some.iter().map(|unit| self.manager.freeze_unit(&unit.name));
            let answers = zbus::block_on(join_all(calls));
            let done = some
                .iter()
                .zip(answers)
                .filter(|(unit, answer)| match answer {
                    Err(e) if is_away(e) => self.freeze(&unit.name).is_ok(),
                    answer => answer.is_ok(),
                });
            frozen.extend(done.map(|(unit, _)| unit.clone()));
        }
        frozen
    }

    /// Lets a frozen unit go on.
    ///
    /// # Errors
    /// As for [`Systemd::freeze`].
    pub fn thaw(&self, unit: &str) -> Result<()> {
        ask(async || self.manager.thaw_unit(unit).await)
            .map_err(|e| anyhow!("Failed to thaw '{unit}': {e}"))
    }

    /// Reads all unit files again, and runs the generators.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn reload(&self) -> Result<()> {
        zbus::block_on(self.manager.reload())
            .map_err(|e| anyhow!("Failed to reload the user manager: {e}"))
    }
}

/// What to run where the manager cannot be reached. It listens at a socket of its own too, which
/// tells whether it is only its bus that is down.
pub fn cure() -> String {
    let own = runtime_dir().map(|dir| dir.join("systemd/private"));
    let uid = nix::unistd::geteuid();
    match (own.is_some_and(|socket| is_served(&socket)), sudo_user()) {
        (true, _) => "'systemctl --user start dbus.socket'".into(),
        (false, Some(user)) => format!("this as {user}, without sudo"),
        (false, None) if uid.is_root() => "this as the user whose town it is, such as by \
             'sudo -u USER ...', or 'systemctl start user@0.service' for a town of root's own"
            .into(),
        (false, None) => format!("'systemctl start user@{uid}.service' as root"),
    }
}

/// Why the manager refuses to start a unit that it has in this state, from that file; `None`: it has
/// loaded it.
fn not_loaded(unit: &str, state: &str, file: &Path) -> Option<String> {
    match state {
        "masked" => Some(format!(
            "its unit is masked; '{}' ends that",
            unmask(unit, file)
        )),
        "bad-setting" | "error" | "not-found" => Some(format!(
            "systemd cannot load its unit ({state}); 'systemd-analyze --user verify {}' tells why",
            typed(unit)
        )),
        _ => None,
    }
}

/// The command that unmasks a unit which the manager has from that file.
fn unmask(unit: &str, file: &Path) -> String {
    // For an agent, the masked unit may be the template.
    let masked = file.file_name().and_then(OsStr::to_str);
    let masked = typed(masked.filter(|name| name.contains('.')).unwrap_or(unit));
    let option = match file.starts_with("/run") {
        true => "--runtime ",
        false => "",
    };
    format!("systemctl --user unmask {option}{masked}")
}

/// A unit's name as it is typed into a shell: that of a rig with a dash in its name has a backslash.
pub fn typed(unit: &str) -> Cow<'_, str> {
    match unit.contains('\\') {
        true => format!("\"{unit}\"").into(),
        false => unit.into(),
    }
}

/// Whether a program listens at a socket. Does not wait until it takes the call.
fn is_served(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None);
    let (Ok(socket), Ok(address)) = (socket, UnixAddr::new(path)) else {
        return false;
    };
    let called = connect(socket.as_raw_fd(), &address);
    matches!(called, Ok(()) | Err(Errno::EAGAIN))
}

/// The object of a unit, loaded or not: the name with every character but letters and digits as `_`
/// and two hexadecimal digits, as sd_bus_path_encode(3) has it.
fn path(unit: &str) -> zbus::Result<OwnedObjectPath> {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => path.push(byte.into()),
            b'0'..=b'9' if at > 0 => path.push(byte.into()),
            _ => path += &format!("_{byte:02x}"),
        }
    }
    OwnedObjectPath::try_from(path)
}

/// The file that is there from the stop of the town to its next start, until the next boot.
pub fn stop_note() -> Option<PathBuf> {
    Some(runtime_dir()?.join("gastown/stopped"))
}

/// The runtime directory of the calling user: `/run/user/<uid>`, which is that of the user manager,
/// else `XDG_RUNTIME_DIR`, if that is ours: some shells set it to a directory without a bus, and after
/// `su` it is somebody else's.
pub fn runtime_dir() -> Option<PathBuf> {
    let uid = nix::unistd::geteuid().as_raw();
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    [usual]
        .into_iter()
        .chain(given)
        .find(|dir| dir.metadata().is_ok_and(|m| m.is_dir() && m.uid() == uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_manager_refuses_is_told_from_a_manager_that_has_gone() {
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let no_answer = zbus::fdo::Error::NoReply("late".into());
        let refused = zbus::fdo::Error::AccessDenied("no".into());
        for (e, exit) in [
            (zbus::Error::InputOutput(lost.into()), Exit::NoManager),
            (zbus::Error::FDO(Box::new(no_answer)), Exit::NoManager),
            (zbus::Error::FDO(Box::new(refused)), Exit::Failure),
        ] {
            let error = failed("Failed to start 'x'", &e);
            assert_eq!(crate::exit::of(&error), exit, "{error:#}");
        }
    }

    #[test]
    fn a_unit_that_is_not_loaded_is_started_by_nobody() {
        let rig = r"gt-agent@a\x2db-witness.service";
        let own = "/home/me/.config/systemd/user/gt-agent@.service";
        let until_boot = "/run/user/1000/systemd/user/gt-heartbeat.path";
        for (state, file, want) in [
            ("loaded", own, None),
            ("merged", own, None),
            (
                "masked",
                "/dev/null",
                Some(r#"unmask "gt-agent@a\x2db-witness.service"'"#),
            ),
            ("masked", own, Some("unmask gt-agent@.service'")),
            (
                "masked",
                until_boot,
                Some("unmask --runtime gt-heartbeat.path'"),
            ),
            ("bad-setting", own, Some("(bad-setting)")),
            ("not-found", "", Some("(not-found)")),
        ] {
            let why = not_loaded(rig, state, Path::new(file));
            assert_eq!(why.is_some(), want.is_some(), "{state}");
            assert!(why.unwrap_or_default().contains(want.unwrap_or_default()));
        }
        assert_eq!(typed("gt-tmux.service"), "gt-tmux.service");
    }

    #[test]
    fn a_socket_is_served_or_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        assert!(!is_served(&path));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // Nobody takes these calls, however many there are.
        assert!((0..300).all(|_| is_served(&path)));
        drop(listener);
        assert!(!is_served(&path));
    }
}
