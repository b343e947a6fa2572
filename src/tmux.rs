//! tmux. The only place that runs it.
//!
//! Arguments only, never a shell; exact targets only (pane ids, or `=name`), because tmux
//! falls back to prefixes; and never a server of our own by accident (`-N`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::tools::{self, Output, ToolError};

/// How long one tmux call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The pane option that says whose pane it is, by unit instance.
const OWNER: &str = "@gastown_agent";

/// The session option that says that an agent has, or had, its pane in this session.
const HOME: &str = "@gastown_session";

/// Fields without spaces first, the session's name last.
const PANE_FORMAT: &str = "#{pane_id} #{pane_pid} #{pane_dead} s#{pane_dead_status} \
     g#{pane_dead_signal} o#{@gastown_agent} \
     h#{@gastown_session} #{pid} #{session_attached} #{session_name}";

/// The pane option with what was typed into the pane at most once, by [`Once::mark`].
const MARKS: &str = "@gastown_spawn";

/// The pane option with the process that said it is ready, by pid.
const READY: &str = "@gastown_ready";

/// The variable of a session by which `gt` says the same, for whatever process.
pub const READY_ENV: &str = "GT_AGENT_READY";

/// The most that one call may have as arguments, in bytes: tmux refuses more than 16 KiB.
const ARGUMENTS: usize = 14_000;

/// The most panes whose screens come back in one call: [`tools::OUTPUT_LIMIT`] holds them.
const SCREENS: usize = 200;

/// Between a text and its Enter: an Enter too early is taken for a part of a paste.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// How long after an Enter it is looked whether it was taken; after each but the last, it is
/// pressed again where it was not.
const ENTER_LOOKS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
];

/// Why a call gave nothing.
#[derive(Debug)]
pub enum TmuxError {
    /// No server answers on the socket: there are certainly no sessions.
    NoServer,
    /// The named session, window or pane is not there.
    NotFound,
    /// The text was typed, and the pane shows no sign of it.
    NotShown,
    /// Anything else, in tmux's own words. It says nothing about what exists.
    Failed(String),
}

impl std::fmt::Display for TmuxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TmuxError::NoServer => f.write_str("no tmux server answers on the socket"),
            TmuxError::NotFound => f.write_str("tmux knows no such session or pane"),
            TmuxError::NotShown => f.write_str("the terminal does not show what was typed"),
            TmuxError::Failed(why) => write!(f, "tmux failed: {why}"),
        }
    }
}

impl std::error::Error for TmuxError {}

/// A pane, as tmux lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// tmux's own id, such as `%3`; never reused by a server.
    pub id: String,
    /// The pane's first process. After its death, its last pid.
    pub pid: u32,
    /// The process has ended and tmux has collected its status.
    pub dead: bool,
    /// The exit status of a dead pane's process that ended by itself.
    pub status: Option<i32>,
    /// The signal that ended a dead pane's process.
    pub signal: Option<i32>,
    /// The unit instance whose pane this is.
    pub owner: Option<String>,
    /// The unit instance that has, or had, a pane in this session: what else is in it belongs
    /// to people.
    pub home: Option<String>,
    /// The pid of the server.
    pub server: u32,
    /// How many clients are attached to the session.
    pub clients: u32,
    /// The name of the session.
    pub session: String,
}

/// A pane with what has been said to it and by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The pane.
    pub pane: Pane,
    /// Its present process has said that it is ready.
    pub ready: bool,
    /// The session's environment has `GT_AGENT_READY=1`, or the server's has.
    pub ready_env: bool,
    /// What [`Tmux::once`] did to it.
    pub marks: Vec<String>,
}

/// Keys for a pane that it gets at most once: they and the mark are one step of the server, so
/// the mark tells, however the caller ended, whether they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The pane's id.
    pub pane: String,
    /// The process they are meant for; a pane with another one gets nothing.
    pub pid: u32,
    /// Letters and digits. A pane that has this mark gets nothing.
    pub mark: String,
    /// What is sent.
    pub keys: Keys,
}

