//! Requests that come by mail to the Deacon.

use super::request::{Action, Origin, Written};
use crate::agent::Agent;
use crate::tools::mail::Mail;

/// Whose mail is read, as `gt` names the Deacon.
pub const IDENTITY: &str = "deacon/";

/// How the subject begins, in upper or lower case.
const SUBJECT: &str = "lifecycle:";

/// The address of the Mayor.
const MAYOR: [&str; 2] = ["mayor/", "mayor"];

/// The most that is kept of a body, in characters: the entry must fit into a spool file.
const BODY_MAX: usize = 4000;

/// Whether a mail is a request that nobody has handled yet.
pub fn is_request(mail: &Mail) -> bool {
    !mail.read && mail.subject.to_lowercase().starts_with(SUBJECT)
}

/// The spool's name of a mail's request.
pub fn stem(id: &str) -> String {
    format!("mail-{id}")
}

/// What a mail asks for, as an entry of the spool; `is_agent` tells whether a text is an address,
/// and `by_subject` whether the town's agents all write as the Mayor, as with the first `gt`. What
/// is not understood becomes an entry too, and is refused with its text kept.
pub fn written(mail: &Mail, is_agent: impl Fn(&str) -> bool, by_subject: bool) -> Written {
    let named = || {
        let who = mail.subject.split_once(':')?.1;
        let (who, _) = requesting(who)?;
        is_agent(who).then(|| who.to_string())
    };
    // The request is for the sender, whatever agent the subject names; only a person's mail may name one.
    let may_name = !is_agent(&mail.from) || (by_subject && MAYOR.contains(&mail.from.as_str()));
    let from = may_name
        .then(named)
        .flatten()
        .unwrap_or_else(|| mail.from.clone());
    let cut = |text: &str| text.chars().take(BODY_MAX).collect();
    Written {
        from,
        action: action(&mail.subject, &mail.body).map_or_else(String::new, |a| a.name().into()),
        timestamp: mail.timestamp.map_or_else(String::new, |t| t.to_string()),
        reason: None,
        mail: Some(Origin {
            id: mail.id.clone(),
            subject: cut(&mail.subject),
            body: cut(&mail.body),
        }),
    }
}

/// Whether a text is an address that a mail may name.
pub fn is_address(agent: impl Fn(&str) -> Option<Agent>) -> impl Fn(&str) -> bool {
    move |text| agent(text).is_some()
}

/// The action of a mail. A JSON object decides by its `action`; else a body that is nothing but
/// an action; else a line `Action: X`; else the subject's `requesting X`.
fn action(subject: &str, body: &str) -> Option<Action> {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    match value {
        Some(serde_json::Value::Object(object)) => {
            // Keys in upper or lower case, and the last one wins: as the first senders had it.
            let mut found = object
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case("action"));
            return Action::parse(found.next_back()?.1.as_str()?);
        }
        Some(serde_json::Value::Null) => return None,
        _ => {}
    }
    let whole = body.trim().to_lowercase();
    let line = |line: &str| labelled(line.trim());
    if whole == "stop" {
        return Some(Action::Shutdown);
    }
    bare(&whole)
        .or_else(|| whole.lines().find_map(line))
        .or_else(|| bare(requesting(&subject.to_lowercase())?.1))
}

/// `action: X`.
fn labelled(line: &str) -> Option<Action> {
    bare(line.strip_prefix("action:")?.trim())
}

/// One of the three words; `stop` is not one of them here.
fn bare(word: &str) -> Option<Action> {
    Action::parse(word).filter(|a| a.name() == word)
}

