//! Which panes there are, and what is noted in them.

use std::collections::HashMap;

use jiff::Timestamp;

use super::keys::Words;
use super::server::{Tmux, TmuxError};
use super::{MARKS, WORDS};
use crate::hooks::report::{Report, Word};

/// The pane option that says whose pane this is, by unit instance.
const OWNER: &str = "@gastown_agent";

/// The session option that says which agent has, or had, its pane in this session.
pub(super) const HOME: &str = "@gastown_session";

/// Fields without spaces first, the session's name last. Anybody in a pane can set its options:
/// tmux shows blanks there, which would shift the fields of the line, as points.
pub(super) const PANE_FORMAT: &str = "#{pane_id} #{pane_pid} #{pane_dead} s#{pane_dead_status} \
     g#{pane_dead_signal} o#{s/[ \t\n]/./:@gastown_agent} h#{s/[ \t\n]/./:@gastown_session} #{pid} \
     #{session_attached} #{session_created} r#{s/[ \t\n]/./:@gastown_report} #{session_name}";

/// The pane option with the pid of the process that said it is ready.
const READY: &str = "@gastown_ready";

/// The pane option with what the pane's agent last said of itself, see [`Report`].
const REPORT: &str = "@gastown_report";

/// The session variable by which `gt` says that the session's agent is ready; it names no process.
pub const READY_ENV: &str = "GT_AGENT_READY";

/// A pane, as tmux lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pane {
    /// tmux's own id, such as `%3`; never reused by a server.
    pub id: String,
    /// The pane's first process. After its death, its last pid; 0: see [`Pane::is_broken`].
    pub pid: u32,
    /// The process has ended and tmux has collected its status.
    pub dead: bool,
    /// The exit status of a dead pane's process that ended by itself.
    pub status: Option<i32>,
    /// The signal that ended a dead pane's process.
    pub signal: Option<i32>,
    /// The unit instance whose pane this is.
    pub owner: Option<String>,
    /// The unit instance that has, or had, a pane in this session. Other panes there belong to
    /// people.
    pub home: Option<String>,
    /// The pid of the server.
    pub server: u32,
    /// How many clients are attached to the session.
    pub clients: u32,
    /// When the session was made.
    pub created: Option<Timestamp>,
    /// What the pane's present process last said of itself.
    pub report: Option<Report>,
    /// The name of the session.
    pub session: String,
}

impl Pane {
    /// Whether the server could not fork when it was to run something else here. The pane stays, dead,
    /// and tmux (3.3a, 3.5a) dies of another attempt: close the pane instead.
    pub fn is_broken(&self) -> bool {
        self.pid == 0
    }

    /// Whether this pane of the unit instance is in the session of another agent.
    pub fn is_guest(&self, instance: &str) -> bool {
        self.home.as_ref().is_some_and(|home| home != instance)
    }
}

/// A pane with what has been said to it and by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The pane.
    pub pane: Pane,
    /// The pane's present process has said that it is ready.
    pub ready: bool,
    /// The session's environment has `GT_AGENT_READY=1`, or the server's has.
    pub ready_env: bool,
    /// The pane's marks, see [`super::Mark`].
    pub marks: Vec<String>,
}

impl Tmux {
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

