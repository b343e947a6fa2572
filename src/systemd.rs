//! The user manager, over D-Bus. The only place that knows zbus.
//!
//! Calls block, and each has a time limit; errors are ordinary errors with one-line texts.

mod runs;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use zbus::fdo::Error::{UnknownInterface, UnknownObject, UnknownProperty};
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use crate::exit::Exit;
use crate::{digest, files};

/// How long one D-Bus call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// How many calls wait for their answers at the same time.
const CALLS_MAX: usize = 500;

const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";

/// The one switch of the town.
pub const TARGET: &str = "gastown.target";

/// Two clocks are not read at once, nor do they run quite alike.
const CLOCKS_APART: Duration = Duration::from_millis(100);

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
    fn list_unit_files_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<(String, String)>>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
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
    path: OwnedObjectPath,
}

impl Unit {
    /// Nothing of it runs.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

/// What a job is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start the unit; nothing when it is active.
    Start,
    /// Stop the unit and what depends on it.
    Stop,
    /// The same, and no later job may replace this one.
    StopForGood,
    /// Stop, if it runs, and start.
    Restart,
}

/// When a timer elapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// So long after now.
    Now(Duration),
    /// So long after its service has ended, each time that it ends.
    End(Duration),
}

/// A job in the manager's queue.
#[derive(Debug)]
pub struct Job {
    path: OwnedObjectPath,
}

/// All properties of a unit, of every interface it has, as the manager gives them.
#[derive(Debug, Default)]
pub struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    /// A string property; `None` when it is absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
    }

    /// A property that is a list of strings; empty when it is absent.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or_default()
    }

    /// An unsigned property of any width. systemd says "not set" by the largest number: `None`.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get::<u64>(name) {
            Some(u64::MAX) => None,
            Some(n) => Some(n),
            None => self.get::<u32>(name).map(u64::from),
        }
    }

    /// A property that is a list of pairs of strings; empty when it is absent.
    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.get(name).unwrap_or_default()
    }

    /// The invocation that the unit is in, or was in last; empty when it has had none.
    pub fn invocation(&self) -> String {
        let id: Vec<u8> = self.get("InvocationID").unwrap_or_default();
        digest::hex(&id)
    }

    /// A signed 32-bit property, such as an exit status.
    pub fn int(&self, name: &str) -> Option<i32> {
        self.get(name)
    }

    /// A boolean property.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
    }

    /// The kind of the queued job is not a property; this tells its number, `None` without a job.
    pub fn job(&self) -> Option<u32> {
        let (id, _): (u32, OwnedObjectPath) = self.get("Job")?;
        (id != 0).then_some(id)
    }

    /// A wall-clock property in microseconds since the epoch; `None` when it never happened.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        let usec = self.number(name).filter(|&n| n != 0)?;
        Timestamp::from_microsecond(usec.try_into().ok()?).ok()
    }

    /// When the main process was started; the last one, if there is none now. If the clock was
    /// set since, the earlier one of what it said then and of what it would have said then.
    pub fn main_started(&self) -> Option<Timestamp> {
        let told = self.time("ExecMainStartTimestamp")?;
        let since_boot = Duration::from_micros(self.number("ExecMainStartTimestampMonotonic")?);
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?);
        let ago = now.saturating_sub(since_boot);
        Some(by_both_clocks(told, ago, Timestamp::now()))
    }

    fn get<T>(&self, name: &str) -> Option<T>
    where
        T: TryFrom<OwnedVariant>,
    {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }
}

fn by_both_clocks(told: Timestamp, ago: Duration, now: Timestamp) -> Timestamp {
    told.min(now - ago + CLOCKS_APART)
}

/// A connection to the user manager of the calling user.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
    removed: OnceLock<Removed>,
}

/// The jobs that have left the queue, with their results.
#[derive(Debug)]
struct Removed {
    ends: Mutex<mpsc::Receiver<(OwnedObjectPath, String)>>,
    /// Heard of while another one was waited for.
    known: Mutex<HashMap<OwnedObjectPath, String>>,
}

