//! Configuration that may be broken for a while: a file that does not parse is never taken for
//! an empty one. Its last good text, kept by the heartbeat, stands in for it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::exit::Exit;
use crate::{agent, files};

/// The directory of the last good texts. Each is named after the escaped path of its file.
pub const DIR: &str = "daemon/last-good";

/// What a configuration file says.
#[derive(Debug, Clone, Default)]
pub struct Kept<T> {
    /// What the file says. A broken file: what its last good text said, else the default. No file:
    /// the default.
    pub value: T,
    /// Why the file cannot be used now, naming it. `None`: it can, or there is none.
    pub error: Option<String>,
    /// Whether `value` is what the file says or last said, not a mere default for a broken file.
    known: bool,
    text: Option<String>,
}

impl<T: Default> Kept<T> {
    /// A file that certainly is missing.
    pub fn missing() -> Kept<T> {
        Kept {
            known: true,
            ..Kept::default()
        }
    }

    /// Reads `file`, a path below the town's root.
    pub fn load(root: &Path, file: &str, parse: fn(&str) -> Result<T>) -> Kept<T> {
        let path = root.join(file);
        let read = || -> Result<Kept<T>> {
            let text = files::read(&path)?;
            let value = text.as_deref().map(parse).transpose();
            let value = value.with_context(|| format!("Cannot use '{}'", path.display()))?;
            Ok(Kept {
                value: value.unwrap_or_default(),
                error: None,
                known: true,
                text,
            })
        };
        let error = match read() {
            Ok(kept) => return kept,
            Err(e) => one_line(&format!("{e:#}")),
        };
        match last_good(root, file, parse) {
            Some(value) => Kept {
                value,
                error: Some(format!("{error}; mend it, its last good content is in use")),
                known: true,
                text: None,
            },
            None => Kept {
                error: Some(format!("{error}; mend it")),
                ..Kept::default()
            },
        }
    }

    /// As [`Kept::load`], for a file that no program empties on purpose: one that `is_empty` now and
    /// was not before is taken for broken.
    pub fn load_filled(
        root: &Path,
        file: &str,
        parse: fn(&str) -> Result<T>,
        is_empty: fn(&T) -> bool,
    ) -> Kept<T> {
        let kept = Kept::load(root, file, parse);
        if kept.error.is_some() || !is_empty(&kept.value) {
            return kept;
        }
        match last_good(root, file, parse).filter(|value| !is_empty(value)) {
            Some(value) => Kept {
                value,
                error: Some(format!(
                    "There is nothing in '{}' any more; mend it, its last good content is in use; \
                     if that is meant, remove '{}'",
                    root.join(file).display(),
                    copy_of(root, file).display()
                )),
                known: true,
                text: None,
            },
            None => kept,
        }
    }

    /// The value, unless the file is broken and it is not known what it last said.
    ///
    /// # Errors
    /// [`Exit::BadConfig`] with what is wrong with the file.
    pub fn known(&self) -> Result<&T> {
        match &self.error {
            Some(error) if !self.known => Err(anyhow!("{error}").context(Exit::BadConfig)),
            _ => Ok(&self.value),
        }
    }

    /// Keeps the text just read as the last good one of `file`; an empty copy says that there was
    /// no file.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn keep(&self, root: &Path, file: &str) -> Result<()> {
        self.keep_if(root, file, || true)
    }

    /// As [`Kept::keep`], but a text that differs from the copy is kept only if `is_usable`.
    ///
    /// # Errors
    /// As [`Kept::keep`].
    pub fn keep_if(&self, root: &Path, file: &str, is_usable: impl Fn() -> bool) -> Result<()> {
        if self.error.is_some() {
            return Ok(());
        }
        let (copy, text) = (
            copy_of(root, file),
            self.text.as_deref().unwrap_or_default(),
        );
        let is_kept = match text {
            "" => copy
                .symlink_metadata()
                .is_ok_and(|copy| copy.is_file() && copy.len() == 0),
            text => files::read(&copy).ok().flatten().as_deref() == Some(text),
        };
        match is_kept || !is_usable() {
            true => Ok(()),
            false => files::write(&copy, text.as_bytes()),
        }
    }
}

/// What `file` last said, if that is known.
fn last_good<T: Default>(root: &Path, file: &str, parse: fn(&str) -> Result<T>) -> Option<T> {
    match files::read(&copy_of(root, file)).ok()??.as_str() {
        "" => Some(T::default()),
        text => parse(text).ok(),
    }
}

fn copy_of(root: &Path, file: &str) -> PathBuf {
    root.join(DIR).join(agent::escape(file))
}

/// The files are hostile, and the parser's messages quote them.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(text: &str) -> Result<u32> {
        Ok(serde_json::from_str(text)?)
    }

    #[test]
    fn the_last_good_text_stands_in() {
        let dir = tempfile::tempdir().unwrap();
        let (root, file) = (dir.path(), "mayor/n.json");
        let load = || Kept::load(root, file, parse);
        let write = |text: &str| files::write(&root.join(file), text.as_bytes()).unwrap();

        assert_eq!((load().value, load().error), (0, None));
        assert!(load().known().is_ok());

        write("bad");
        let kept = load();
        let error = kept.error.clone().unwrap();
        assert!(error.starts_with("Cannot use '"), "{error}");
        assert!(
            error.contains("mayor/n.json'") && error.ends_with("; mend it"),
            "{error}"
        );
        assert!(crate::exit::of(&kept.known().unwrap_err()) == Exit::BadConfig);
        kept.keep(root, file).unwrap();
        assert!(!root.join("daemon").exists());

        write("7");
        load().keep(root, file).unwrap();
        load().keep(root, file).unwrap();
        write("");
        let kept = load();
        assert_eq!(*kept.known().unwrap(), 7);
        assert!(kept.error.unwrap().contains("last good"));
        assert_eq!(fs::read_dir(root.join(DIR)).unwrap().count(), 1);

        fs::remove_file(root.join(file)).unwrap();
        assert_eq!((load().value, load().error), (0, None));

        // What was last good may be that there was no file.
        load().keep(root, file).unwrap();
        write("bad");
        let kept = load();
        assert_eq!(*kept.known().unwrap(), 0);
        assert!(kept.error.unwrap().contains("last good"));
    }

    #[test]
    fn what_was_suddenly_emptied_is_as_good_as_broken() {
        let dir = tempfile::tempdir().unwrap();
        let (root, file) = (dir.path(), "mayor/n.json");
        let load = || Kept::load_filled(root, file, parse, |n| *n == 0);
        let write = |text: &str| files::write(&root.join(file), text.as_bytes()).unwrap();

        for empty in ["0", "00x"] {
            write(empty);
            assert_eq!(load().value, 0);
        }
        write("0");
        load().keep(root, file).unwrap();
        write("7");
        load().keep(root, file).unwrap();
        for emptied in [Some("0"), None, Some("")] {
            match emptied {
                Some(text) => write(text),
                None => fs::remove_file(root.join(file)).unwrap(),
            }
            let kept = load();
            assert_eq!(*kept.known().unwrap(), 7, "{emptied:?}");
            kept.keep(root, file).unwrap();
            assert!(kept.error.unwrap().contains("mayor/n.json"), "{emptied:?}");
        }
        fs::remove_file(copy_of(root, file)).unwrap();
        write("0");
        assert_eq!((load().value, load().error), (0, None));
    }
}