    /// The panes that are an agent's, and all panes of some sessions, in one call.
    ///
    /// # Errors
    /// As for [`Tmux::panes`]; and no server answers.
    pub fn panes_of(&self, instance: &str, sessions: &[&str]) -> Result<Vec<Pane>, TmuxError> {
        let mut filter = format!("#{{==:#{{{OWNER}}},{instance}}}");
        for session in sessions {
            filter = format!("#{{||:{filter},#{{==:#{{session_name}},{session}}}}}");
        }
        let list = ["list-panes", "-a", "-f", &filter, "-F", PANE_FORMAT];
        match self.run(&list) {
            Ok(text) => text.lines().map(parse_pane).collect(),
            Err(TmuxError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// One pane by its id; `None` when it is gone.
    ///
    /// # Errors
    /// As for [`Tmux::panes`]; and no server answers: it may live on without its socket.
    pub fn pane(&self, id: &str) -> Result<Option<Pane>, TmuxError> {
        let panes = match self.run(&["list-panes", "-t", id, "-F", PANE_FORMAT]) {
            Ok(text) => text
                .lines()
                .map(parse_pane)
                .collect::<Result<Vec<_>, _>>()?,
            Err(TmuxError::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(panes.into_iter().find(|p| p.id == id))
    }

    /// Every pane of every session with its marks, in one call; empty when there is no server.
    ///
    /// # Errors
    /// As for [`Tmux::panes`].
    pub fn marked(&self) -> Result<Vec<Marked>, TmuxError> {
        let field = |name: &str| format!("#{{s/[|\n]/./:{name}}}|");
        let [ready, env, marks] = [READY, READY_ENV, MARKS].map(field);
        let format = format!("{ready}{env}{marks}{PANE_FORMAT}");
        match self.run(&["list-panes", "-a", "-F", &format]) {
            Ok(text) => text.lines().map(parse_marked).collect(),
            Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(e),
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

    /// Notes the first words that are still to be typed for a process of a pane.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn note_words(&self, pane: &str, pid: u32, words: &Words) -> Result<(), TmuxError> {
        let note = words.note(pid);
        self.run(&["set-option", "-p", "-t", pane, WORDS, &note])
            .map(drop)
    }

    /// Notes that no first words are to be typed any more.
    ///
    /// # Errors
    /// As for [`Tmux::note_words`].
    pub fn forget_words(&self, pane: &str) -> Result<(), TmuxError> {
        self.run(&["set-option", "-p", "-u", "-t", pane, WORDS])
            .map(drop)
    }

    /// Keeps what the present process of a pane says of itself, and gives what it said before.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn report(
        &self,
        pane: &str,
        word: &Word,
        at: Timestamp,
    ) -> Result<Option<Report>, TmuxError> {
        // tmux expands the pid, and nothing else: the rest has no `#`.
        let report = Report::format(word, at, "#{pane_pid}");
        let before = format!("#{{pane_pid}} #{{{REPORT}}}");
        let before = self.run(&[
            "display-message",
            "-p",
            "-t",
            pane,
            &before,
            ";",
            "set-option",
            "-p",
            "-F",
            "-t",
            pane,
            REPORT,
            &report,
        ])?;
        let (pid, before) = before.trim().split_once(' ').unwrap_or_default();
        Ok(Report::parse(before).filter(|report| pid.parse() == Ok(report.pid)))
    }

    /// Marks a pane as an agent's and lets it outlive its process, so that the status is kept.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn own(&self, pane: &str, instance: &str) -> Result<(), TmuxError> {
        self.run_all(&ownership(pane, instance)).map(drop)
    }
}

/// Panes by owner and by session, made once for many agents: so that all panes are not gone through
/// for each agent.
#[derive(Debug)]
pub struct Index<'a> {
    owned: HashMap<&'a str, Vec<&'a Pane>>,
    sessions: HashMap<&'a str, Vec<&'a Pane>>,
    unmarked: Vec<&'a Pane>,
}

impl<'a> Index<'a> {
    /// The index of these panes, which are in the order in which tmux lists them.
    pub fn of(panes: &'a [Pane]) -> Index<'a> {
        let mut index = Index {
            owned: HashMap::new(),
            sessions: HashMap::new(),
            unmarked: Vec::new(),
        };
        for pane in panes {
            index.sessions.entry(&pane.session).or_default().push(pane);
            match &pane.owner {
                Some(owner) => index.owned.entry(owner).or_default().push(pane),
                None if pane.home.is_none() => index.unmarked.push(pane),
                None => {}
            }
        }
        index
    }

    /// The pane of an agent. Where a person has grouped sessions by `new-session -t`, tmux lists
    /// the pane once for each of them: the one in the session of this name is preferred.
    pub fn own(&self, instance: &str, session: &str) -> Option<&'a Pane> {
        let own = self.owned.get(instance)?;
        let named = own.iter().find(|pane| pane.session == session);
        named.or(own.first()).copied()
    }

    /// The panes of a session.
    pub fn session(&self, name: &str) -> &[&'a Pane] {
        self.sessions.get(name).map_or(&[], Vec::as_slice)
    }

    /// The panes that are no agent's, in sessions that are no agent's.
    pub fn unmarked(&self) -> impl Iterator<Item = &'a Pane> {
        self.unmarked.iter().copied()
    }
}

/// The commands that mark a pane as an agent's and let it outlive its process.
pub(super) fn ownership<'a>(pane: &'a str, instance: &'a str) -> [Vec<&'a str>; 3] {
    [
        vec!["set-option", "-p", "-t", pane, OWNER, instance],
        vec!["set-option", "-p", "-t", pane, "remain-on-exit", "on"],
        vec!["set-option", "-t", pane, HOME, instance],
    ]
}

/// Reads a line of [`Tmux::marked`].
///
/// # Errors
/// The line has another form.
pub fn parse_marked(line: &str) -> Result<Marked, TmuxError> {
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

pub(super) fn parse_pane(line: &str) -> Result<Pane, TmuxError> {
    parse_fields(line)
        .ok_or_else(|| TmuxError::Failed(format!("it listed a pane in an unknown form: '{line}'")))
}

fn parse_fields(line: &str) -> Option<Pane> {
    let mut fields = line.splitn(12, ' ');
    let mut next = || fields.next();
    let mut pane = Pane {
        id: next()?.to_string(),
        // Of a broken pane tmux says -1.
        pid: next()?.parse::<i64>().ok()?.try_into().unwrap_or(0),
        dead: next()? == "1",
        status: next()?.strip_prefix('s')?.parse().ok(),
        signal: next()?.strip_prefix('g')?.parse().ok(),
        owner: some(next()?.strip_prefix('o')?),
        home: some(next()?.strip_prefix('h')?),
        server: next()?.parse().ok()?,
        clients: next()?.parse().ok()?,
        created: Timestamp::from_second(next()?.parse().ok()?).ok(),
        report: Report::parse(next()?.strip_prefix('r')?),
        session: next()?.to_string(),
    };
    pane.report = pane.report.filter(|report| report.pid == pane.pid);
    Some(pane)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tmux::lab::Lab;

    #[test]
    fn panes_parse() {
        let pane = parse_pane(
            "%3 812 1 s7 g oa\\x2db-witness hx 99 2 1768557600 rbusy:5:812: gt-a-b-witness",
        )
        .unwrap();
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
                created: Some(Timestamp::from_second(1_768_557_600).unwrap()),
                report: Report::parse("busy:5:812:"),
                session: "gt-a-b-witness".into(),
            }
        );
        let alive = parse_pane("%1 5 0 s g o h 9 0 1768557600 rbusy:5:4: my odd session").unwrap();
        assert_eq!((alive.dead, alive.owner), (false, None));
        assert_eq!(alive.report, None, "it is another process's");
        assert_eq!(alive.session, "my odd session");
        let broken = parse_pane("%2 -1 1 s g oa hx 9 0 1768557600 r s").unwrap();
        assert!(broken.dead && broken.is_broken());
        assert!(parse_pane("garbage").is_err());
    }