/// See [`Once`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Text, byte for byte.
    Text(String),
    /// The Enter key.
    Enter,
}

/// What a pane shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// Its lines, without trailing blanks.
    pub lines: Vec<String>,
    /// The column of the cursor, from 0.
    pub column: usize,
    /// The line of the cursor, from 0; it may be below `lines`.
    pub row: usize,
    /// Whether the cursor is shown; programs that hide it draw their own elsewhere.
    pub cursor: bool,
    /// How many lines have scrolled off.
    pub history: u64,
}

impl Screen {
    /// Whether something is typed behind one of these prompts and not sent: the cursor is behind
    /// it. A hint that a program shows there does not move the cursor.
    pub fn is_drafted(&self, prompts: &[String]) -> bool {
        let plain = |text: &str| text.replace('\u{a0}', " ");
        let line = self.lines.get(self.row).map_or("", String::as_str);
        let before: String = plain(line).chars().take(self.column).collect();
        let typed = |prompt: &String| {
            let typed = before.trim_start().strip_prefix(&plain(prompt));
            typed.is_some_and(|typed| !typed.trim().is_empty())
        };
        let prompts = prompts.iter().filter(|prompt| !prompt.trim().is_empty());
        self.cursor && prompts.clone().any(typed)
    }

    /// Whether an Enter after `text` was not taken: the screen is as it was before it, or at
    /// least the line with the cursor is, and ends with the text.
    fn still_waits(&self, typed: &Screen, text: &str) -> bool {
        let cursor = |screen: &Screen| (screen.history + screen.row as u64, screen.column);
        let line = |screen: &Screen| screen.lines.get(screen.row).cloned().unwrap_or_default();
        let end: String = text
            .chars()
            .skip(text.chars().count().saturating_sub(20))
            .collect();
        let shows = line(self).contains(end.trim()) && line(self) == line(typed);
        self == typed || (shows && cursor(self) == cursor(typed))
    }
}

/// A tmux server, by its socket name.
#[derive(Debug, Clone)]
pub struct Tmux {
    program: PathBuf,
    socket: String,
}

impl Tmux {
    /// The server on a socket: a name for `tmux -L`, or a path for `tmux -S`.
    pub fn on(socket: &str) -> Tmux {
        let dirs = tools::search_path(Path::new("/nonexistent"));
        Tmux {
            program: tools::find("tmux", &dirs).unwrap_or_else(|| "/usr/bin/tmux".into()),
            socket: socket.to_string(),
        }
    }

