//! Who: an agent by role, rig and name, and every way in which it is written.
//!
//! An [`Agent`] exists only with valid names, so it may be used in a unit name, a
//! path or a tmux target. Where an agent lives (session, bead, directory) depends on the town:
//! see [`crate::town::Town`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an agent does. The order is that of rank in the town.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Coordinates the town.
    Mayor,
    /// Watches the town.
    Deacon,
    /// Looks after the Deacon.
    Boot,
    /// Runs errands for the Deacon.
    Dog,
    /// Watches the workers of a rig.
    Witness,
    /// Merges the work of a rig.
    Refinery,
    /// A person's own worker in a rig.
    Crew,
    /// A worker of a rig for one issue.
    Polecat,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 8] = [
        Role::Mayor,
        Role::Deacon,
        Role::Boot,
        Role::Dog,
        Role::Witness,
        Role::Refinery,
        Role::Crew,
        Role::Polecat,
    ];

    /// The role in one word, as in `GT_ROLE` and in the keys of settings.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Mayor => "mayor",
            Role::Deacon => "deacon",
            Role::Boot => "boot",
            Role::Dog => "dog",
            Role::Witness => "witness",
            Role::Refinery => "refinery",
            Role::Crew => "crew",
            Role::Polecat => "polecat",
        }
    }

    /// Works in a rig, on no patrol: crew and polecats.
    pub fn is_worker(self) -> bool {
        matches!(self, Role::Crew | Role::Polecat)
    }

    /// Runs only as long as its patrol is on: the Deacon, Witnesses and Refineries.
    pub fn is_patrol(self) -> bool {
        matches!(self, Role::Deacon | Role::Witness | Role::Refinery)
    }

    fn has_rig(self) -> bool {
        self >= Role::Witness
    }

    fn has_name(self) -> bool {
        matches!(self, Role::Dog | Role::Crew | Role::Polecat)
    }
}

/// An agent of the town: a role and, as the role has them, a rig and a name.
/// Sorted, the town's own agents come first, then each rig's together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Agent {
    rig: Option<String>,
    role: Role,
    name: Option<String>,
}

/// The longest rig or agent name, in bytes.
const NAME_MAX: usize = 64;

/// The longest instance, in bytes: a unit name has at most 255, and some of ours contain another's.
const INSTANCE_MAX: usize = 200;

/// No names of rigs: they are directories of the town, or addresses of somebody else.
const RESERVED_RIGS: &[&str] = &["mayor", "deacon", "overseer"];

/// No names of agents: they would be read as roles.
const RESERVED_NAMES: &[&str] = &["witness", "refinery", "mayor", "deacon", "crew", "polecats"];

/// The rule of [`is_valid_name`], in words.
const SHAPE: &str = "1 to 64 ASCII letters, digits, '.', '_' or '-', letter or digit first";

/// The pattern of the units of all agents.
pub const UNITS: &str = "gt-agent@*.service";

const UNIT_PREFIX: &str = "gt-agent@";
const UNIT_SUFFIX: &str = ".service";

/// Why a text is no agent's address. Its message has the text, the reason, and what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    reason: String,
    unsure: bool,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no agent: {}; use mayor, deacon, RIG/witness, RIG/refinery, \
             RIG/crew/NAME or RIG/polecats/NAME",
            self.text, self.reason
        )
    }
}

impl std::error::Error for AddressError {}

impl AddressError {
    /// An error about a text, which may be hostile: it is shown short and without control
    /// characters.
    fn new(text: &str, reason: impl Into<String>) -> Self {
        AddressError {
            text: text.chars().take(80).flat_map(char::escape_debug).collect(),
            reason: reason.into(),
            unsure: false,
        }
    }

