//! Which of Gas Town's conventions the town follows: those of the `gt` in use. Each convention
//! holds since a release of its own, so a town made by one `gt` and used with another one has
//! names that neither a version of `mayor/town.json` nor a single "era" could tell.
//!
//! The releases are those whose sources were read; `mayor/town.json` is of version 2 since 0.1.1.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{json, socket};

/// What `gt version` last said, below the town's root. Written by [`crate::tools::gt::ask`].
pub const FILE: &str = "daemon/gt.json";

/// The socket that the town's tmux server was started for, below the town's root.
pub const SOCKET_FILE: &str = "daemon/tmux-socket";

/// tmux's own default socket.
pub const DEFAULT_SOCKET: &str = "default";

/// A release of `gt`: major, minor and patch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

/// The oldest release that there is.
const OLDEST: Release = Release(0, 1, 0);

/// The newest release whose conventions are known here; a later one counts as having the same.
const NEWEST: Release = Release(1, 0, 1);

impl FromStr for Release {
    type Err = anyhow::Error;

    /// Reads `0.2.6`, also with a leading `v`, and with what follows a `-` or `+` left out.
    fn from_str(text: &str) -> Result<Release> {
        let bad = || anyhow!("{text:?} is not a release of gt such as \"0.2.6\"");
        let plain = text.strip_prefix('v').unwrap_or(text);
        let plain = plain.split(['-', '+']).next().unwrap_or_default();
        let numbers: Option<Vec<u32>> = plain
            .split('.')
            .map(|part| {
                let is_number = part.bytes().all(|b| b.is_ascii_digit());
                part.parse().ok().filter(|_| is_number)
            })
            .collect();
        match numbers.ok_or_else(bad)?[..] {
            [major, minor] => Ok(Release(major, minor, 0)),
            [major, minor, patch] => Ok(Release(major, minor, patch)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_str(self)
    }
}

/// Where a town's sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    /// The server that tmux uses by itself.
    Default,
    /// A server called as the town's directory.
    Named,
    /// One called as the directory, with a hash of its path.
    Hashed,
}

/// Where each release has its sessions. Releases from 0.10 to 0.12 went to and fro.
const SOCKETS: [(Release, Socket); 5] = [
    (Release(0, 9, 0), Socket::Hashed),
    (Release(0, 10, 0), Socket::Default),
    (Release(0, 11, 0), Socket::Named),
    (Release(0, 12, 0), Socket::Default),
    (Release(0, 13, 0), Socket::Hashed),
];

/// The conventions of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect(Release);

impl Dialect {
    /// Those of the first releases.
    pub const OLDEST: Dialect = Dialect(OLDEST);

    /// Those of the newest release that is known here.
    pub const NEWEST: Dialect = Dialect(NEWEST);

    /// One release for each way in which sessions have been called.
    pub const OF_NAMES: [Dialect; 3] = [
        Dialect(OLDEST),
        Dialect(Release(0, 2, 1)),
        Dialect(Release(0, 7, 0)),
    ];

    /// The conventions of a release.
    pub fn of(release: Release) -> Dialect {
        Dialect(release)
    }

    /// The release.
    pub fn release(self) -> Release {
        self.0
    }

    /// Whether the release is this one or a later one.
    fn since(self, major: u32, minor: u32, patch: u32) -> bool {
        self.0 >= Release(major, minor, patch)
    }

    /// It is that of the first releases, from before any that has a number of its own.
    pub fn is_first(self) -> bool {
        !self.since(0, 1, 1)
    }

    /// The sessions of Mayor and Deacon begin with `hq-`, not with `gt-`.
    pub fn has_hq_sessions(self) -> bool {
        self.since(0, 2, 1)
    }

    /// So do those of Boot and of dogs.
    pub fn has_hq_helpers(self) -> bool {
        self.since(0, 7, 0)
    }

    /// The sessions of a rig's agents begin with the rig's prefix, not with `gt-<rig>`.
    pub fn has_prefix_sessions(self) -> bool {
        self.since(0, 7, 0)
    }

    /// The beads of a rig's agents are `<prefix>-<rig>-witness`, not `gt-witness-<rig>`.
    pub fn has_prefix_beads(self) -> bool {
        self.since(0, 1, 1)
    }

    /// The beads of the town's agents begin with `hq-`, not with `gt-`.
    pub fn has_hq_beads(self) -> bool {
        self.since(0, 2, 0)
    }