    /// The socket, as it was given.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The program and the arguments that select the server; for those who run it themselves.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let flag = if self.socket.contains('/') {
            "-S"
        } else {
            "-L"
        };
        command.args(["-u", flag, &self.socket]);
        // TMUX_TMPDIR would move the socket, TMUX would make us somebody's pane.
        for leaked in ["TMUX", "TMUX_PANE", "TMUX_TMPDIR", "NOTIFY_SOCKET"] {
            command.env_remove(leaked);
        }
        command
    }

    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, TmuxError> {
        match self.output(args)? {
            out if out.status.success() => Ok(out.stdout),
            out => Err(classify(&out)),
        }
    }

    fn output<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output, TmuxError> {
        let mut command = self.command();
        command.arg("-N").args(args);
        match tools::run(&mut command, LIMIT) {
            Ok(out) => Ok(out),
            Err(ToolError::NotRun(e)) => Err(TmuxError::Failed(format!(
                "'{}' cannot be run: {e}",
                self.program.display()
            ))),
            Err(e) => Err(TmuxError::Failed(format!("tmux {e}"))),
        }
    }

    /// Every pane of every session, in one call; empty when there is no server.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or fails: then nothing is known.
    pub fn panes(&self) -> Result<Vec<Pane>, TmuxError> {
        match self.run(&["list-panes", "-a", "-F", PANE_FORMAT]) {
            Ok(text) => text.lines().map(parse_pane).collect(),
            // A server without sessions has "no current target".
            Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Every pane of every session with its marks, in one call; empty when there is no server.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn marked(&self) -> Result<Vec<Marked>, TmuxError> {
        let format = format!("#{{{READY}}}|#{{{READY_ENV}}}|#{{{MARKS}}}|{PANE_FORMAT}");
        match self.run(&["list-panes", "-a", "-F", &format]) {
            Ok(text) => text.lines().map(parse_marked).collect(),
            Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Whether the server's own environment has a variable. Formats then show it for every session.
    ///
    /// # Errors
    /// tmux cannot be run, or hangs.
    pub fn has_global(&self, key: &str) -> Result<bool, TmuxError> {
        match self.run(&["show-environment", "-g", key]) {
            Ok(_) => Ok(true),
            Err(TmuxError::Failed(why)) if !why.starts_with("unknown variable") => {
                Err(TmuxError::Failed(why))
            }
            Err(_) => Ok(false),
        }
    }

    /// Notes that the present process of a pane is ready for its first input.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn mark_ready(&self, pane: &str) -> Result<(), TmuxError> {
        self.run(&["set-option", "-p", "-F", "-t", pane, READY, "#{pane_pid}"])
            .map(drop)
    }

    /// Sends keys, each at most once; those of many panes in one call. A pane in copy mode is
    /// brought out of it first. [`Tmux::marked`] tells afterwards which panes have got them.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or no server answers: then it is not known who got them.
    pub fn once(&self, items: &[Once]) -> Result<(), TmuxError> {
        self.each_apart(items.iter().map(|item| {
            let condition = format!(
                "#{{&&:#{{==:#{{pane_pid}},{}}},#{{==:#{{m:*{}*,#{{{MARKS}}}}},0}}}}",
                item.pid, item.mark
            );
            let pane = quoted(&item.pane);
            let keys = match &item.keys {
                Keys::Text(text) => format!("-l -- {}", quoted(text)),
                Keys::Enter => "Enter".to_string(),
            };
            let commands = format!(
                "set-option -a -p -t {pane} {MARKS} ' {}'; copy-mode -q -t {pane}; \
                 send-keys -t {pane} {keys}",
                item.mark
            );
            (item.pane.clone(), condition, commands)
        }))
        .map(drop)
    }

    /// Presses Enter in panes, in one call; a pane that is gone is passed over.
    ///
    /// # Errors
    /// As for [`Tmux::once`].
    pub fn enter(&self, panes: &[String]) -> Result<(), TmuxError> {
        self.each_apart(panes.iter().map(|pane| {
            let target = quoted(pane);
            let commands = format!("send-keys -t {target} Enter");
            (pane.clone(), "1".to_string(), commands)
        }))
        .map(drop)
    }

    /// What panes show, by pane id; one call for up to 200. A pane that is gone is not in it.
    ///
    /// # Errors
    /// As for [`Tmux::once`].
    pub fn screens(&self, panes: &[String]) -> Result<HashMap<String, Screen>, TmuxError> {
        // Nothing that a pane shows can be taken for this.
        let stamp = jiff::Timestamp::now().as_nanosecond();
        let rule = format!("screen-{stamp:x}-{}", std::process::id());
        let mut found = HashMap::new();
        for panes in panes.chunks(SCREENS) {
            let text = self.each_apart(panes.iter().map(|pane| {
                let target = quoted(pane);
                let commands = format!(
                    "display-message -p -t {target} '{rule} #{{pane_id}} #{{cursor_x}} \
                     #{{cursor_y}} #{{cursor_flag}} #{{history_size}}'; capture-pane -p -t {target}"
                );
                (pane.clone(), "#{pane_id}".to_string(), commands)
            }))?;
            found.extend(parse_screens(&text, &rule));
        }
        Ok(found)
    }

    /// Runs commands for many panes in few calls, each apart from the others: one that fails
    /// does not stop the rest, as it would in a plain list. Items are pane, condition, commands.
    fn each_apart(
        &self,
        items: impl Iterator<Item = (String, String, String)>,
    ) -> Result<String, TmuxError> {
        let mut said = String::new();
        let mut args: Vec<String> = Vec::new();
        let mut size = 0;
        for (pane, condition, commands) in items {
            let length = pane.len() + condition.len() + commands.len() + 20;
            if size + length > ARGUMENTS {
                said += &self.run_apart(&std::mem::take(&mut args))?;
                size = 0;
            }
            if !args.is_empty() {
                args.push(";".into());
            }
            args.extend(["if-shell".into(), "-F".into(), "-t".into(), pane]);
            args.extend([condition, argument(&commands)]);
            size += length;
        }
        said += &self.run_apart(&args)?;
        Ok(said)
    }

    fn run_apart(&self, args: &[String]) -> Result<String, TmuxError> {
        if args.is_empty() {
            return Ok(String::new());
        }
        match self.output(args)? {
            out if out.status.success() => Ok(out.stdout),
            out => match classify(&out) {
                TmuxError::NotFound => Ok(out.stdout),
                e => Err(e),
            },
        }
    }

    /// Types a text into each pane, byte for byte, and Enter after it: all texts in one call, all
    /// Enters in a second one. Looks at the screens, presses Enter again where it was not taken,
    /// and tells for each pane how it went. One that fails does not hold the others.
    pub fn deliver(&self, items: &[(String, String)]) -> Vec<Result<(), TmuxError>> {
        self.deliver_all(items).unwrap_or_else(|e| {
            let why = e.to_string();
            let fail = |_| Err(TmuxError::Failed(why.clone()));
            items.iter().map(fail).collect()
        })
    }

    fn deliver_all(
        &self,
        items: &[(String, String)],
    ) -> Result<Vec<Result<(), TmuxError>>, TmuxError> {
        let mut panes: Vec<String> = items.iter().map(|(pane, _)| pane.clone()).collect();
        panes.sort();
        panes.dedup();
        let before = self.screens(&panes)?;
        self.each_apart(items.iter().map(|(pane, text)| {
            let (target, text) = (quoted(pane), quoted(text));
            let commands = format!("copy-mode -q -t {target}; send-keys -t {target} -l -- {text}");
            (pane.clone(), "1".to_string(), commands)
        }))?;
        std::thread::sleep(DEBOUNCE);
        let typed = self.screens(&panes)?;
        let waits = |pane: &String, now: &HashMap<String, Screen>| {
            let mut texts = items
                .iter()
                .filter(|(p, _)| p == pane)
                .map(|(_, text)| text);
            match (typed.get(pane), now.get(pane)) {
                (Some(typed), Some(now)) => texts.any(|text| now.still_waits(typed, text)),
                _ => false,
            }
        };
        self.enter(&panes)?;
        let mut now = typed.clone();
        for (look, wait) in ENTER_LOOKS.into_iter().enumerate() {
            std::thread::sleep(wait);
            now = self.screens(&panes)?;
            let mut waiting = panes.clone();
            waiting.retain(|pane| waits(pane, &now));
            if waiting.is_empty() || look + 1 == ENTER_LOOKS.len() {
                break;
            }
            self.enter(&waiting)?;
        }
        let judge = |(pane, _): &(String, String)| match (before.get(pane), now.get(pane)) {
            (None, _) | (_, None) => Err(TmuxError::NotFound),
            _ if waits(pane, &now) => Err(TmuxError::NotShown),
            _ => Ok(()),
        };
        Ok(items.iter().map(judge).collect())
    }

    /// One pane by its id; `None` when it is gone, with or without the server.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn pane(&self, id: &str) -> Result<Option<Pane>, TmuxError> {
        Ok(self.panes()?.into_iter().find(|p| p.id == id))
    }

    /// The pid of the server; `None` when none answers.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn server(&self) -> Result<Option<u32>, TmuxError> {
        match self.run(&["display-message", "-p", "#{pid}"]) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(TmuxError::NoServer) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a detached session whose pane runs `argv` in `dir`; gives the pane's id.
    ///
    /// # Errors
    /// The session exists, or tmux fails.
    pub fn new_session(
        &self,
        name: &str,
        dir: &Path,
        env: &[(String, String)],
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let mut args: Vec<String> = ["new-session", "-d", "-P", "-F", "#{pane_id}"]
            .map(String::from)
            .to_vec();
        args.extend(["-s".into(), name.into(), "-x".into(), "200".into()]);
        args.extend(["-y".into(), "50".into()]);
        args.extend(["-c".into(), dir.to_string_lossy().into_owned()]);
        for (key, value) in env {
            args.extend(["-e".into(), format!("{key}={}", argument(value))]);
        }
        args.push("--".into());
        args.extend(argv.iter().map(|a| argument(a)));
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Makes a window before all others of an existing session; gives its pane's id.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn new_first_window(
        &self,
        session: &str,
        dir: &Path,
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let target = format!("={session}:^");
        let dir = dir.to_string_lossy();
        let mut args = vec!["new-window", "-b", "-P", "-F", "#{pane_id}", "-t", &target];
        args.extend(["-c", &dir, "--"]);
        args.extend(argv.iter().map(String::as_str));
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Runs `argv` in a pane, ending what runs there. What said that it is ready has ended then.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn respawn(&self, pane: &str, dir: &Path, argv: &[String]) -> Result<(), TmuxError> {
        let dir = dir.to_string_lossy();
        let mut args = vec!["set-environment", "-u", "-t", pane, READY_ENV, ";"];
        args.extend(["respawn-pane", "-k", "-t", pane, "-c", &dir, "--"]);
        args.extend(argv.iter().map(String::as_str));
        self.run(&args).map(drop)
    }

    /// Marks a pane as an agent's and lets it outlive its process, so that the status is kept.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn own(&self, pane: &str, instance: &str) -> Result<(), TmuxError> {
        let set = ["set-option", "-p", "-t", pane];
        let mut args = set.to_vec();
        args.extend([OWNER, instance, ";"]);
        args.extend(set);
        args.extend(["remain-on-exit", "on", ";"]);
        args.extend(["set-option", "-t", pane, HOME, instance]);
        self.run(&args).map(drop)
    }

    /// The last lines of a pane's screen, at most `lines`, without trailing blanks and without
    /// the line that tmux itself writes into a dead pane.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn screen(&self, pane: &str, lines: usize) -> Result<String, TmuxError> {
        // To write into a dead pane, tmux first moves the screen's first line into the history.
        let text = self.run(&["capture-pane", "-p", "-S", "-1", "-t", pane])?;
        let mut shown: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_filler = |line: &&str| line.is_empty() || line.starts_with("Pane is dead (");
        while shown.last().is_some_and(is_filler) {
            shown.pop();
        }
        let skip = shown.len().saturating_sub(lines);
        Ok(shown[skip..].join("\n"))
    }

    /// Closes a pane, and its session with it when it is the last; a pane that is gone is closed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn kill_pane(&self, pane: &str) -> Result<(), TmuxError> {
        match self.run(&["kill-pane", "-t", pane]) {
            Ok(_) | Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sets a variable in the environment of a session, for processes that start later.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn set_environment(&self, session: &str, key: &str, value: &str) -> Result<(), TmuxError> {
        let target = format!("={session}");
        self.run(&["set-environment", "-t", &target, key, &argument(value)])
            .map(drop)
    }
}

/// An argument that tmux takes as it is: a trailing `;` would end the command.
fn argument(text: &str) -> String {
    match text.strip_suffix(';') {
        Some(rest) => format!("{rest}\\;"),
        None => text.to_string(),
    }
}

/// A word of tmux's command language that stands for `text`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn parse_marked(line: &str) -> Result<Marked, TmuxError> {
    let unknown = || TmuxError::Failed(format!("it listed a pane in an unknown form: '{line}'"));
    let mut parts = line.splitn(4, '|');
    let mut next = || parts.next().ok_or_else(unknown);
    let (ready, env, marks) = (next()?, next()?, next()?);
    let pane = parse_pane(next()?)?;
    Ok(Marked {
        ready: ready.parse() == Ok(pane.pid),
        ready_env: env == "1",
        marks: marks.split_whitespace().map(String::from).collect(),
        pane,
    })
}

