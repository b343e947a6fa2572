//! The calling user.

use std::path::Path;

use crate::files;

/// Whether the user's manager runs without a login; `None`: that cannot be looked up.
pub fn is_lingering() -> Option<bool> {
    // A name such as `DOMAIN\\user` stands there as logind escapes it.
    let file = name().replace('\\', "\\\\");
    files::is_there(&Path::new("/var/lib/systemd/linger").join(file)).ok()
}

/// The name of the calling user, or the number of one without.
pub fn name() -> String {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
