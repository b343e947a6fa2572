//! Everything that reads what others have written, for `tests/fuzz.rs` and for `cargo fuzz`
//! (`tests/fuzz/Cargo.toml`). A target is given any text; it must not panic, hang or take much
//! memory, and what it takes for good keeps what its users rely on.

use gastown::agent::{self, Agent};
use gastown::ctl::{events, words};
use gastown::heartbeat::memory::Memory;
use gastown::hooks::config::Program;
use gastown::hooks::events::{Source, word};
use gastown::hooks::report::{self, Report};
use gastown::lifecycle::{mail as letters, request};
use gastown::spawn::sources;
use gastown::terminal::{LOOKS, answer, input, read};
use gastown::tmux::{Screen, Sight, parse_glance, parse_marked};
use gastown::tools::{bd, mail};
use gastown::town::{
    activity, deacon, dialect, docked, env_file, json, marks, ours, patrols, pending, rigs, roles,
    settings, state, wisp,
};

/// What a target is called, what it does with a text, and texts as they should be.
pub type Target = (&'static str, fn(&str), &'static [&'static str]);

/// All of them.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    ("address", address, &["gastown/witness", "gastown-crew-max", "polecat nux (rig: gastown)", "deacon/dogs/a", "mayor/"]),
    ("unit", unit, &["gt-agent@gastown-witness.service", r"gt-agent@a\x2db-crew-m.service"]),
    ("escape", escape, &["a/b", ".x", r"\x2d", "ü"]),
    ("request", a_request, &[r#"{"from":"gastown/witness","action":"cycle","timestamp":"2026-01-16T10:00:00.5Z","reason":"x","mail":{"id":"a"}}"#]),
    ("mails", mails, &[r#"[{"id":"gt-1","from":"gastown/witness","subject":"LIFECYCLE: gastown-witness requesting restart","body":"Action: restart","timestamp":"2026-01-16T10:00:00Z","read":false},
        {"id":"gt-2","from":"mayor/","subject":"POLECAT_STARTED gastown/nux","body":"Session: gt-gastown-nux\nIssue: gt-1","timestamp":"x","read":null}]"#, "null"]),
    ("spawns", spawns, &[r#"[{"rig":"gastown","polecat":"nux","session":"gt-gastown-nux","issue":"gt-1","spawned_at":"2026-01-16T10:00:00Z","mail_id":""}]"#, "null", "[]"]),
    ("heartbeat", heartbeat, &[r#"{"timestamp":"2026-01-16T10:00:00Z","cycle":3,"last_action":"x","healthy_agents":1,"unhealthy_agents":0}"#,
        r#"{"paused":true,"reason":"x","paused_at":"2026-01-16T10:00:00Z","paused_by":"me"}"#]),
    ("town", a_town, &[r#"{"type":"town","version":2,"name":"x"}"#]),
    ("rigs", registry, &[r#"{"version":1,"rigs":{"gastown":{"git_url":"x","added_at":"2025-12-20T00:00:00Z","beads":{"repo":"local","prefix":"gt"}}}}"#,
        r#"{"default_branch":"main"}"#]),
    ("patrols", blocks, &[r#"{"type":"daemon-patrol-config","heartbeat":{"enabled":true,"interval":"3m"},"patrols":{"witness":{"enabled":true,"interval":"1h5m","agent":"x","rigs":["a"]}}}"#]),
    ("settings", theirs, &[r#"{"type":"town-settings","version":1,"default_agent":"x","role_agents":{"witness":"y"},"disabled_patrols":["a"],"operational":{"deacon":{"heartbeat_stale_threshold":"5m"}}}"#,
        r#"{"version":1,"agents":{"x":{"command":"a","args":["b"],"env":{"C":"d"},"ready_prompt_prefix":"> ","ready_delay_ms":10}}}"#,
        r#"{"version":1,"accounts":{"w":{"config_dir":"~/.claude-w"}},"default":"w"}"#]),
    ("own-settings", own, &[r#"{"tmux_socket":"auto","gt_version":"0.2.6","mayor":true,"restart":{"after":"5m"},"terminal":{"asks":"5m"}}"#]),
    ("role", role, &["role = \"witness\"\n[session]\nstart_command = \"exec claude\"\n[env]\nX = \"1\"\n"]),
    ("state", bookkeeping, &[r#"{"running":true,"pid":1,"started_at":"2026-01-16T10:00:00Z","last_heartbeat":"2026-01-16T10:00:00Z","heartbeat_count":3}"#,
        r#"{"version":1,"ticked":"2026-01-16T10:00:00Z","agents":{"gastown/witness":{"restarts":3,"retry":{"count":2,"at":"2026-01-16T10:00:00Z"}}}}"#,
        r#"{"rigs":{"a":"docked"}}"#, r#"{"last_command":"gt","timestamp":"2026-01-16T10:00:00Z"}"#, r#"{"requesting_cycle":true,"x":[1]}"#]),
    ("wisp", wisps, &[r#"{"rig":"a","values":{"status":"parked","auto_restart":false},"blocked":["x"]}"#]),
    ("mark", mark, &["manual\t2026-04-30T08:00:00Z\trunaway costs\n"]),
    ("environment", environment, &["# c\nexport A=\"b \\\" c\"\nB='x'\n"]),
    ("duration", duration, &["1h5m3.5s", "300ms", "-1h"]),
    ("release", release, &["gt version 0.2.6 (dev: main@abc)", r#"{"program":"/x","stamp":"1","release":"0.2.6","error":null,"asked":"2026-01-16T10:00:00Z"}"#]),
    ("beads", beads, &[r#"[{"id":"gt-gastown-witness","title":"x","description":"role_type: witness\nrig: gastown\nagent_state: running","labels":["gt:agent"],"status":"open","issue_type":"agent","updated_at":"2026-01-16T10:00:00Z"}]"#, "[]", "null"]),
    ("panes", panes, &["8|1|a b|%3 812 0 s g ogastown-witness h 99 1 1700000000 rfree:1700000000000:812: gt-gastown-witness"]),
    ("screen", screen, &["R %1 8 0 s g oa h 9 1 5 r gt-a\t80 3\t t1\t8 2 a text\t\t%1 3 1 1 7 1 vi x\ta title\nR %2 9 1 s g o h 9 1 5 r b\t80 1\t\t\t\t%2 0 0 0 0 0 sh\t\nR end\n\x1b[2mhel\x1b[0mlo  \n> R %2\n\n\n"]),
    ("hook", hook, &[r#"{"hook_event_name":"Notification","notification_type":"permission_prompt","message":"May I?","tool_name":"AskUserQuestion","tool_input":{"questions":[{"question":"a","options":[{"label":"b"}]}]}}"#,
        r#"{"type":"agent-turn-complete"}"#]),
    ("report", a_report, &["asks:1700000000000:812:4d6179204920", "free:1:2:"]),
    ("hook-file", hook_file, &[r#"{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"x","timeout":5}]}]}}"#, "notify = [\"a\"]\n[x]\n"]),
    ("journal", journal, &[r#"{"MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5","__REALTIME_TIMESTAMP":"1700000000000000","MESSAGE":"x","GT_AGENT":"deacon"}"#]),
];

fn address(text: &str) {
    if let Ok(agent) = Agent::parse(text) {
        let shown = agent.to_string();
        assert_eq!(Agent::parse(&shown).as_ref(), Ok(&agent), "{shown}");
        assert_eq!(Agent::from_unit(&agent.unit()).as_ref(), Ok(&agent));
        let instance = agent.instance();
        assert!(
            !instance.contains('/') && !instance.starts_with(['.', '-']),
            "{instance}"
        );
        assert!(instance.len() < 200, "{instance}");
    }
}

fn unit(text: &str) {
    for agent in [Agent::from_unit(text), Agent::from_instance(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(Agent::parse(&agent.to_string()), Ok(agent));
    }
}

fn escape(text: &str) {
    let escaped = agent::escape(text);
    assert_eq!(agent::unescape(&escaped).as_deref(), Some(text));
    assert!(!escaped.contains('/'));
    let _ = agent::unescape(text);
    let name = gastown::spool::file_name(text);
    assert!(
        !name.contains('/') && !name.starts_with('.') && name.len() <= 255,
        "{name}"
    );
}

fn a_request(text: &str) {
    let _ = request::Action::parse(text);
    if let Ok(written) = request::Written::parse(text) {
        let _ = (
            Agent::parse(&written.from),
            request::Action::parse(&written.action),
        );
        if let Ok(moment) = request::Moment::parse(&written.timestamp) {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let _ = (moment.until(now), moment.is_before(now));
        }
        let again = serde_json::to_string(&written).expect("it is written again");
        assert_eq!(request::Written::parse(&again), Ok(written));
    }
}

fn mails(text: &str) {
    for mail in mail::parse(text).unwrap_or_default() {
        let written = letters::written(&mail, |text| Agent::parse(text).is_ok(), true);
        assert!(written.action.is_empty() || request::Action::parse(&written.action).is_some());
        let _ = (letters::is_request(&mail), sources::parse_mail(&mail));
        escape(&letters::stem(&mail.id));
    }
}

fn spawns(text: &str) {
    let _ = pending::parse(text);
    for one in pending::parse_list(text).unwrap_or_default() {
        if let Ok(spawn) = pending::parse(one.get()) {
            let _ = spawn.agent();
        }
    }
}

fn heartbeat(text: &str) {
    if let Ok(beat) = deacon::parse(text) {
        let span = jiff::SignedDuration::from_mins(5);
        let _ = deacon::freshness(beat.timestamp, jiff::Timestamp::MAX, span, span);
    }
    let _ = deacon::parse_pause(text);
}

fn a_town(text: &str) {
    let _ = dialect::parse_town(text);
}

fn registry(text: &str) {
    if let Ok(rigs) = rigs::parse(text) {
        for rig in rigs.names() {
            assert!(agent::check_rig(rig).is_ok(), "{rig}");
            assert!(
                agent::is_valid_name(rigs.prefix(rig)),
                "{}",
                rigs.prefix(rig)
            );
        }
        for problem in rigs.problems() {
            assert!(!problem.contains('\x1b'), "{problem:?}");
        }
        let _ = rigs.shared_prefixes();
    }
    let _ = rigs::parse_branch(text);
}

fn blocks(text: &str) {
    let _ = patrols::parse(text);
}

fn theirs(text: &str) {
    let _ = settings::parse(text);
    let _ = settings::parse_agents(text);
    let _ = settings::parse_accounts(text);
}

fn own(text: &str) {
    if let (Ok(file), Ok(settings), Ok(patrols)) = (
        ours::parse(text),
        settings::parse("{}"),
        patrols::parse("{}"),
    ) {
        let ours = ours::Ours::new(&file, &settings, &patrols, dialect::Dialect::NEWEST);
        assert!(!ours.stale.is_negative() && !ours.very_stale.is_negative());
    }
}

fn role(text: &str) {
    let _ = roles::parse(text);
}

fn bookkeeping(text: &str) {
    let _ = json::parse::<Memory>(text);
    let _ = json::parse::<docked::Labels>(text);
    let _ = state::parse(text);
    let _ = activity::parse(text);
    let _ = json::Object::parse(text).and_then(|object| object.get::<bool>("requesting_cycle"));
}

fn wisps(text: &str) {
    let _ = wisp::parse(text);
}

fn mark(text: &str) {
    let note = marks::parse(text).to_string();
    assert!(
        !note.contains(char::is_control) && note.chars().count() < 300,
        "{note:?}"
    );
}

fn environment(text: &str) {
    for (key, _) in env_file::parse(text).unwrap_or_default() {
        assert!(env_file::is_variable(&key), "{key:?}");
    }
}

fn duration(text: &str) {
    let _ = json::duration(text);
}

fn release(text: &str) {
    let _ = dialect::parse_answer(text);
    let _ = dialect::parse_said(text);
}

fn beads(text: &str) {
    let _ = bd::parse(text);
}

fn panes(text: &str) {
    for line in text.lines() {
        let _ = parse_marked(line);
    }
}

fn screen(text: &str) {
    let ids: Vec<String> = (1..4).map(|n| format!("%{n}")).collect();
    let glance = parse_glance(text.into(), "R", &ids).unwrap_or_default();
    let mut shown: Vec<Screen> = glance.sights().map(|(_, sight)| sight.screen).collect();
    shown.extend(Screen::parse("%1 3 1 1 7 0 sh\tt", text.lines()).map(|(_, screen)| screen));
    for screen in shown {
        for look in LOOKS.iter().map(Some).chain([None]) {
            let state = read(&screen, look, &["> ".into()]);
            if let gastown::terminal::State::Asks(question) = &state {
                let _ = (
                    question.headline(),
                    answer::is_open(&Sight::default(), question),
                );
            }
            let _ = input(&screen, look, &[]);
        }
    }
}

fn hook(text: &str) {
    if let Ok(event) = serde_json::from_str(text) {
        for source in [Source::Claude, Source::Codex, Source::Gemini] {
            let _ = word(source, &event);
        }
    }
    let line = report::line(text);
    assert!(!line.contains(char::is_control), "{line:?}");
}

fn a_report(text: &str) {
    if let Some(Report { word, at, pid }) = Report::parse(text) {
        let again = Report::parse(&Report::format(&word, at, pid));
        assert_eq!(again.map(|report| report.word), Some(word));
    }
}

fn hook_file(text: &str) {
    for program in [Program::Claude, Program::Gemini, Program::Codex] {
        if let Ok(with) = program.install(text, "/usr/bin/gastownctl") {
            let again = program.install(&with, "/usr/bin/gastownctl");
            assert_eq!(again.ok().as_deref(), Some(with.as_str()), "{program:?}");
            assert!(program.remove(&with).is_ok(), "{program:?}");
        }
    }
}

fn journal(text: &str) {
    for event in events::parse(text) {
        let _ = event;
    }
    let shown = words::printable(text);
    assert!(!shown.contains('\x1b'));
    assert!(words::clipped(text, 10).chars().count() <= 10);
    let _ = words::wrapped(text, 20);
}
