//! `~/.config/gastown/town.env`: which town is ours. The user writes it, in the format of systemd's
//! `EnvironmentFile=`: lines of `KEY=VALUE`, and comments that begin with `#` or `;`.
//!
//! A key in the file wins over the environment, so that a shell and a unit never mean two towns.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::exit::Exit;
use crate::{agent, files};

/// The file, below the home directory.
pub const FILE: &str = ".config/gastown/town.env";

/// The variable that names the town's root.
pub const ROOT: &str = "GT_TOWN_ROOT";

/// The variable that names the tmux socket.
pub const SOCKET: &str = "GT_TMUX_SOCKET";

/// The value of [`SOCKET`] that leaves the choice to the `gt` in use.
pub const AUTO: &str = "auto";

/// Where the town is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The town's root, absolute. Need not exist.
    pub root: PathBuf,
    /// The tmux socket that the user asks for; `None`: the one that the `gt` in use takes.
    pub socket: Option<String>,
}

/// Finds the town, by the file, the environment, or the default `~/gt`.
///
/// # Errors
/// [`Exit::BadConfig`]: there is no home directory, the file cannot be read, or a value is not usable.
pub fn locate() -> Result<Location> {
    // A value that is not UTF-8 must end in an error about it, not in the default town.
    locate_with(|key| Some(std::env::var_os(key)?.to_string_lossy().into_owned()))
}

/// As [`locate`], with the environment of another process than ours.
///
/// # Errors
/// As [`locate`].
pub fn locate_with(var: impl Fn(&str) -> Option<String>) -> Result<Location> {
    let find = || {
        let home = home()?;
        let path = home.join(FILE);
        let text = files::read(&path)?.unwrap_or_default();
        let file = parse(&text).with_context(|| format!("Cannot use '{}'", path.display()))?;
        choose(&file, var, &home)
    };
    find().map_err(|e: anyhow::Error| e.context(Exit::BadConfig))
}

/// The root that this process's environment names and the root that `town.env` names, when they
/// differ: then that of the file is used.
pub fn overruled() -> Option<(PathBuf, PathBuf)> {
    // When the file names none, this is the root of the environment, or an error.
    let used = locate().ok()?.root;
    let named = other_than(&used, &std::env::var_os(ROOT)?, &home().ok()?)?;
    Some((named, used))
}

/// The root that a value of [`ROOT`] names, if that is another directory than `used`.
fn other_than(used: &Path, value: &OsStr, home: &Path) -> Option<PathBuf> {
    let named = match value.to_str() {
        Some("") => return None,
        Some(text) => expand(text, home),
        None => value.into(),
    };
    (!files::is_same(&named, used)).then_some(named)
}

/// The user's home directory, by `HOME`, else by the user database.
///
/// # Errors
/// Neither knows one.
pub fn home() -> Result<PathBuf> {
    let from_env = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(home) = from_env.filter(|home| home.is_absolute()) {
        return Ok(home);
    }
    match nix::unistd::User::from_uid(nix::unistd::getuid()) {
        Ok(Some(user)) => Ok(user.dir),
        _ => bail!("There is no home directory; set HOME"),
    }
}

/// Puts the home directory in the place of a leading `~/`.
pub fn expand(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

fn choose(
    file: &[(String, String)],
    var: impl Fn(&str) -> Option<String>,
    home: &Path,
) -> Result<Location> {
    let value = |key: &str| {
        let line = file.iter().rev().find(|(name, _)| name == key);
        let value = line.map(|(_, value)| value.clone()).or_else(|| var(key));
        value.filter(|value| !value.is_empty())
    };
    let text = value(ROOT).unwrap_or_else(|| "~/gt".into());
    // Take out `.` and trailing slashes, so that the same town always has the same text.
    let root: PathBuf = expand(&text, home)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    if !root.is_absolute() || text.contains(char::is_control) {
        bail!("{ROOT}={text:?} is not an absolute path; write the whole path in '~/{FILE}'");
    }
    // A backslash and `#` have a meaning in tmux and unit files; where `..` leads depends on links.
    let is_plain =
        |path: &str| !path.contains(|c: char| c.is_control() || ['\\', '#'].contains(&c));
    if root.components().any(|part| part == Component::ParentDir)
        || !root.to_str().is_some_and(is_plain)
    {
        bail!(
            "{ROOT}={text:?} is the directory {root:?}, which has a '..', a backslash, a '#' or odd \
             characters in it; write a plain path in '~/{FILE}', or move the town"
        );
    }
    let socket = value(SOCKET).filter(|name| name != AUTO);
    if let Some(name) = &socket
        && !agent::is_valid_name(name)
    {
        bail!(
            "{SOCKET}={name:?} is not the name of a socket; use letters, digits, '.', '_' and '-' \
             in '~/{FILE}'"
        );
    }
    Ok(Location { root, socket })
}

/// Reads the lines of an environment file, in order; of several for one key the last counts. Quotes
/// around a whole value are taken off. Between double quotes, a backslash escapes `"`, `\`, `$` and
/// a backtick.
///
/// # Errors
/// A line is not `KEY=VALUE`; the error gives its number.
pub fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    // Some editors begin a file with a byte order mark, which nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let entry = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = entry
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| is_variable(key))
            .and_then(|(key, value)| Some((key, unquote(value)?)))
            .ok_or_else(|| anyhow!("line {} is not KEY=VALUE; mend it", number + 1))?;
        pairs.push((key.to_string(), value));
    }
    Ok(pairs)
}