/// Screens as [`Tmux::screens`] asks for them: each behind a line of `rule`, pane and numbers.
fn parse_screens(text: &str, rule: &str) -> HashMap<String, Screen> {
    let mut screens: HashMap<String, Screen> = HashMap::new();
    let mut pane = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix(rule) {
            let mut fields = head.split_whitespace();
            pane = fields.next().unwrap_or_default().to_string();
            let mut number = || fields.next().and_then(|f| f.parse::<u32>().ok());
            let mut number = || number().unwrap_or_default();
            let screen = Screen {
                lines: Vec::new(),
                column: number() as usize,
                row: number() as usize,
                cursor: number() == 1,
                history: number().into(),
            };
            screens.insert(pane.clone(), screen);
        } else if let Some(screen) = screens.get_mut(&pane) {
            screen.lines.push(line.trim_end().to_string());
        }
    }
    for screen in screens.values_mut() {
        while screen.lines.last().is_some_and(String::is_empty) {
            screen.lines.pop();
        }
    }
    screens
}

fn classify(out: &Output) -> TmuxError {
    let said = out.stderr.trim();
    let absent = ["No such file or directory", "Connection refused"];
    if said.starts_with("no server running")
        || (said.starts_with("error connecting") && absent.iter().any(|a| said.contains(a)))
    {
        TmuxError::NoServer
    } else if said.starts_with("can't find") || said.starts_with("no current target") {
        TmuxError::NotFound
    } else {
        TmuxError::Failed(out.complaint())
    }
}