    /// Whether the text may be an address: the file that would tell cannot be read.
    pub fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// The reason, without the text and the valid forms.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Whether `name` is fit for a unit name, a path and a tmux target at once: ASCII letters,
/// digits, `.`, `_` and `-`, a letter or digit first, at most 64 in all.
pub fn is_valid_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Checks the name of a rig.
///
/// # Errors
/// The name is not as [`is_valid_name`] asks, or means something else in a town.
pub fn check_rig(rig: &str) -> Result<(), AddressError> {
    if !is_valid_name(rig) {
        Err(AddressError::new(rig, format!("a rig's name is {SHAPE}")))
    } else if RESERVED_RIGS.contains(&rig) {
        Err(AddressError::new(rig, "this is not the name of a rig"))
    } else {
        Ok(())
    }
}

impl Agent {
    /// An agent from its parts.
    ///
    /// # Errors
    /// A rig or a name is missing though the role needs it, is given though the role has none, or
    /// is not valid.
    pub fn new(role: Role, rig: Option<&str>, name: Option<&str>) -> Result<Agent, AddressError> {
        let agent = Agent {
            rig: rig.map(String::from),
            role,
            name: name.map(String::from),
        };
        let fail = |reason: String| Err(AddressError::new(&agent.to_string(), reason));
        for (what, wanted, given) in [
            ("rig", role.has_rig(), rig.is_some()),
            ("name", role.has_name(), name.is_some()),
        ] {
            if wanted != given {
                let verb = if wanted { "needs a" } else { "has no" };
                return fail(format!("{} {verb} {what}", role.name()));
            }
        }
        if let Some(Err(e)) = rig.map(check_rig) {
            return fail(e.reason);
        }
        if let Some(name) = name {
            if !is_valid_name(name) {
                return fail(format!("a name is {SHAPE}"));
            }
            if RESERVED_NAMES.contains(&name) || (role == Role::Dog && name == "boot") {
                return fail(format!("'{name}' is not a name but a role"));
            }
        }
        if agent.instance().len() > INSTANCE_MAX {
            return fail("its unit name would be too long".into());
        }
        Ok(agent)
    }

    /// The Mayor.
    pub fn mayor() -> Agent {
        Agent::of_town(Role::Mayor)
    }

    /// The Deacon.
    pub fn deacon() -> Agent {
        Agent::of_town(Role::Deacon)
    }

    fn of_town(role: Role) -> Agent {
        Agent {
            rig: None,
            role,
            name: None,
        }
    }

    /// Reads any form in which an agent is written: bare, slash, dash, or as in a start prompt.
    /// `RIG/NAME` means the polecat.
    ///
    /// # Errors
    /// The text is none of these forms, or a name in it is not valid.
    pub fn parse(text: &str) -> Result<Agent, AddressError> {
        Agent::parse_with(text, |_, _| Ok(false))
    }

    /// Like [`Agent::parse`], but asks `is_crew` whether the NAME of `RIG/NAME` is crew; its error
    /// says why that is not known.
    ///
    /// # Errors
    /// As [`Agent::parse`], or it is not known whether this is crew.
    pub fn parse_with(
        text: &str,
        is_crew: impl Fn(&str, &str) -> Result<bool, String>,
    ) -> Result<Agent, AddressError> {
        let trimmed = text.trim();
        let parts: Vec<&str> = trimmed
            .strip_suffix('/')
            .unwrap_or(trimmed)
            // No form has more than three parts; the text may be of any length.
            .splitn(4, '/')
            .collect();
        let agent = match parts[..] {
            [one] => match beacon(one) {
                Some(agent) => agent,
                None => dashed(one),
            },
            ["deacon", "boot"] => Ok(Agent::of_town(Role::Boot)),
            ["deacon", "dogs", name] => Agent::new(Role::Dog, None, Some(name)),
            // Mail addresses of some releases put the town's roles under a rig.
            [rig, "mayor"] => check_rig(rig).map(|()| Agent::mayor()),
            [rig, "deacon"] => check_rig(rig).map(|()| Agent::deacon()),
            [rig, "witness"] => Agent::new(Role::Witness, Some(rig), None),
            [rig, "refinery"] => Agent::new(Role::Refinery, Some(rig), None),
            [rig, "crew", name] => Agent::new(Role::Crew, Some(rig), Some(name)),
            [rig, "polecats", name] => Agent::new(Role::Polecat, Some(rig), Some(name)),
            [rig, name] => Agent::new(Role::Polecat, Some(rig), Some(name)).and_then(|agent| {
                match is_crew(rig, name) {
                    Ok(true) => Agent::new(Role::Crew, Some(rig), Some(name)),
                    Ok(false) => Ok(agent),
                    Err(why) => Err(AddressError {
                        unsure: true,
                        ..AddressError::new(
                            text,
                            format!("it is not known whether it is crew: {why}"),
                        )
                    }),
                }
            }),
            _ => Err(AddressError::new(text, "unknown form")),
        };
        agent.map_err(|e| AddressError {
            unsure: e.unsure,
            ..AddressError::new(text, e.reason)
        })
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The rig, for the roles that have one.
    pub fn rig(&self) -> Option<&str> {
        self.rig.as_deref()
    }

    /// The name, for the roles of which there are several.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The role in one word.
    pub fn role_name(&self) -> &'static str {
        self.role.name()
    }

