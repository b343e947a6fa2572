//! Which rigs are docked or parked by a label of their bead `<prefix>-rig-<rig>`, which
//! `gt rig dock` sets. The heartbeat asks `bd`, and keeps the last answer in this file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Town, json};
use crate::files;

/// The file, below the town's root.
const FILE: &str = "daemon/rig-labels.json";

/// For each rig the status in its bead's label `status:<status>`; `None`: there is no such label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// The status by rig, by the last answer.
    pub rigs: BTreeMap<String, Option<String>>,
}

impl Labels {
    /// What the file says; nothing when it is missing.
    ///
    /// # Errors
    /// The file cannot be used: then a docked rig must not be taken for another. The next answer of
    /// `bd` replaces it.
    pub fn load(town: &Town) -> Result<Labels> {
        let path = town.path(FILE);
        files::look_at_own(&path, json::parse)?.with_context(|| {
            format!(
                "Cannot use '{}', which is written anew once 'bd' answers; else remove it",
                path.display()
            )
        })
    }

    /// What the label says of a rig.
    pub fn of(&self, rig: &str) -> Option<&str> {
        self.rigs.get(rig)?.as_deref()
    }

    /// Adds an answer to the file; a rig that the answer lacks stays as it was, and one that is not
    /// registered is taken out. Tells whether the file has changed.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn learn(town: &Town, answer: BTreeMap<String, Option<String>>) -> Result<bool> {
        let before = files::look_at_own::<Labels>(&town.path(FILE), json::parse)?.ok();
        let mut now = before.clone().unwrap_or_default();
        now.rigs.extend(answer);
        now.rigs.retain(|rig, _| town.rigs().contains(rig));
        if Some(&now) == before.as_ref() {
            return Ok(false);
        }
        files::write(&town.path(FILE), &serde_json::to_vec_pretty(&now)?)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::marks;
    use crate::town::tests::town;
    use std::fs;

    #[test]
    fn what_is_not_said_stays() {
        let (_dir, town) = town(2);
        let says = |rig: &str, label: Option<&str>| (rig.to_string(), label.map(String::from));
        assert_eq!(Labels::load(&town).unwrap().of("ff"), None);
        for (answer, changed, want) in [
            (
                vec![says("ff", Some("docked")), says("gone", None)],
                true,
                Some("docked"),
            ),
            (vec![], false, Some("docked")),
            (vec![says("ff", None)], true, None),
        ] {
            let answer = answer.into_iter().collect();
            assert_eq!(Labels::learn(&town, answer).unwrap(), changed);
            assert_eq!(Labels::load(&town).unwrap().of("ff"), want);
        }
        // A rig that is docked must not be started because the file is torn.
        let agent = "ff/witness".parse().unwrap();
        files::write(&town.path(FILE), b"{").unwrap();
        assert!(Labels::load(&town).is_err());
        let refusal = marks::refusal(&town, &agent).unwrap();
        assert_eq!(refusal.mark, marks::Mark::Unknown);
        assert!(Labels::learn(&town, BTreeMap::new()).unwrap());
        assert_eq!(marks::refusal(&town, &agent), None);
        fs::remove_file(town.path(FILE)).unwrap();
        std::os::unix::fs::symlink(town.path(FILE), town.path(FILE)).unwrap();
        assert!(Labels::load(&town).is_err());
        let refusal = marks::refusal(&town, &agent).unwrap();
        assert_eq!(refusal.mark, marks::Mark::Unknown);
    }
}