impl Removed {
    fn wait(&self, job: &Job, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        let gone = || anyhow!("The connection to the user manager has ended");
        let ends = self.ends.lock().map_err(|_| gone())?;
        let mut known = self.known.lock().map_err(|_| gone())?;
        loop {
            if let Some(result) = known.remove(&job.path) {
                return Ok(Some(result));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match ends.recv_timeout(left) {
                Ok((path, result)) => _ = known.insert(path, result),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

impl Systemd {
    /// Connects to the bus of the user manager, which is found without any environment.
    ///
    /// # Errors
    /// There is none, or it does not answer; the error carries [`Exit::NoManager`].
    pub fn connect() -> Result<Systemd> {
        let bus = runtime_dir().map(|dir| dir.join("bus"));
        let bus = bus.filter(|path| path.exists()).ok_or_else(|| {
            anyhow!(
                "No bus at '/run/user/{0}/bus'; start the user manager with 'loginctl enable-linger' \
                 or 'systemctl start user@{0}.service' as root",
                nix::unistd::geteuid()
            )
            .context(Exit::NoManager)
        })?;
        zbus::block_on(async {
            let address = format!("unix:path={}", bus.display());
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
        .map_err(|e: zbus::Error| {
            anyhow!(
                "Failed to reach the user manager at '{}': {e}",
                bus.display()
            )
            .context(Exit::NoManager)
        })
    }

    /// The manager's own state: `running`, `degraded`, `starting`, ...
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn state(&self) -> Result<String> {
        zbus::block_on(self.manager.system_state())
            .map_err(|e| anyhow!("Failed to ask the user manager for its state: {e}"))
    }

    /// The manager's version text, such as `252.39-1~deb12u2`.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn version(&self) -> Result<String> {
        zbus::block_on(self.manager.version())
            .map_err(|e| anyhow!("Failed to ask the user manager for its version: {e}"))
    }

    /// The environment block that the manager hands to services.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn environment(&self) -> Result<Vec<String>> {
        zbus::block_on(self.manager.environment())
            .map_err(|e| anyhow!("Failed to ask the user manager for its environment: {e}"))
    }

    /// The loaded units whose names match any of the patterns, in one call.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn units(&self, patterns: &[&str]) -> Result<BTreeMap<String, Unit>> {
        let rows = zbus::block_on(self.manager.list_units_by_patterns(&[], patterns))
            .map_err(|e| anyhow!("Failed to list units: {e}"))?;
        let unit = |(name, description, _, active, sub, _, path, id, kind, _): Row| {
            let job = (id != 0).then_some(kind);
            let unit = Unit {
                name: name.clone(),
                description,
                active,
                sub,
                job,
                path,
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
            Some(target) if target.job.as_deref() == Some("stop") => true,
            Some(target) if target.job.is_some() || target.active == "active" => false,
            _ if stop_note().map_or(Ok(false), |note| files::is_there(&note))? => true,
            Some(_) => self
                .properties(TARGET)?
                .time("InactiveEnterTimestamp")
                .is_some(),
            None => false,
        })
    }

    /// `enabled`, `disabled`, `static`, ... of an installed unit file; `None` when there is none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn unit_file_state(&self, name: &str) -> Result<Option<String>> {
        let rows = zbus::block_on(self.manager.list_unit_files_by_patterns(&[], &[name]))
            .map_err(|e| anyhow!("Failed to look up unit file '{name}': {e}"))?;
        Ok(rows.into_iter().next().map(|(_, state)| state))
    }

    /// All properties of a unit, in one call after it is loaded.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn properties(&self, unit: &str) -> Result<Properties> {
        let path = zbus::block_on(self.manager.load_unit(unit))
            .map_err(|e| anyhow!("Failed to load unit '{unit}': {e}"))?;
        let failed = |e: zbus::Error| anyhow!("Failed to read properties of '{unit}': {e}");
        let reply = zbus::block_on(self.connection.call_method(
            Some("org.freedesktop.systemd1"),
            &path,
            Some("org.freedesktop.DBus.Properties"),
            "GetAll",
            &(""),
        ))
        .map_err(failed)?;
        let body = reply.body();
        Ok(Properties(body.deserialize().map_err(failed)?))
    }

    /// Some properties of many units, which are asked for all at once: all properties of one unit
    /// are hundreds. What a unit does not have is absent.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn read(&self, units: &[&Unit], names: &[&str]) -> Result<BTreeMap<String, Properties>> {
        let mut all: BTreeMap<String, Properties> = BTreeMap::new();
        let asked: Vec<(&Unit, &str)> = units
            .iter()
            .flat_map(|unit| names.iter().map(move |name| (*unit, *name)))
            .collect();
        for some in asked.chunks(CALLS_MAX) {
            let calls = some.iter().map(|(unit, name)| self.get(&unit.path, name));
            let values = zbus::block_on(join_all(calls));
            for ((unit, name), value) in some.iter().zip(values) {
                let failed = || format!("Failed to read '{name}' of '{}'", unit.name);
                let properties = all.entry(unit.name.clone()).or_default();
                if let Some(value) = value.with_context(failed)? {
                    properties.0.insert(name.to_string(), value);
                }
            }
        }
        Ok(all)
    }

    /// One property; `None`: the object has none of that name.
    async fn get(&self, path: &OwnedObjectPath, name: &str) -> zbus::Result<Option<OwnedVariant>> {
        let interface = match name {
            "Id" | "FreezerState" => UNIT_INTERFACE,
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

    /// Queues a job, replacing a conflicting one, and does not wait for it. What is to be stopped
    /// is thawed: from 256 on the manager refuses to stop what is frozen.
    ///
    /// # Errors
    /// The manager refuses, for example because the unit hit its start limit.
    pub fn queue(&self, verb: Verb, unit: &str) -> Result<Job> {
        zbus::block_on(async {
            if verb != Verb::Start {
                // It may not be frozen, nor run.
                let _ = self.manager.thaw_unit(unit).await;
            }
            match verb {
                Verb::Start => self.manager.start_unit(unit, "replace").await,
                Verb::Stop => self.manager.stop_unit(unit, "replace").await,
                Verb::StopForGood => {
                    let mode = "replace-irreversibly";
                    self.manager.stop_unit(unit, mode).await
                }
                Verb::Restart => self.manager.restart_unit(unit, "replace").await,
            }
        })
        .map(|path| Job { path })
        .map_err(|e| anyhow!("Failed to {} '{unit}': {e}", verb.word()))
    }

    /// Hears from now on of the jobs that leave the queue. Before a job is queued, so that its end
    /// is not missed; once is enough.
    ///
    /// # Errors
    /// The manager does not answer.
    fn hear_jobs(&self) -> Result<&Removed> {
        if let Some(removed) = self.removed.get() {
            return Ok(removed);
        }
        let mut signals = zbus::block_on(async {
            let signals = self.manager.receive_job_removed().await?;
            self.manager.subscribe().await?;
            zbus::Result::Ok(signals)
        })
        .map_err(|e| anyhow!("Failed to hear of the user manager's jobs: {e}"))?;
        let (heard, ends) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(signal) = zbus::block_on(signals.next()) {
                let Ok(end) = signal.args() else { continue };
                // Whoever waited has gone.
                if heard.send((end.job.clone(), end.result.clone())).is_err() {
                    return;
                }
            }
        });
        Ok(self.removed.get_or_init(|| Removed {
            ends: Mutex::new(ends),
            known: Mutex::default(),
        }))
    }

    /// Waits until a job has left the queue, at most `limit`, and gives its result: `done`,
    /// `failed`, `timeout`, `dependency`, `canceled`, ... `None`: it is still there.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn wait(&self, job: &Job, limit: Duration) -> Result<Option<String>> {
        if let Some(result) = self.hear_jobs()?.wait(job, limit)? {
            return Ok(Some(result));
        }
        // A manager that was executed anew meanwhile tells nobody.
        let state = zbus::block_on(self.connection.call_method(
            Some("org.freedesktop.systemd1"),
            &job.path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.systemd1.Job", "State"),
        ));
        match state {
            Ok(_) => Ok(None),
            Err(zbus::Error::FDO(e)) if matches!(*e, UnknownObject(_)) => Ok(Some("gone".into())),
            Err(e) => Err(anyhow!("Failed to wait for a job: {e}")),
        }
    }