    /// Rig and name, empty where the role has none.
    fn parts(&self) -> (&str, &str) {
        (
            self.rig().unwrap_or_default(),
            self.name().unwrap_or_default(),
        )
    }

    /// The dash form: `gastown-crew-max`. Not unique: rigs and names may have dashes too.
    pub fn dash(&self) -> String {
        match self.role {
            Role::Polecat => {
                let (rig, name) = self.parts();
                format!("{rig}-polecat-{name}")
            }
            _ => self.to_string().replace('/', "-"),
        }
    }

    /// What beads and mail call the agent (`BD_ACTOR`).
    pub fn bd_actor(&self) -> String {
        match self.role {
            Role::Boot => "deacon-boot".into(),
            _ => self.to_string(),
        }
    }

    /// The form for prompts, without a slash so that it is not taken for a path:
    /// `crew max (rig: gastown)`.
    pub fn beacon(&self) -> String {
        let mut text = self.role_name().to_string();
        if let Some(name) = self.name() {
            text = format!("{text} {name}");
        }
        match self.rig() {
            Some(rig) => format!("{text} (rig: {rig})"),
            None => text,
        }
    }

    /// The instance of the agent's unit: the slash form, escaped by systemd's rules.
    pub fn instance(&self) -> String {
        escape(&self.to_string())
    }

    /// The agent's unit, `gt-agent@INSTANCE.service`.
    pub fn unit(&self) -> String {
        format!("{UNIT_PREFIX}{}{UNIT_SUFFIX}", self.instance())
    }

    /// The agent of a unit instance, as systemd passes it by `%i`.
    ///
    /// # Errors
    /// The text is not what [`Agent::instance`] gives for any agent.
    pub fn from_instance(instance: &str) -> Result<Agent, AddressError> {
        let fail = || AddressError::new(instance, "this is no instance of gt-agent@.service");
        let agent = unescape(instance)
            .ok_or_else(fail)
            .and_then(|slash| Agent::parse(&slash).map_err(|_| fail()))?;
        if agent.instance() == instance {
            Ok(agent)
        } else {
            Err(fail())
        }
    }

    /// The agent of a unit name.
    ///
    /// # Errors
    /// `unit` is not the name of an instance of `gt-agent@.service`, or as
    /// [`Agent::from_instance`].
    pub fn from_unit(unit: &str) -> Result<Agent, AddressError> {
        unit.strip_prefix(UNIT_PREFIX)
            .and_then(|rest| rest.strip_suffix(UNIT_SUFFIX))
            .ok_or_else(|| AddressError::new(unit, "this is no unit of an agent"))
            .and_then(Agent::from_instance)
    }
}

impl fmt::Display for Agent {
    /// The slash form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rig, name) = self.parts();
        match self.role {
            Role::Mayor | Role::Deacon => f.write_str(self.role_name()),
            Role::Boot => f.write_str("deacon/boot"),
            Role::Dog => write!(f, "deacon/dogs/{name}"),
            Role::Witness | Role::Refinery => write!(f, "{rig}/{}", self.role_name()),
            Role::Crew => write!(f, "{rig}/crew/{name}"),
            Role::Polecat => write!(f, "{rig}/polecats/{name}"),
        }
    }
}

impl FromStr for Agent {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Agent, AddressError> {
        Agent::parse(text)
    }
}

