//! `gt-agent check`: the one gate that every start passes, whoever asks for it.

use crate::agent::{Agent, Role};
use crate::alert;
use crate::exit::Exit;
use crate::journal;
use crate::session::whose;
use crate::systemd::Systemd;
use crate::town::{Town, marks};

/// Tells systemd whether to go on: [`Exit::Ok`] or [`Exit::Failure`], with the reason in the
/// journal. Configuration errors pass: the start itself reports them, and fails visibly.
pub fn check(instance: Option<&str>) -> Exit {
    let Some(reason) = refusal(instance) else {
        return Exit::Ok;
    };
    let agent = match instance {
        Some(instance) => {
            Agent::from_instance(instance).map_or_else(|_| instance.to_string(), String::from)
        }
        None => "the tmux server".to_string(),
    };
    log::warn!(message_id = journal::AGENT_REFUSED, gt_agent = agent.as_str(), gt_reason = reason.as_str();
        "Refused to start {agent}: {reason}");
    Exit::Failure
}

/// Why a polecat is not to be started: so many of its rig gave up that whatever ends them would end
/// this one, too.
pub fn storm(agent: &Agent) -> Option<String> {
    let rig = agent.rig().filter(|_| agent.role() == Role::Polecat)?;
    let count = Systemd::connect()
        .and_then(|systemd| alert::gave_up_in(&systemd, rig))
        .ok()?;
    (count >= alert::STORM).then(|| alert::storm(rig, count))
}

/// Why a start of the agent is refused; without an instance, why one of the tmux server is.
pub fn refusal(instance: Option<&str>) -> Option<String> {
    if let Ok(true) = Systemd::connect().and_then(|s| s.town_is_stopped()) {
        return Some("the town is stopped; start it with 'gastownctl up'".into());
    }
    let agent = Agent::from_instance(instance?).ok()?;
    let town = Town::load().ok()?;
    if let Some(lack) = town.lack(&agent) {
        return Some(lack);
    }
    if let Some(refusal) = marks::refusal(&town, &agent) {
        return Some(refusal.to_string());
    }
    // If tmux fails here, the start fails, too, and says why.
    let elsewhere = whose::elsewhere(&town, &agent).ok().flatten();
    if let Some(place) = elsewhere {
        return Some(format!("it runs already, in {place}, and never twice"));
    }
    storm(&agent)
}