/// `IDENTITY requesting ACTION`, split.
fn requesting(text: &str) -> Option<(&str, &str)> {
    let (who, what) = text.split_once(" requesting ")?;
    Some((who.trim(), what.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_of_mails() {
        use Action::{Cycle, Restart, Shutdown};
        let x = "LIFECYCLE: x";
        let old = "Lifecycle request from x.\n\nAction: cycle\nTime: now";
        for (subject, body, want) in [
            (
                "LIFECYCLE: x requesting cycle",
                r#"{"action":"cycle"}"#,
                Some(Cycle),
            ),
            ("lifecycle:anything", "  Restart  ", Some(Restart)),
            (x, r#"{"action":"STOP"}"#, Some(Shutdown)),
            (x, r#" {"other":1,"ACTION":"Restart"} "#, Some(Restart)),
            (x, r#"{"action":"cycle","Action":"stop"}"#, Some(Shutdown)),
            (x, "restart", Some(Restart)),
            (x, "Action: Restart", Some(Restart)),
            (x, "shutdown", Some(Shutdown)),
            (x, "action: shutdown\n", Some(Shutdown)),
            (x, "STOP", Some(Shutdown)),
            (x, "cycle", Some(Cycle)),
            (x, "action: cycle", Some(Cycle)),
            (x, "action: stop", None),
            (x, "null", None),
            (x, "{}", None),
            (x, "\"\"", None),
            (x, "", None),
            (x, r#"{"action":null}"#, None),
            (x, r#"{"action":7}"#, None),
            (x, r#"{"action":""}"#, None),
            (x, r#"{"action":"dance"}"#, None),
            (x, "please restart", None),
            // Documented, and never understood before.
            ("LIFECYCLE: x requesting cycle", old, Some(Cycle)),
            (x, old, Some(Cycle)),
            ("LIFECYCLE: x requesting shutdown", "", Some(Shutdown)),
            (
                "Lifecycle: x requesting Restart",
                "I am slow.",
                Some(Restart),
            ),
            ("LIFECYCLE: x requesting cycle", "{}", None),
            ("LIFECYCLE: x requesting a dance", "", None),
        ] {
            assert_eq!(action(subject, body), want, "{subject:?} {body:?}");
        }
    }

    #[test]
    fn which_mails() {
        for (subject, read, want) in [
            ("LIFECYCLE: x", false, true),
            ("lifecycle:", false, true),
            ("LIFECYCLE: x", true, false),
            ("Re: LIFECYCLE: x", false, false),
            ("", false, false),
        ] {
            let mail = Mail {
                subject: subject.into(),
                read,
                ..Mail::default()
            };
            assert_eq!(is_request(&mail), want, "{subject}");
        }
    }

    #[test]
    fn the_sender_asks_for_itself() {
        let naming = |who: &str| format!("LIFECYCLE: {who} requesting cycle");
        // The agent that obeys the mail with a current gt, and with the first one.
        for (from, subject, want, first) in [
            (
                "gastown/witness",
                naming("beads/witness"),
                "gastown/witness",
                "",
            ),
            ("gastown/nux", naming("mayor"), "gastown/nux", ""),
            (
                "mayor/",
                naming("gastown-witness"),
                "mayor/",
                "gastown-witness",
            ),
            ("mayor/", naming("deacon"), "mayor/", "deacon"),
            ("mayor/", naming("mayor"), "mayor/", "mayor"),
            ("mayor/", naming("nobody"), "mayor/", ""),
            ("mayor/", "LIFECYCLE: cycle".into(), "mayor/", ""),
            ("overseer", naming("beads-witness"), "beads-witness", ""),
            ("overseer", naming("nobody"), "overseer", ""),
            ("", "LIFECYCLE:".into(), "", ""),
        ] {
            let mail = Mail {
                id: "m1".into(),
                from: from.into(),
                subject: subject.clone(),
                timestamp: "2026-01-16T09:31:05.25Z".parse().ok(),
                ..Mail::default()
            };
            let is_agent = |text: &str| Agent::parse(text).is_ok();
            let first = if first.is_empty() { want } else { first };
            assert_eq!(written(&mail, is_agent, true).from, first, "{subject}");
            let got = written(&mail, is_agent, false);
            assert_eq!(got.from, want, "{from} {subject}");
            assert_eq!(got.timestamp, "2026-01-16T09:31:05.25Z");
            assert_eq!(got.mail.unwrap().id, "m1");
        }
    }
}