impl TryFrom<String> for Agent {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Agent, AddressError> {
        Agent::parse(&text)
    }
}

impl From<Agent> for String {
    fn from(agent: Agent) -> String {
        agent.to_string()
    }
}

/// `crew max (rig: gastown)`, `dog alpha`, `mayor`. `None`: not of this form.
fn beacon(text: &str) -> Option<Result<Agent, AddressError>> {
    let (who, rig) = match text.strip_suffix(')') {
        Some(rest) => rest
            .split_once(" (rig: ")
            .map(|(who, rig)| (who, Some(rig)))?,
        None => (text, None),
    };
    let (role, name) = match who.split_once(' ') {
        Some((role, name)) => (role, Some(name)),
        None => (who, None),
    };
    let role = match role {
        "mayor" => Role::Mayor,
        "deacon" => Role::Deacon,
        "boot" => Role::Boot,
        "dog" => Role::Dog,
        "witness" => Role::Witness,
        "refinery" => Role::Refinery,
        "crew" => Role::Crew,
        "polecat" => Role::Polecat,
        _ => return None,
    };
    Some(Agent::new(role, rig, name))
}

/// The dash forms. The first rule that fits decides, and the first dash that fits splits, as in
/// Gas Town; the last three rules are ours, so that an instance without escapes is an address too.
fn dashed(text: &str) -> Result<Agent, AddressError> {
    let named = |role, (rig, name)| Agent::new(role, Some(rig), Some(name));
    if text == "overseer" {
        Err(AddressError::new(
            text,
            "the overseer is a person, not an agent",
        ))
    } else if let Some(rig) = text.strip_suffix("-witness") {
        Agent::new(Role::Witness, Some(rig), None)
    } else if let Some(rig) = text.strip_suffix("-refinery") {
        Agent::new(Role::Refinery, Some(rig), None)
    } else if let Some(parts) = text.split_once("-crew-") {
        named(Role::Crew, parts)
    } else if let Some(parts) = text.split_once("-polecat-") {
        named(Role::Polecat, parts)
    } else if let Some(parts) = text.split_once("-polecats-") {
        named(Role::Polecat, parts)
    } else if text == "deacon-boot" {
        Ok(Agent::of_town(Role::Boot))
    } else if let Some(name) = text.strip_prefix("deacon-dogs-") {
        Agent::new(Role::Dog, None, Some(name))
    } else {
        Err(AddressError::new(text, "unknown form"))
    }
}

/// systemd-escape: `/` becomes `-`; what is not an ASCII letter, a digit, `:`, `_` or `.`, and a
/// leading `.`, becomes `\xNN`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if i == 0 => out.push_str(r"\x2e"),
            b':' | b'_' | b'.' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!(r"\x{byte:02x}")),
        }
    }
    out
}

