//! `gt mail`. Without `gt` there is no mail.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{Tools, run};
use crate::town::activity;
use crate::town::json::nullable;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A mail, as far as we read it. Every text is as its sender wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mail {
    /// The mail's id for `gt mail`.
    #[serde(deserialize_with = "nullable")]
    pub id: String,
    /// Its sender, in the form of a mail address.
    #[serde(deserialize_with = "nullable")]
    pub from: String,
    /// Its subject.
    #[serde(deserialize_with = "nullable")]
    pub subject: String,
    /// Its text.
    #[serde(deserialize_with = "nullable")]
    pub body: String,
    /// When it was sent; `None` when that cannot be read.
    #[serde(deserialize_with = "lenient")]
    pub timestamp: Option<Timestamp>,
    /// Whether it counts as read.
    #[serde(deserialize_with = "nullable")]
    pub read: bool,
}

/// `gt` gave no answer, so nobody knows what is in the inbox, or whether the mail was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

/// Reads an odd time as `None`, so that one such mail does not hide the others.
fn lenient<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Timestamp>, D::Error> {
    let value = serde_json::Value::deserialize(de)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

/// The mails of an identity such as `deacon/`, read and unread.
///
/// # Errors
/// `gt` fails, hangs, or says something that is not a list of mails.
pub fn inbox(tools: &Tools, root: &Path, identity: &str) -> Result<Vec<Mail>, Unknown> {
    let Some(mut gt) = tools.command("gt", root) else {
        return Ok(Vec::new());
    };
    gt.args(["mail", "inbox", "--identity", identity, "--json"]);
    parse(&call(&mut gt, "gt mail inbox")?)
}

/// Deletes a mail.
///
/// # Errors
/// `gt` is not there, fails or hangs, or the mail's id is not one.
pub fn delete(tools: &Tools, root: &Path, mail: &Mail) -> Result<(), Unknown> {
    if !is_id(&mail.id) {
        return Err(Unknown(format!("{:?} is not the id of a mail", mail.id)));
    }
    let mut gt = tools.command("gt", root).ok_or_else(absent)?;
    call(gt.args(["mail", "delete", &mail.id]), "gt mail delete").map(drop)
}

/// A directory for TMUX_TMPDIR in which `gt` finds no tmux server: nobody can make a socket there.
const NO_SERVERS: &str = "/proc";

/// Sends a mail. `gt` would also type a notice into the recipient's terminal, whatever is open
/// there: its Escape and Enter would answer a question, or send what a person has begun to write.
/// So `gt` is kept from finding terminals; the mail waits in the inbox.
///
/// # Errors
/// `gt` is not there, fails or hangs: it is not known whether the mail was sent.
pub fn send(
    tools: &Tools,
    root: &Path,
    to: &str,
    subject: &str,
    body: &str,
) -> Result<(), Unknown> {
    let mut gt = tools.command("gt", root).ok_or_else(absent)?;
    gt.args(["mail", "send", to, "-s", subject, "-m", body]);
    gt.env("TMUX_TMPDIR", NO_SERVERS);
    activity::by_us(root, || call(&mut gt, "gt mail send")).map(drop)
}

fn absent() -> Unknown {
    Unknown("There is no 'gt' to send mail with; install it or put it on PATH".into())
}

fn call(command: &mut Command, what: &str) -> Result<String, Unknown> {
    match run(command, LIMIT) {
        Ok(out) if out.status.success() => Ok(out.stdout),
        Ok(out) => Err(Unknown(format!("'{what}' failed: {}", out.complaint()))),
        Err(e) => Err(Unknown(format!("'{what}' {e}"))),
    }
}

/// Whether this may be the id of a mail: `gt` must not take it for an option.
fn is_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.len() <= 200
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Reads what `gt mail inbox --json` prints.
///
/// # Errors
/// The text is no list of mails.
pub fn parse(text: &str) -> Result<Vec<Mail>, Unknown> {
    let list: Result<Option<Vec<Mail>>, _> = serde_json::from_str(text);
    list.map(Option::unwrap_or_default).map_err(|e| {
        Unknown(format!(
            "'gt mail inbox' did not print a list of mails: {e}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::script;

    #[test]
    fn lists_of_both_eras() {
        for text in ["null", "[]", " null\n"] {
            assert_eq!(parse(text), Ok(Vec::new()), "{text}");
        }
        let mails = parse(
            r#"[{"id":"hq-7xk2","from":"gastown/witness","to":"deacon/","subject":"S","body":"B",
                 "timestamp":"2026-01-16T09:31:05.25Z","read":true,"priority":"normal"},
                {"id":"x","body":null,"timestamp":"soon"}]"#,
        )
        .unwrap();
        let want = Mail {
            id: "hq-7xk2".into(),
            from: "gastown/witness".into(),
            subject: "S".into(),
            body: "B".into(),
            timestamp: "2026-01-16T09:31:05.25Z".parse().ok(),
            read: true,
        };
        assert_eq!(mails[0], want);
        assert_eq!((mails[1].id.as_str(), mails[1].timestamp), ("x", None));
    }

    /// What each gt prints. The agents of 0.1.0 all write as the Mayor.
    #[test]
    fn recorded_inboxes() {
        for (empty, inbox, want) in [
            (
                include_str!("../../tests/fixtures/gt-0.1.0/inbox-empty"),
                include_str!("../../tests/fixtures/gt-0.1.0/inbox"),
                [("mayor/", "restart"), ("mayor/", "{\"action\":\"cycle\"}")],
            ),
            (
                include_str!("../../tests/fixtures/gt-0.2.6/inbox-empty"),
                include_str!("../../tests/fixtures/gt-0.2.6/inbox"),
                [("proj/witness", "x"), ("proj/witness", "restart")],
            ),
        ] {
            assert_eq!(parse(empty), Ok(Vec::new()));
            let mails = parse(inbox).unwrap();
            let shown: Vec<_> = mails
                .iter()
                .map(|m| (m.from.as_str(), m.body.as_str()))
                .collect();
            assert_eq!(shown, want);
            let is_whole = |m: &Mail| m.timestamp.is_some() && !m.read && is_id(&m.id);
            assert!(mails.iter().all(is_whole));
        }
    }

    #[test]
    fn no_list_is_not_empty() {
        for text in [
            "",
            "No mail",
            "{}",
            "[1]",
            "warning: x\n[]",
            "[{\"id\":7}]",
            "[] []",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_no_ids() {
        for (id, want) in [
            ("hq-7xk2", true),
            ("gt-a.1", true),
            ("--all", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_id(id), want, "{id}");
        }
    }

    /// The script asks for a session as `gt` does.
    #[test]
    fn a_mail_finds_no_terminal() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".local/bin")).unwrap();
        let socket = format!("-Lgastown-mail-{}", std::process::id());
        let text = format!(
            "#!/bin/sh\ntmux {socket} has-session -t x 2>/dev/null\necho \"$2 $?\" >>said\n"
        );
        script(&dir.path().join(".local/bin/gt"), &text);
        let server = |command: &[&str]| {
            let mut tmux = Command::new("tmux");
            tmux.env_remove("TMUX").env_remove("TMUX_TMPDIR");
            tmux.args(["-f/dev/null", &socket]).args(command).status()
        };
        assert!(server(&["new-session", "-d", "-s", "x"]).unwrap().success());
        let tools = Tools::locate(dir.path());
        let sent = send(&tools, dir.path(), "mayor/", "s", "b");
        // The server is there, for who is not kept from it.
        let read = inbox(&tools, dir.path(), "mayor/");
        server(&["kill-server"]).unwrap();
        sent.unwrap();
        assert!(read.is_err());
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
        assert_eq!(said, "send 1\ninbox 0\n");
    }

    #[test]
    fn gt_is_called_in_the_town() {
        let dir = tempfile::tempdir().unwrap();
        let (home, town) = (dir.path().join("home"), dir.path().join("town"));
        std::fs::create_dir_all(home.join(".local/bin")).unwrap();
        std::fs::create_dir_all(&town).unwrap();
        let tools = Tools::locate(&home);
        // On a machine that has one, it is found.
        if tools.path("gt").is_none() {
            assert_eq!(inbox(&tools, &town, "deacon/"), Ok(Vec::new()));
            assert!(send(&tools, &town, "mayor/", "s", "b").is_err());
        }
        let gt = home.join(".local/bin/gt");
        let text = "#!/bin/sh\necho \"$PWD $*\" >>calls\n[ \"$2\" = inbox ] && echo null\nexit 0\n";
        script(&gt, text);
        let tools = Tools::locate(&home);
        assert_eq!(inbox(&tools, &town, "deacon/"), Ok(Vec::new()));
        let mail = Mail {
            id: "m-1".into(),
            ..Mail::default()
        };
        delete(&tools, &town, &mail).unwrap();
        let calls = std::fs::read_to_string(town.join("calls")).unwrap();
        let at = town.display();
        let want = format!("{at} mail inbox --identity deacon/ --json\n{at} mail delete m-1\n");
        assert_eq!(calls, want);
    }
}