/// Whether this can be the name of an environment variable.
pub fn is_variable(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A value without its quotes; `None`: an opening quote has no closing one at the end.
fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        return (!inner.contains('\'')).then(|| inner.to_string());
    }
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.to_string());
    };
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(out),
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_lines() {
        for (line, want) in [
            ("K=/a b/c", "/a b/c"),
            ("  K =  x  ", "x"),
            ("export K=x", "x"),
            ("K=", ""),
            ("K=a=b # c", "a=b # c"),
            ("K='a \"b\" \\n'", "a \"b\" \\n"),
            (r#"K="a \"b\" \\ \$x \n 'y'""#, r#"a "b" \ $x \n 'y'"#),
            ("K=100% my \"town\"", "100% my \"town\""),
            (r"K=a\b", r"a\b"),
            ("# c\n; d\n\nK=1\r\nK=2", "2"),
            ("\u{feff}K=1", "1"),
        ] {
            let pairs = parse(line).unwrap();
            assert_eq!(pairs.last().unwrap(), &("K".into(), want.into()), "{line}");
        }
        for line in [
            "K", "=x", "K K=x", "1K=x", "K=\"a", "K='a", "K=\"a\"b", "K='a'b'", r#"K="a\"#,
        ] {
            let error = parse(&format!("A=1\n{line}")).unwrap_err().to_string();
            assert_eq!(error, "line 2 is not KEY=VALUE; mend it", "{line}");
        }
    }

    #[test]
    fn another_town_than_that_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let town = home.join("gt");
        std::fs::create_dir(&town).unwrap();
        std::os::unix::fs::symlink(&town, home.join("link")).unwrap();
        let shown = town.display().to_string();
        for same in [
            "",
            &shown,
            &format!("{shown}//"),
            &format!("{shown}/."),
            "~/gt",
            "~/link/",
        ] {
            assert_eq!(other_than(&town, same.as_ref(), home), None, "{same}");
        }
        // The last is a typo.
        for (other, want) in [("~", home.to_path_buf()), ("gt-", "gt-".into())] {
            assert_eq!(other_than(&town, other.as_ref(), home), Some(want));
        }
        // A town that is not there, as on a disk that is gone, is the same by its name.
        std::fs::remove_dir(&town).unwrap();
        assert_eq!(other_than(&town, format!("{shown}/").as_ref(), home), None);
    }

    #[test]
    fn the_file_wins_over_the_environment_over_the_default() {
        let home = Path::new("/home/u");
        for (file, env, root, socket) in [
            ("", [None, None], "/home/u/gt", None),
            ("", [Some("/t/"), Some("s1")], "/t", Some("s1")),
            (
                "GT_TOWN_ROOT=~/my town/\nGT_TMUX_SOCKET=s.2",
                [Some("/t"), Some("s1")],
                "/home/u/my town",
                Some("s.2"),
            ),
            (
                "GT_TMUX_SOCKET=auto",
                [Some("~"), Some("s1")],
                "/home/u",
                None,
            ),
            (
                "GT_TMUX_SOCKET=\nGT_TOWN_ROOT=",
                [Some("/t"), Some("s1")],
                "/home/u/gt",
                None,
            ),
            (
                "GT_TMUX_SOCKET=default",
                [Some("/a/./b//c"), None],
                "/a/b/c",
                Some("default"),
            ),
        ] {
            let var = |key: &str| env[usize::from(key == SOCKET)].map(String::from);
            let got = choose(&parse(file).unwrap(), var, home).unwrap();
            let want = Location {
                root: root.into(),
                socket: socket.map(String::from),
            };
            assert_eq!(got, want, "{file}");
        }
    }

    #[test]
    fn unusable_values_are_refused() {
        for line in [
            "GT_TOWN_ROOT=gt",
            "GT_TOWN_ROOT=./gt",
            "GT_TOWN_ROOT=~other/gt",
            "GT_TOWN_ROOT=/a\u{1}b",
            "GT_TOWN_ROOT=/a/../b",
            r"GT_TOWN_ROOT=/a\b",
            "GT_TOWN_ROOT=/a/#H",
            "GT_TMUX_SOCKET=../x",
            "GT_TMUX_SOCKET=a/b",
            "GT_TMUX_SOCKET=-L",
        ] {
            let file = parse(line).unwrap();
            let error = choose(&file, |_| None, Path::new("/home/u")).unwrap_err();
            let key = line.split_once('=').unwrap().0;
            assert!(error.to_string().starts_with(key), "{line}: {error}");
        }
        // Nor is a town below such a home directory.
        for home in [r"/home/DOMAIN\u", "/home/#1", "/home/a\nb"] {
            let error = choose(&[], |_| None, Path::new(home)).unwrap_err();
            assert!(error.to_string().contains("\"~/gt\""), "{home}: {error}");
        }
    }
}
