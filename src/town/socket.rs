//! The names that releases of `gt` give a town's tmux socket, after the town's directory.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::digest::digest;

/// The name of the town's directory, as a tmux socket can have it.
pub(super) fn base(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let mut plain = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => plain.push(c),
            _ if plain.ends_with('-') => {}
            _ => plain.push('-'),
        }
    }
    match plain.trim_matches('-') {
        "" => "default".into(),
        base => base.into(),
    }
}

/// [`base`] with a hash of the directory's real path, so that two towns never share a server.
pub(super) fn hashed(root: &Path) -> String {
    let base = base(root);
    let real = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    format!("{base}-{}", digest(real.as_os_str().as_bytes(), 3))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sockets() {
        let dir = tempfile::tempdir().unwrap();
        for (name, base) in [
            ("gt", "gt"),
            ("My Town", "my-town"),
            ("my_town!", "my-town"),
            ("café", "caf"),
            ("!!!!", "default"),
            ("a.b--c", "a-b-c"),
        ] {
            let root = dir.path().join(name);
            fs::create_dir(&root).unwrap();
            let socket = hashed(&root);
            let (got, hash) = socket.rsplit_once('-').unwrap();
            assert_eq!(got, base);
            assert!(hash.len() == 6 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        // The hash is that of the real path, here as `printf / | sha256sum` has it.
        assert_eq!(hashed(Path::new("/")), "default-8a5eda");
        let link = dir.path().join("gt2");
        std::os::unix::fs::symlink(dir.path().join("gt"), &link).unwrap();
        let hash = |root: &Path| hashed(root).rsplit_once('-').unwrap().1.to_string();
        assert_eq!(hash(&link), hash(&dir.path().join("gt")));
    }
}