fn parse_pane(line: &str) -> Result<Pane, TmuxError> {
    parse_fields(line)
        .ok_or_else(|| TmuxError::Failed(format!("it listed a pane in an unknown form: '{line}'")))
}

fn parse_fields(line: &str) -> Option<Pane> {
    let mut fields = line.splitn(10, ' ');
    let mut next = || fields.next();
    Some(Pane {
        id: next()?.to_string(),
        pid: next()?.parse().ok()?,
        dead: next()? == "1",
        status: next()?.strip_prefix('s')?.parse().ok(),
        signal: next()?.strip_prefix('g')?.parse().ok(),
        owner: some(next()?.strip_prefix('o')?),
        home: some(next()?.strip_prefix('h')?),
        server: next()?.parse().ok()?,
        clients: next()?.parse().ok()?,
        session: next()?.to_string(),
    })
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_before_the_cursor() {
        let prompts = ["❯ ".to_string(), "> ".to_string()];
        for (line, column, cursor, want) in [
            ("> ", 2, true, false),
            ("> rm -rf", 10, true, true),
            ("  > x", 5, true, true),
            ("❯\u{a0}Try \"edit\"", 2, true, false),
            ("❯\u{a0}Try it", 8, true, true),
            ("> x", 3, false, false),
            ("working", 7, true, false),
            ("", 0, true, false),
        ] {
            let screen = Screen {
                lines: vec![line.to_string()],
                column,
                row: 0,
                cursor,
                history: 0,
            };
            assert_eq!(screen.is_drafted(&prompts), want, "{line:?} {column}");
        }
    }

    #[test]
    fn panes_parse() {
        let pane = parse_pane("%3 812 1 s7 g oa\\x2db-witness hx 99 2 gt-a-b-witness").unwrap();
        assert_eq!(
            pane,
            Pane {
                id: "%3".into(),
                pid: 812,
                dead: true,
                status: Some(7),
                signal: None,
                owner: Some("a\\x2db-witness".into()),
                home: Some("x".into()),
                server: 99,
                clients: 2,
                session: "gt-a-b-witness".into(),
            }
        );
        let alive = parse_pane("%1 5 0 s g o h 9 0 my odd session").unwrap();
        assert_eq!((alive.dead, alive.owner), (false, None));
        assert_eq!(alive.session, "my odd session");
        assert!(parse_pane("garbage").is_err());
    }

    #[test]
    fn marks_belong_to_a_process() {
        let marked = parse_marked("812|1| t1 e1|%3 812 0 s g o h 99 0 gt-a|b").unwrap();
        assert_eq!((marked.ready, marked.ready_env), (true, true));
        assert_eq!(marked.marks, ["t1", "e1"]);
        assert_eq!(marked.pane.session, "gt-a|b");
        let other = parse_marked("811|0||%3 812 0 s g o h 99 0 gt-a").unwrap();
        assert_eq!((other.ready, other.ready_env), (false, false));
        assert!(other.marks.is_empty());
        assert!(parse_marked("||%3").is_err());
    }

    #[test]
    fn screens_are_told_apart() {
        let text = "R %1 3 1 1 7\nhello  \n> R %2\n\n\nR %2 0 0 0 0\n\n";
        let screens = parse_screens(text, "R ");
        assert_eq!(screens.len(), 2);
        assert_eq!(screens["%1"].lines, ["hello", "> R %2"]);
        let one = &screens["%1"];
        assert_eq!(
            (one.column, one.row, one.cursor, one.history),
            (3, 1, true, 7)
        );
        assert!(screens["%2"].lines.is_empty());
    }

    /// A server of its own for a test, ended with it.
    struct Lab(Tmux);

    impl Lab {
        fn new(name: &str) -> Lab {
            let lab = Lab(Tmux::on(&format!("gt-test-{name}-{}", std::process::id())));
            let mut command = lab.0.command();
            command.args(["-f", "/dev/null", "new-session", "-d", "-s", "first", "cat"]);
            assert!(command.status().unwrap().success());
            lab
        }

        fn wait(&self, what: &str, done: impl Fn(&Tmux) -> bool) {
            for _ in 0..100 {
                if done(&self.0) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            panic!("{what} did not happen");
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = self.0.run(&["kill-server"]);
        }
    }

    #[test]
    fn keys_are_sent_once_to_the_process_they_are_for() {
        let lab = Lab::new("once");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("second", Path::new("/"), &[], &cat)
            .unwrap();
        tmux.run(&["copy-mode", "-t", "=first:"]).unwrap();
        let panes = tmux.panes().unwrap();
        let once = |pane: &Pane, pid, mark: &str, keys| Once {
            pane: pane.id.clone(),
            pid,
            mark: mark.into(),
            keys,
        };
        let text = Keys::Text("it's \"odd\" #{pid} $HOME;".into());
        let gone = Pane {
            id: "%99".into(),
            ..panes[0].clone()
        };
        let items = [
            once(&gone, gone.pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "e1", Keys::Enter),
            once(&panes[1], panes[1].pid + 1, "t1", text),
        ];
        for _ in 0..2 {
            tmux.once(&items).unwrap();
        }
        let ids: Vec<String> = ["%0", "%1", "%99"].map(String::from).to_vec();
        let want = "it's \"odd\" #{pid} $HOME;";
        lab.wait("the text", |tmux| {
            tmux.screens(&ids).unwrap()["%0"].lines == [want, want]
        });
        let screens = tmux.screens(&ids).unwrap();
        assert_eq!((screens.len(), screens["%0"].row), (2, 2));
        assert!(screens["%1"].lines.is_empty());
        let marked = tmux.marked().unwrap();
        assert_eq!(marked[0].marks, ["t1", "e1"]);
        assert!(marked[1].marks.is_empty());
    }

    #[test]
    fn texts_arrive_as_they_are() {
        let lab = Lab::new("deliver");
        let tmux = &lab.0;
        let dir = tempfile::tempdir().unwrap();
        let texts = [
            "HEARTBEAT: plain",
            "-V it's \"odd\" #{pid} $HOME ~ {a} %1 \\n;",
            "Enter",
            "tab\there, umlaut \u{e4}, arrow \u{276f}",
            ";",
            "two\nlines",
        ];
        let mut items = vec![("%99".to_string(), "gone".to_string())];
        for (number, text) in texts.iter().enumerate() {
            let out = dir.path().join(number.to_string());
            // A terminal that shows and passes on what it gets, and ends lines as it gets them.
            let script = "stty raw echo; head -c \"$1\" >\"$2\"; exec sleep 100";
            let length = (text.len() + 1).to_string();
            let argv = ["sh", "-c", script, "sh", &length, &out.to_string_lossy()];
            let argv: Vec<String> = argv.map(String::from).to_vec();
            let name = format!("s{number}");
            let pane = tmux.new_session(&name, Path::new("/"), &[], &argv);
            items.push((pane.unwrap(), text.to_string()));
        }
        std::thread::sleep(Duration::from_millis(300));
        let results = tmux.deliver(&items);
        assert!(matches!(results[0], Err(TmuxError::NotFound)));
        for (number, text) in texts.iter().enumerate() {
            assert!(
                results[number + 1].is_ok(),
                "{text}: {:?}",
                results[number + 1]
            );
            let got = std::fs::read_to_string(dir.path().join(number.to_string()));
            assert_eq!(got.unwrap(), format!("{text}\r"), "{text}");
        }
    }

    #[test]
    fn what_nobody_reads_is_told() {
        let lab = Lab::new("deaf");
        let deaf = ["sh", "-c", "stty raw -echo; exec sleep 100"];
        let deaf = deaf.map(String::from).to_vec();
        let pane = lab
            .0
            .new_session("deaf", Path::new("/"), &[], &deaf)
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let results = lab.0.deliver(&[(pane, "hello".into())]);
        assert!(matches!(results[..], [Err(TmuxError::NotShown)]));
    }

    #[test]
    fn readiness_is_marked_for_one_process() {
        let lab = Lab::new("ready");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("first-b", Path::new("/"), &[], &cat)
            .unwrap();
        assert!(!tmux.has_global("GT_AGENT_READY").unwrap());
        tmux.mark_ready("%0").unwrap();
        tmux.set_environment("first-b", "GT_AGENT_READY", "1")
            .unwrap();
        let ready = || -> Vec<_> {
            let marked = tmux.marked().unwrap();
            marked.iter().map(|m| (m.ready, m.ready_env)).collect()
        };
        assert_eq!(ready(), [(true, false), (false, true)]);
        tmux.respawn("%0", Path::new("/"), &cat).unwrap();
        assert_eq!(ready(), [(false, false), (false, true)]);
        tmux.respawn("%1", Path::new("/"), &cat).unwrap();
        assert_eq!(ready(), [(false, false), (false, false)]);
        tmux.run(&["set-environment", "-g", READY_ENV, "1"])
            .unwrap();
        assert!(tmux.has_global("GT_AGENT_READY").unwrap());
    }

    #[test]
    fn hundreds_of_panes_take_few_calls() {
        let lab = Lab::new("many");
        let items = (0..500).map(|n| (format!("%{n}"), "0".into(), "x".repeat(100)));
        lab.0.each_apart(items).unwrap();
        let ids: Vec<String> = (0..500).map(|n| format!("%{n}")).collect();
        assert_eq!(lab.0.screens(&ids).unwrap().len(), 1);
    }

    #[test]
    fn a_trailing_semicolon_is_text() {
        assert_eq!(argument("a;"), "a\\;");
        assert_eq!(argument("a;b"), "a;b");
    }
}
