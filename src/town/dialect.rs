//! Gas Town's conventions, which change by release. The town follows those of the `gt` in use: the
//! version in `mayor/town.json` is that of the `gt` that made the town, and tells only two apart
//! (it is 2 since 0.1.1).
//!
//! What holds since which release is taken from the sources of `gt`.

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

/// The file with the socket that the town's tmux server was started with, below the town's root.
pub const SOCKET_FILE: &str = "daemon/tmux-socket";

/// tmux's own default socket.
pub const DEFAULT_SOCKET: &str = "default";

/// A release of `gt`: major, minor and patch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

/// The oldest release that there is.
const OLDEST: Release = Release(0, 1, 0);

/// The newest release whose conventions are known here; later ones are taken to have the same.
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

/// The tmux socket of a town's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    /// tmux's own default.
    Default,
    /// Named after the town's directory.
    Named,
    /// Named after the directory, with a hash of its path.
    Hashed,
}

/// The socket since each release. Releases from 0.10 to 0.12 went to and fro.
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
    /// The conventions of the first releases.
    pub const OLDEST: Dialect = Dialect(OLDEST);

    /// The conventions of the newest release that is known here.
    pub const NEWEST: Dialect = Dialect(NEWEST);

    /// One release for each way in which sessions have been named.
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

    /// Whether these are the conventions of gt 0.1.0, the classic ones.
    pub fn is_first(self) -> bool {
        !self.since(0, 1, 1)
    }

    /// The sessions of Mayor and Deacon begin with `hq-`, not with `gt-`.
    pub fn has_hq_sessions(self) -> bool {
        self.since(0, 2, 1)
    }

    /// The sessions of Boot and of dogs begin with `hq-`, not with `gt-`.
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

    /// `gt mail` takes every sender for `mayor/`, whoever runs it, but for polecats and crew.
    pub fn mails_as_mayor(self) -> bool {
        self.is_first()
    }

    /// `GT_ROLE` is an address such as `gastown/witness`, not a role. The other variables of
    /// current agents came with the same release.
    pub fn has_address_roles(self) -> bool {
        self.since(0, 6, 0)
    }

    /// claude is given the settings of its role by `--settings`.
    pub fn passes_settings(self) -> bool {
        self.since(0, 6, 0)
    }

    /// The command by which an agent, or a hook of its, gets its context. Older releases do not
    /// know the option, or with it read an input that has no end.
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

    /// The environment of polecats and of the Refinery names their rig's beads. In later releases
    /// that would break the search for beads by prefix.
    pub fn names_beads(self) -> bool {
        self.is_first()
    }

    /// People change roles by `roles/<role>.toml`.
    pub fn has_role_files(self) -> bool {
        self.since(0, 5, 0)
    }

    /// `gt` can start nothing on a tmux server that has no session.
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

    /// Every socket on which some release has the town's sessions.
    pub fn sockets(root: &Path) -> [String; 3] {
        [
            DEFAULT_SOCKET.into(),
            socket::base(root),
            socket::hashed(root),
        ]
    }
}

/// What the `gt` in use said of itself: the content of [`FILE`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The program that was asked.
    pub program: PathBuf,
    /// The program's inode, size and time when it was asked: another program has others.
    pub stamp: String,
    /// The release that was told last, by this program or by one before it.
    pub release: Option<Release>,
    /// Why this program did not tell its release.
    pub error: Option<String>,
    /// When the program was asked.
    pub asked: Option<Timestamp>,
}

/// Reads [`FILE`].
///
/// # Errors
/// The text is not the JSON of a [`Said`].
pub fn parse_said(text: &str) -> Result<Said> {
    json::parse(text)
}

/// Reads what `gt version` prints: `gt version 0.2.6 (dev: main@abc)`, perhaps after warnings.
///
/// # Errors
/// No line names a release.
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

/// The conventions by the version in `mayor/town.json`, for a town without a `gt`.
///
/// # Errors
/// The text is not the JSON of a town.
pub fn parse_town(text: &str) -> Result<Dialect> {
    let town: BTreeMap<String, Value> = json::parse(text)?;
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
