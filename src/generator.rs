//! The user generator: points the path units at a town that is not `~/gt`, because path units
//! cannot read environment files. Nothing else is generated.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// What the path units watch: the unit, the directive, the path below the town's root.
/// The units themselves say the same for `%h/gt`; a test compares.
pub const WATCHED: &[(&str, &str, &str)] = &[
    ("gt-heartbeat.path", "PathChanged", "deacon"),
    ("gt-heartbeat.path", "PathChanged", "mayor"),
    ("gt-heartbeat.path", "PathChanged", "settings"),
    ("gt-heartbeat.path", "PathChanged", ".beads-wisp/config"),
    ("gt-heartbeat.path", "PathChanged", "daemon/poke"),
    (
        "gt-lifecycle.path",
        "DirectoryNotEmpty",
        "daemon/lifecycle/new",
    ),
    (
        "gt-spawn-trigger.path",
        "DirectoryNotEmpty",
        "daemon/spawn/new",
    ),
    ("gt-spawn-trigger.path", "PathChanged", "spawn/pending.json"),
];

/// The drop-ins for a town, as file name below the generator's directory and content.
///
/// # Errors
/// The root cannot be written into a unit file.
pub fn drop_ins(root: &Path) -> Result<Vec<(String, String)>> {
    let Some(root) = root.to_str().filter(|r| !r.contains(['\n', '\r'])) else {
        bail!(
            "Town root '{}' has a line break or is not UTF-8; move the town",
            root.display()
        );
    };
    // The whole rest of the line is the path, also with spaces and quotes; only `%` is special.
    let root = root.trim_end_matches('/').replace('%', "%%");
    let mut files: Vec<(String, String)> = Vec::new();
    for (unit, directive, path) in WATCHED {
        let name = format!("{unit}.d/50-town.conf");
        let line = format!("{directive}={root}/{path}\n");
        match files.iter_mut().find(|(n, _)| *n == name) {
            Some((_, content)) => content.push_str(&line),
            // An empty assignment forgets the paths of every kind.
            None => files.push((name, format!("[Path]\nPathChanged=\n{line}"))),
        }
    }
    Ok(files)
}

/// Writes the drop-ins into `dir`, unless the town is where the units look anyway.
///
/// # Errors
/// A file cannot be written.
pub fn generate(root: &Path, home: &Path, dir: &Path) -> Result<()> {
    if root == home.join("gt") {
        return Ok(());
    }
    for (name, content) in drop_ins(root)? {
        let path = dir.join(name);
        let failed = || format!("Failed to write '{}'", path.display());
        // Not durable on purpose: the directory is made anew at every reload.
        std::fs::create_dir_all(path.parent().with_context(failed)?).with_context(failed)?;
        std::fs::write(&path, content).with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_roots_are_written_for_systemd() {
        let files = drop_ins(Path::new("/srv/100% my \"town\"")).unwrap();
        assert_eq!(files.len(), 3);
        assert_eq!(
            files[1],
            (
                "gt-lifecycle.path.d/50-town.conf".to_string(),
                "[Path]\nPathChanged=\n\
                 DirectoryNotEmpty=/srv/100%% my \"town\"/daemon/lifecycle/new\n"
                    .to_string()
            )
        );
        assert!(drop_ins(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn the_usual_root_needs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        generate(Path::new("/home/u/gt"), Path::new("/home/u"), dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        generate(Path::new("/srv/town"), Path::new("/home/u"), dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn shipped_units_watch_the_same() {
        for (unit, directive, path) in WATCHED {
            let file = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("units")
                .join(unit);
            let text = std::fs::read_to_string(file).unwrap();
            let line = format!("{directive}=%h/gt/{path}");
            assert!(text.lines().any(|l| l == line), "{unit}: {line}");
            let count = text.lines().filter(|l| l.contains("=%h/gt/")).count();
            assert_eq!(count, WATCHED.iter().filter(|w| w.0 == *unit).count());
        }
    }
}
