//! The files in which people say how agents are run, for the town or for one rig.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::Result;

use super::kept::Kept;
use super::roles::{self, RoleFile};
use super::settings::{self, Custom, Map, Settings};
use crate::files;

/// The directory of all these files but the roles.
const SETTINGS: &str = "settings";

/// The settings file, the agent registry and the roles of the town or of a rig.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    pub settings: Kept<Settings>,
    pub registry: Kept<Map<Custom>>,
    pub roles: BTreeMap<&'static str, Kept<RoleFile>>,
    /// Why the directory of roles cannot be looked at.
    pub roles_error: Option<String>,
    /// The names in the directory that these were loaded from, if it could be listed.
    listed: Option<BTreeSet<OsString>>,
}

impl Sources {
    /// Reads the files in `dir`, below the town's root: empty, or a rig with a slash behind it.
    pub fn load(root: &Path, dir: &str) -> Sources {
        let none = Sources {
            settings: Kept::missing(),
            registry: Kept::missing(),
            listed: files::listing(&root.join(dir)),
            ..Sources::default()
        };
        if none.lacks(SETTINGS) && none.lacks(roles::DIR) {
            return none;
        }
        let (roles, roles_error) = match roles::load(root, dir) {
            Ok(roles) => (roles, None),
            Err(e) => (BTreeMap::new(), Some(format!("{e:#}; mend it"))),
        };
        Sources {
            settings: Kept::load(root, &format!("{dir}{}", settings::FILE), settings::parse),
            registry: Kept::load(
                root,
                &format!("{dir}{}", settings::AGENTS_FILE),
                settings::parse_agents,
            ),
            roles,
            roles_error,
            ..none
        }
    }

    /// Whether the directory certainly had nothing of that name when the files were read.
    pub fn lacks(&self, name: &str) -> bool {
        let listed = self.listed.as_ref();
        listed.is_some_and(|names| !names.contains(OsStr::new(name)))
    }

    /// For each file, why it cannot be used now.
    pub fn errors(&self) -> impl Iterator<Item = &Option<String>> {
        let roles = self.roles.values().map(|role| &role.error);
        [
            &self.settings.error,
            &self.registry.error,
            &self.roles_error,
        ]
        .into_iter()
        .chain(roles)
    }

    /// Keeps what the files say now, see [`Kept::keep_if`].
    pub fn keep(&self, root: &Path, dir: &str, is_usable: impl Fn() -> bool) -> Result<()> {
        let file = |name| format!("{dir}{name}");
        self.settings
            .keep_if(root, &file(settings::FILE), &is_usable)?;
        self.registry
            .keep_if(root, &file(settings::AGENTS_FILE), &is_usable)?;
        for (role, file) in &self.roles {
            file.keep(root, &roles::path(dir, role))?;
        }
        Ok(())
    }
}