    /// Queues a job, waits for it, and tells the state of the unit after it.
    ///
    /// # Errors
    /// The manager refuses the job, or it is not done within `limit`.
    pub fn run(&self, verb: Verb, unit: &str, limit: Duration) -> Result<Properties> {
        let job = self.queue_awaited(verb, unit)?;
        let word = verb.word();
        match self.wait(&job, limit)?.as_deref() {
            None => Err(anyhow!(
                "The job to {word} '{unit}' is not done after {} s; see 'systemctl --user status {unit}'",
                limit.as_secs()
            )
            .context(Exit::TryAgain)),
            Some(result @ ("canceled" | "dependency")) => Err(anyhow!(
                "The job to {word} '{unit}' was not done ({result}); see 'systemctl --user status {unit}'"
            )),
            // The unit itself tells what came of it.
            Some(_) => self.properties(unit),
        }
    }

    /// As [`Systemd::queue`], for a job that is waited for.
    ///
    /// # Errors
    /// As [`Systemd::queue`].
    pub fn queue_awaited(&self, verb: Verb, unit: &str) -> Result<Job> {
        self.hear_jobs()?;
        self.queue(verb, unit)
    }

    /// Forgets a unit's failure and its count of starts. A unit that is not loaded has none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn reset_failed(&self, unit: &str) -> Result<()> {
        match zbus::block_on(self.manager.reset_failed_unit(unit)) {
            Ok(()) | Err(zbus::Error::MethodError(..)) => Ok(()),
            Err(e) => Err(anyhow!("Failed to reset '{unit}': {e}")),
        }
    }

    /// Moves processes into the cgroup of a unit that has `Delegate=yes`.
    ///
    /// # Errors
    /// The manager refuses; a process that has gone is an error too.
    pub fn attach(&self, unit: &str, pids: &[u32]) -> Result<()> {
        zbus::block_on(self.manager.attach_processes_to_unit(unit, "", pids))
            .map_err(|e| anyhow!("Failed to move processes {pids:?} into '{unit}': {e}"))
    }

    /// Whether a unit that matches a pattern has a job in the queue.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn has_jobs(&self, pattern: &str) -> Result<bool> {
        let units = self.units(&[pattern])?;
        Ok(units.values().any(|unit| unit.job.is_some()))
    }

    /// The processes of a unit's cgroup, as pid and command line.
    ///
    /// # Errors
    /// The unit is not loaded, or the manager does not answer.
    pub fn processes(&self, unit: &str) -> Result<Vec<(u32, String)>> {
        let rows = zbus::block_on(self.manager.get_unit_processes(unit))
            .map_err(|e| anyhow!("Failed to list the processes of '{unit}': {e}"))?;
        Ok(rows.into_iter().map(|(_, pid, cmd)| (pid, cmd)).collect())
    }

    /// The name of the unit that a process belongs to.
    ///
    /// # Errors
    /// The process is not of this manager.
    pub fn unit_of(&self, pid: u32) -> Result<String> {
        let failed = |e: zbus::Error| anyhow!("Failed to find the unit of process {pid}: {e}");
        let path = zbus::block_on(self.manager.get_unit_by_pid(pid)).map_err(failed)?;
        let value = zbus::block_on(self.get(&path, "Id")).map_err(failed)?;
        let name = value.and_then(|value| String::try_from(value).ok());
        name.with_context(|| format!("Process {pid} has an odd unit"))
    }

    /// Sends a signal to the main process of a unit.
    ///
    /// # Errors
    /// The unit has no main process, or the manager does not answer.
    pub fn signal_main(&self, unit: &str, signal: i32) -> Result<()> {
        zbus::block_on(self.manager.kill_unit(unit, "main", signal))
            .map_err(|e| anyhow!("Failed to signal '{unit}': {e}"))
    }

    /// Freezes every process of a unit.
    ///
    /// # Errors
    /// The unit is not active, or the kernel has no unified cgroups.
    pub fn freeze(&self, unit: &str) -> Result<()> {
        zbus::block_on(self.manager.freeze_unit(unit))
            .map_err(|e| anyhow!("Failed to freeze '{unit}': {e}"))
    }

    /// Lets a frozen unit go on.
    ///
    /// # Errors
    /// As for [`Systemd::freeze`].
    pub fn thaw(&self, unit: &str) -> Result<()> {
        zbus::block_on(self.manager.thaw_unit(unit))
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

    /// Arms a transient timer `<stem>.timer` that starts `<stem>.service`, unless the town is
    /// stopped. An earlier one of that name is replaced.
    ///
    /// # Errors
    /// The manager refuses.
    pub fn arm_timer(&self, stem: &str, description: &str, after: After) -> Result<()> {
        let timer = format!("{stem}.timer");
        if self.units(&[&timer])?.contains_key(&timer) {
            self.discard(&timer)?;
        }
        let (base, after) = match after {
            After::Now(after) => ("OnActiveSec", after),
            After::End(after) => ("OnUnitInactiveSec", after),
        };
        let usec = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let properties = [
            ("Description", Variant::from(description)),
            ("TimersMonotonic", Variant::from(vec![(base, usec)])),
            ("AccuracyUSec", Variant::from(100_000u64)),
            ("RemainAfterElapse", Variant::from(false)),
            ("PartOf", Variant::from(vec![TARGET])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.start_transient(&timer, &properties)
    }

    /// Stops a transient unit and has it forgotten, so that its name is free.
    fn discard(&self, unit: &str) -> Result<()> {
        let job = self.queue_awaited(Verb::Stop, unit)?;
        self.wait(&job, CALL_LIMIT)?;
        self.reset_failed(unit)
    }

    fn start_transient(&self, unit: &str, properties: &[(&str, Variant<'_>)]) -> Result<()> {
        zbus::block_on(
            self.manager
                .start_transient_unit(unit, "replace", properties, &[]),
        )
        .map(drop)
        .map_err(|e| anyhow!("Failed to arm '{unit}': {e}"))
    }

    /// Has a transient `<stem>.path` start `<stem>.service` by these directives and paths, and those
    /// only. They stand behind `what` in its description, which tells whether it does already.
    ///
    /// # Errors
    /// The manager refuses.
    pub fn watch(&self, stem: &str, what: &str, paths: &[(String, String)]) -> Result<()> {
        let unit = format!("{stem}.path");
        let names: Vec<&str> = paths.iter().map(|(_, path)| path.as_str()).collect();
        let description = format!("{what} {}", names.join(", "));
        let found = self.units(&[&unit])?.remove(&unit);
        if let Some(found) = &found
            && found.active == "active"
            && found.description == description
        {
            return Ok(());
        }
        if found.is_some() {
            self.discard(&unit)?;
        }
        let properties = [
            ("Description", Variant::from(description)),
            ("Paths", Variant::from(paths.to_vec())),
            ("PartOf", Variant::from(vec![TARGET])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.start_transient(&unit, &properties)
    }

    /// Disarms a transient timer; nothing when there is none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn disarm_timer(&self, stem: &str) -> Result<()> {
        let timer = format!("{stem}.timer");
        if self.units(&[&timer])?.contains_key(&timer) {
            self.queue(Verb::Stop, &timer)?;
        }
        Ok(())
    }
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop | Verb::StopForGood => "stop",
            Verb::Restart => "restart",
        }
    }
}

/// The file that is there from the stop of the town to its next start, until the next boot.
pub fn stop_note() -> Option<PathBuf> {
    Some(runtime_dir()?.join("gastown/stopped"))
}

/// The runtime directory of the calling user: `XDG_RUNTIME_DIR` if it is ours (after `su` it
/// is not), else `/run/user/<uid>` if that is.
pub fn runtime_dir() -> Option<PathBuf> {
    let uid = nix::unistd::geteuid().as_raw();
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    given
        .into_iter()
        .chain([usual])
        .find(|dir| dir.metadata().is_ok_and(|m| m.is_dir() && m.uid() == uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_makes_no_start_later() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let told = at("2026-01-16T12:00:00.5Z");
        let ago = Duration::from_secs(60);
        for (now, want) in [
            ("2026-01-16T12:01:00.5Z", told),
            ("2026-01-16T12:01:00.49Z", told),
            // Set forward, or asleep.
            ("2026-01-16T15:01:00.5Z", told),
            // Set back.
            ("2026-01-16T11:31:00.5Z", at("2026-01-16T11:30:00.6Z")),
        ] {
            assert_eq!(by_both_clocks(told, ago, at(now)), want, "{now}");
        }
    }
}