    #[test]
    fn a_broken_pane_hides_no_other_and_is_closed() {
        let lab = Lab::new("broken");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("second", Path::new("/"), &[], &cat)
            .unwrap();
        let server = tmux.server().unwrap();
        lab.break_pane("%1");
        let broken: Vec<bool> = tmux.panes().unwrap().iter().map(Pane::is_broken).collect();
        assert_eq!(broken, [false, true]);
        assert!(lab.respawn("%1", &cat).is_err());
        tmux.kill_panes(&[("%1", server.unwrap())]).unwrap();
        assert_eq!(tmux.panes().unwrap().len(), 1);
        assert_eq!(tmux.server().unwrap(), server);
    }

    #[test]
    fn options_with_blanks_hide_no_pane() {
        let lab = Lab::new("blanks");
        for option in [OWNER, HOME, REPORT] {
            for value in ["a b", "a\tb", "a\nb", "a;b #{pid}"] {
                lab.0
                    .run(&["set-option", "-p", "-t", "%0", option, value])
                    .unwrap();
                assert_eq!(lab.0.panes().unwrap().len(), 1, "{option} {value}");
            }
        }
        assert_eq!(
            lab.0.panes().unwrap()[0].owner.as_deref(),
            Some("a;b.#{pid}")
        );
    }