    /// The Mayor works in `mayor/`, not in the town's root: from 0.2.2 to 0.2.5, and since 0.6.0.
    pub fn has_mayor_dir(self) -> bool {
        self.since(0, 6, 0) || (self.since(0, 2, 2) && !self.since(0, 2, 6))
    }

    /// The daemon pokes the Deacon and the Witnesses at each of its ticks.
    pub fn pokes_by_tick(self) -> bool {
        self.is_first()
    }

    /// Every program that sends mail for the town does so as `mayor/`, whoever runs it; only
    /// Polecats and Crew are told from it.
    pub fn mails_as_mayor(self) -> bool {
        self.is_first()
    }

    /// `GT_ROLE` is an address such as `gastown/witness`, not a role; and with it came the other
    /// variables of current agents.
    pub fn has_address_roles(self) -> bool {
        self.since(0, 6, 0)
    }

    /// claude is given the settings of its role by `--settings`.
    pub fn passes_settings(self) -> bool {
        self.since(0, 6, 0)
    }

    /// How an agent that is told so, or a hook, asks for its context. Older ones do not know the
    /// option, or wait with it for the end of an input that does not end.
    pub fn prime(self) -> &'static str {
        match self.since(0, 6, 0) {
            true => "gt prime --hook",
            false => "gt prime",
        }
    }

    /// The CLAUDE.md in the town's root, which every agent of the town reads, is for the Mayor.
    pub fn has_mayor_text(self) -> bool {
        !self.since(0, 6, 0)
    }

    /// The environment of polecats and of the Refinery names the beads of their rig, which breaks
    /// the search by prefix that later ones have.
    pub fn names_beads(self) -> bool {
        self.is_first()
    }

    /// People change roles by `roles/<role>.toml`.
    pub fn has_role_files(self) -> bool {
        self.since(0, 5, 0)
    }

    /// It can start nothing on a tmux server without a session.
    pub fn needs_session(self) -> bool {
        !self.since(0, 5, 0)
    }

    /// The daemon keeps the Mayor running.
    pub fn keeps_mayor(self) -> bool {
        self.since(0, 6, 0)
    }

    /// The tmux socket of the town at `root`, a name for `tmux -L`.
    pub fn socket(self, root: &Path) -> String {
        let last = SOCKETS.iter().rev().find(|(since, _)| self.0 >= *since);
        match last.map_or(Socket::Default, |(_, socket)| *socket) {
            Socket::Default => DEFAULT_SOCKET.into(),
            Socket::Named => socket::base(root),
            Socket::Hashed => socket::hashed(root),
        }
    }

    /// Every socket that a release could have the town's sessions on.
    pub fn sockets(root: &Path) -> [String; 3] {
        [
            DEFAULT_SOCKET.into(),
            socket::base(root),
            socket::hashed(root),
        ]
    }
}

/// What is known of the `gt` in use: [`FILE`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The program that was asked.
    pub program: PathBuf,
    /// What told that file from others when it was asked: inode, size and time.
    pub stamp: String,
    /// The last release that it, or its predecessor, told.
    pub release: Option<Release>,
    /// Why this file did not tell its release.
    pub error: Option<String>,
    /// When it was asked.
    pub asked: Option<Timestamp>,
}

/// Reads [`FILE`].
///
/// # Errors
/// The text is not its JSON.
pub fn parse_said(text: &str) -> Result<Said> {
    json::parse(text)
}

/// Reads what `gt version` prints: `gt version 0.2.6 (dev: main@abc)`, perhaps after warnings.
///
/// # Errors
/// No line says a release.
pub fn parse_answer(text: &str) -> Result<Release> {
    let said = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("gt version "));
    let release = said.and_then(|rest| rest.split_whitespace().next());
    release
        .and_then(|release| release.parse().ok())
        .ok_or_else(|| {
            let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
            anyhow!("it names no release: '{shown}'")
        })
}