/// The reverse of [`escape`]; `None` for a broken escape or text that is not UTF-8.
pub fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'-' => b'/',
            b'\\' => {
                if bytes.next()? != b'x' {
                    return None;
                }
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_an_address() {
        for (text, want) in [
            ("mayor", "mayor"),
            ("mayor/", "mayor"),
            (" deacon/ ", "deacon"),
            ("deacon/boot", "deacon/boot"),
            ("deacon-boot", "deacon/boot"),
            ("boot", "deacon/boot"),
            ("deacon/dogs/alpha", "deacon/dogs/alpha"),
            ("deacon-dogs-alpha", "deacon/dogs/alpha"),
            ("dog alpha", "deacon/dogs/alpha"),
            ("gastown/mayor", "mayor"),
            ("gastown/deacon", "deacon"),
            ("gastown/witness", "gastown/witness"),
            ("gastown/witness/", "gastown/witness"),
            ("gastown-witness", "gastown/witness"),
            ("witness (rig: gastown)", "gastown/witness"),
            ("gastown/refinery", "gastown/refinery"),
            ("gastown-refinery", "gastown/refinery"),
            ("gastown/crew/max", "gastown/crew/max"),
            ("gastown-crew-max", "gastown/crew/max"),
            ("crew max (rig: gastown)", "gastown/crew/max"),
            ("gastown/polecats/nux", "gastown/polecats/nux"),
            ("gastown-polecat-nux", "gastown/polecats/nux"),
            ("gastown-polecats-nux", "gastown/polecats/nux"),
            ("gastown/nux", "gastown/polecats/nux"),
            ("polecat nux (rig: gastown)", "gastown/polecats/nux"),
            // First match wins, the first occurrence splits.
            ("a-crew-b-crew-c", "a/crew/b-crew-c"),
            ("x-crew-y-witness", "x-crew-y/witness"),
            ("a-b-witness", "a-b/witness"),
            ("a.b/c_d", "a.b/polecats/c_d"),
        ] {
            assert_eq!(
                Agent::parse(text).map(|a| a.to_string()),
                Ok(want.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_text_and_a_reason() {
        let long = format!("{}/witness", "r".repeat(65));
        let wide = format!("a{}/polecats/b{}", "-".repeat(60), "-".repeat(60));
        for (text, reason) in [
            ("", "unknown form"),
            ("/", "unknown form"),
            ("overseer", "the overseer is a person, not an agent"),
            ("gastown", "unknown form"),
            ("gastown/crew", "'crew' is not a name but a role"),
            (
                "gastown/polecats/witness",
                "'witness' is not a name but a role",
            ),
            ("deacon/dogs/boot", "'boot' is not a name but a role"),
            ("deacon/nux", "this is not the name of a rig"),
            ("witness", "witness needs a rig"),
            ("crew (rig: gastown)", "crew needs a name"),
            ("mayor max", "mayor has no name"),
            ("a/b/c/d", "unknown form"),
            ("../witness", "a rig's name is"),
            ("a/crew/..", "a name is"),
            ("a/crew/-x", "a name is"),
            ("a/crew/x;y", "a name is"),
            ("a/crew/é", "a name is"),
            ("a\n/witness", "a rig's name is"),
            ("a//witness", "unknown form"),
            (&long, "a rig's name is"),
            (&wide, "its unit name would be too long"),
        ] {
            let error = Agent::parse(text).unwrap_err();
            assert!(error.reason().starts_with(reason), "{text}: {error}");
            assert!(!error.to_string().contains('\n'), "{text}");
        }
        assert_eq!(
            Agent::parse("x\u{1b}[2J").unwrap_err().to_string(),
            "'x\\u{1b}[2J' is no agent: unknown form; use mayor, deacon, RIG/witness, \
             RIG/refinery, RIG/crew/NAME or RIG/polecats/NAME"
        );
    }

    #[test]
    fn the_short_form_is_crew_where_the_town_says_so() {
        let is_crew = |rig: &str, name: &str| match rig {
            "gastown" => Ok(name == "max"),
            _ => Err("no answer".to_string()),
        };
        let parse = |text| Agent::parse_with(text, is_crew);
        let unknown = parse("beads/max").unwrap_err();
        assert!(unknown.is_unsure() && !parse("../max").unwrap_err().is_unsure());
        let unknown = unknown.to_string();
        let want = "'beads/max' is no agent: it is not known whether it is crew: no answer";
        assert!(unknown.starts_with(want), "{unknown}");
        for (text, want) in [
            ("gastown/max", "gastown/crew/max"),
            ("gastown/nux", "gastown/polecats/nux"),
            ("gastown/polecats/max", "gastown/polecats/max"),
            ("gastown/witness", "gastown/witness"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn one_agent_in_all_its_forms() {
        for (slash, instance, dash, actor, beacon) in [
            ("mayor", "mayor", "mayor", "mayor", "mayor"),
            (
                "deacon/boot",
                "deacon-boot",
                "deacon-boot",
                "deacon-boot",
                "boot",
            ),
            (
                "deacon/dogs/alpha",
                "deacon-dogs-alpha",
                "deacon-dogs-alpha",
                "deacon/dogs/alpha",
                "dog alpha",
            ),
            (
                "a-b/witness",
                r"a\x2db-witness",
                "a-b-witness",
                "a-b/witness",
                "witness (rig: a-b)",
            ),
            (
                "a.b/crew/m_x",
                "a.b-crew-m_x",
                "a.b-crew-m_x",
                "a.b/crew/m_x",
                "crew m_x (rig: a.b)",
            ),
            (
                "gastown/polecats/nux",
                "gastown-polecats-nux",
                "gastown-polecat-nux",
                "gastown/polecats/nux",
                "polecat nux (rig: gastown)",
            ),
        ] {
            let agent = Agent::parse(slash).unwrap();
            assert_eq!(agent.instance(), instance);
            assert_eq!(agent.unit(), format!("gt-agent@{instance}.service"));
            assert_eq!(agent.dash(), dash);
            assert_eq!(agent.bd_actor(), actor);
            assert_eq!(agent.beacon(), beacon);
        }
    }

    #[test]
    fn escapes_as_systemd_does() {
        for (text, want) in [
            ("gastown/crew/max", "gastown-crew-max"),
            ("a-b/witness", r"a\x2db-witness"),
            (".a.b", r"\x2ea.b"),
            ("a b:c_d\\é", r"a\x20b:c_d\x5c\xc3\xa9"),
        ] {
            assert_eq!(escape(text), want);
            assert_eq!(unescape(want).as_deref(), Some(text));
        }
        for broken in [r"a\", r"a\x", r"a\x2", r"a\y2d", r"a\xzz", r"a\xff"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
    }

    #[test]
    fn only_exact_instances_and_units_are_taken_back() {
        for unit in [
            "gt-agent@gastown-witness.timer",
            "gt-agent@.service",
            "gt-agent@gastown-max.service",
            "gt-agent@a-b-witness.service",
            r"gt-agent@gastown\x2dwitness.service",
            r"gt-agent@gastown-crew-m\x61x.service",
            "gt-tmux.service",
        ] {
            assert!(Agent::from_unit(unit).is_err(), "{unit}");
        }
    }

    #[test]
    fn json_is_the_slash_form() {
        let agent = Agent::parse("gastown-crew-max").unwrap();
        let json = serde_json::to_string(&agent).unwrap();
        assert_eq!(json, "\"gastown/crew/max\"");
        assert_eq!(serde_json::from_str::<Agent>(&json).unwrap(), agent);
        assert!(serde_json::from_str::<Agent>("\"../x/witness\"").is_err());
    }

    #[test]
    fn the_towns_agents_sort_first() {
        let mut agents: Vec<Agent> = ["b/witness", "a/polecats/x", "deacon", "a/witness", "mayor"]
            .iter()
            .map(|text| Agent::parse(text).unwrap())
            .collect();
        agents.sort();
        let sorted: Vec<String> = agents.iter().map(Agent::to_string).collect();
        assert_eq!(
            sorted,
            ["mayor", "deacon", "a/witness", "a/polecats/x", "b/witness"]
        );
    }

    fn any_agent() -> impl Strategy<Value = Agent> {
        let role = prop::sample::select(&Role::ALL[..]);
        // Few letters, so that look-alikes such as `a-crew-b` come up often.
        let name = || "(a|b|crew|witness|polecats|x.y)(-(a|b|crew|witness|_)){0,3}";
        (role, name(), name()).prop_filter_map("reserved", |(role, rig, name)| {
            Agent::new(
                role,
                role.has_rig().then_some(rig.as_str()),
                role.has_name().then_some(name.as_str()),
            )
            .ok()
        })
    }

    proptest! {
        #[test]
        fn forms_round_trip(agent in any_agent()) {
            for back in [
                Agent::parse(&agent.to_string()),
                Agent::parse(&agent.beacon()),
                Agent::from_instance(&agent.instance()),
                Agent::from_unit(&agent.unit()),
            ] {
                prop_assert_eq!(back, Ok(agent.clone()));
            }
        }

        #[test]
        fn no_two_agents_share_an_instance(a in any_agent(), b in any_agent()) {
            prop_assert_eq!(a == b, a.instance() == b.instance());
        }

        #[test]
        fn hostile_text_gives_a_safe_agent_or_an_error(text in ".*") {
            if let Ok(agent) = Agent::parse(&text) {
                let safe = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
                prop_assert!(agent.to_string().chars().all(safe));
            }
        }
    }
}