    #[test]
    fn a_pane_of_grouped_sessions_is_found_in_its_own() {
        let lab = Lab::new("grouped");
        lab.0.own("%0", "lab").unwrap();
        lab.0
            .run(&["new-session", "-d", "-s", "a-look", "-t", "=first"])
            .unwrap();
        let panes = lab.0.panes().unwrap();
        let index = Index::of(&panes);
        let of = |instance, session| Some(&index.own(instance, session)?.session);
        assert_eq!(panes[0].session, "a-look");
        assert_eq!(of("lab", "first").unwrap(), "first");
        assert_eq!(of("lab", "renamed").unwrap(), "a-look");
        assert_eq!(of("other", "first"), None);
    }

    #[test]
    fn marks_of_strangers_hide_no_pane() {
        let lab = Lab::new("odd-marks");
        for option in [READY, MARKS, OWNER, HOME, REPORT] {
            for value in ["a|b|c", "a\nb", "|\n|", "a;b #{pid}"] {
                lab.0
                    .run(&["set-option", "-p", "-t", "%0", option, value])
                    .unwrap();
                let marked = lab.0.marked().unwrap();
                assert_eq!(marked.len(), 1, "{option} {value}");
                assert_eq!(marked[0].pane.session, "first", "{option} {value}");
            }
        }
        lab.0.set_environment("first", READY_ENV, "1|\n").unwrap();
        assert!(!lab.0.marked().unwrap()[0].ready_env);
    }

    #[test]
    fn marks_belong_to_a_process() {
        let marked =
            parse_marked("812|1| t1 e1|%3 812 0 s g o h 99 0 1768557600 r gt-a|b").unwrap();
        assert_eq!((marked.ready, marked.ready_env), (true, true));
        assert_eq!(marked.marks, ["t1", "e1"]);
        assert_eq!(marked.pane.session, "gt-a|b");
        let other = parse_marked("811|0||%3 812 0 s g o h 99 0 1768557600 r gt-a").unwrap();
        assert_eq!((other.ready, other.ready_env), (false, false));
        assert!(other.marks.is_empty());
        assert!(parse_marked("||%3").is_err());
    }

    #[test]
    fn reports_are_those_of_one_process() {
        let lab = Lab::new("report");
        let tmux = &lab.0;
        let at = Timestamp::from_millisecond(5).unwrap();
        let asks = Word::Asks("#(touch /tmp/gastown-owned) #{pid}; %1 'x'".into());
        assert_eq!(tmux.report("%0", &asks, at).unwrap(), None);
        let report = tmux.panes().unwrap()[0].report.clone().unwrap();
        assert_eq!((&report.word, report.at), (&asks, at));
        let before = tmux.report("%0", &Word::Free, at).unwrap();
        assert_eq!(before, Some(report));
        lab.respawn("%0", &["cat".to_string()]).unwrap();
        assert_eq!(tmux.panes().unwrap()[0].report, None);
        assert!(tmux.report("%9", &Word::Busy, at).is_err());
    }

    #[test]
    fn readiness_is_marked_for_one_process() {
        let lab = Lab::new("ready");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("first-b", Path::new("/"), &[], &cat)
            .unwrap();
        assert_eq!(tmux.global("GT_AGENT_READY").unwrap(), None);
        tmux.mark_ready("%0").unwrap();
        tmux.set_environment("first-b", "GT_AGENT_READY", "1")
            .unwrap();
        let ready = || -> Vec<_> {
            let marked = tmux.marked().unwrap();
            marked.iter().map(|m| (m.ready, m.ready_env)).collect()
        };
        assert_eq!(ready(), [(true, false), (false, true)]);
        lab.respawn("%0", &cat).unwrap();
        assert_eq!(ready(), [(false, false), (false, true)]);
        lab.respawn("%1", &cat).unwrap();
        assert_eq!(ready(), [(false, false), (false, false)]);
        tmux.run(&["set-environment", "-g", READY_ENV, "1"])
            .unwrap();
        assert_eq!(tmux.global("GT_AGENT_READY").unwrap().as_deref(), Some("1"));
    }
}