/// What `mayor/town.json` tells where there is no `gt`.
///
/// # Errors
/// The text is not the JSON of a town.
pub fn parse_town(text: &str) -> Result<Dialect> {
    let town: BTreeMap<String, Value> = serde_json::from_str(text)?;
    match town.get("version") {
        None | Some(Value::Null) => Ok(Dialect::OLDEST),
        Some(version) => match version.as_i64() {
            Some(2..) => Ok(Dialect::NEWEST),
            Some(_) => Ok(Dialect::OLDEST),
            None => Err(anyhow!("'version' is not a whole number")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gt_version_prints() {
        for (text, want) in [
            ("gt version 0.1.0 (dev)\n", Some("0.1.0")),
            ("gt version 0.2.6 (dev: main@5a5652565)", Some("0.2.6")),
            ("gt version 1.0.1 (release: a8bd79bf8)", Some("1.0.1")),
            ("gt version v0.7.0", Some("0.7.0")),
            ("gt version 0.9.0-rc1+x (dev)", Some("0.9.0")),
            ("gt version 2.0 (dev)", Some("2.0.0")),
            (
                "WARNING: built by go build\n  gt version 0.13.0 (dev)\n",
                Some("0.13.0"),
            ),
            ("gt version unknown", None),
            ("gt version (dev)", None),
            ("gt version 0.x.1", None),
            ("gt version 1", None),
            ("gt version 1.2.3.4", None),
            ("gt version +1.2.3", None),
            ("gt version 99999999999.0.0", None),
            ("0.2.6", None),
            ("", None),
        ] {
            let got = parse_answer(text).ok().map(|release| release.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    /// What the real programs print.
    #[test]
    fn recorded_versions() {
        for (text, want) in [
            (
                include_str!("../../tests/fixtures/gt-0.1.0/version"),
                "0.1.0",
            ),
            (
                include_str!("../../tests/fixtures/gt-0.2.6/version"),
                "0.2.6",
            ),
            (
                include_str!("../../tests/fixtures/gt-1.0.1/version"),
                "1.0.1",
            ),
        ] {
            assert_eq!(parse_answer(text).unwrap().to_string(), want);
        }
    }

    #[test]
    fn each_convention_since_its_release() {
        let root = Path::new("/");
        let hashed = socket::hashed(root);
        let line = |d: Dialect| {
            let flags = [
                d.has_prefix_beads(),
                d.has_hq_beads(),
                d.has_hq_sessions(),
                d.has_address_roles(),
                d.has_prefix_sessions(),
                d.has_hq_helpers(),
            ];
            let socket = match d.socket(root) {
                s if s == DEFAULT_SOCKET => "-",
                s if s == hashed => "hash",
                _ => "name",
            };
            let count = flags.iter().filter(|flag| **flag).count();
            // They came one after the other.
            assert!(flags[..count].iter().all(|flag| *flag), "{d:?}");
            format!("{count} {socket}")
        };
        for (release, want) in [
            ("0.1.0", "0 -"),
            ("0.1.1", "1 -"),
            ("0.2.0", "2 -"),
            ("0.2.1", "3 -"),
            ("0.2.6", "3 -"),
            ("0.5.0", "3 -"),
            ("0.6.0", "4 -"),
            ("0.7.0", "6 -"),
            ("0.8.0", "6 -"),
            ("0.9.0", "6 hash"),
            ("0.10.0", "6 -"),
            ("0.12.1", "6 -"),
            ("0.13.0", "6 hash"),
            ("1.0.1", "6 hash"),
            ("17.3.0", "6 hash"),
        ] {
            assert_eq!(line(Dialect(release.parse().unwrap())), want, "{release}");
        }
        let named = Dialect(Release(0, 11, 0)).socket(Path::new("/srv/My Town"));
        assert_eq!(named, "my-town");
    }

    #[test]
    fn towns_without_gt() {
        for (text, want) in [
            (r#"{"type":"town","version":2}"#, Ok(Dialect::NEWEST)),
            (r#"{"version":3}"#, Ok(Dialect::NEWEST)),
            (r#"{"version":1}"#, Ok(Dialect::OLDEST)),
            (r#"{"version":null}"#, Ok(Dialect::OLDEST)),
            ("{}", Ok(Dialect::OLDEST)),
            (r#"{"version":"2"}"#, Err(())),
            (r#"{"version":2.5}"#, Err(())),
            ("[]", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(parse_town(text).map_err(|_| ()), want, "{text}");
        }
    }

    #[test]
    fn what_was_said_reads_back() {
        let said = Said {
            program: "/usr/bin/gt".into(),
            stamp: "1 2 3".into(),
            release: Some(Release(0, 2, 6)),
            ..Said::default()
        };
        let text = serde_json::to_string(&said).unwrap();
        assert!(text.contains(r#""release":"0.2.6""#), "{text}");
        assert_eq!(parse_said(&text).unwrap(), said);
        assert!(parse_said(r#"{"release":"soon"}"#).is_err());
    }
}
