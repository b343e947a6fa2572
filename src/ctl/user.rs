//! The calling user.

use std::path::Path;

use crate::files;

/// Whether the user's manager runs without a login (lingers); `None`: that cannot be looked up.
pub fn is_lingering() -> Option<bool> {
    // logind escapes a name such as `DOMAIN\user`.
    let file = name().replace('\\', "\\\\");
    files::is_there(&Path::new("/var/lib/systemd/linger").join(file)).ok()
}

/// The name of the calling user, or the uid if there is no name.
pub fn name() -> String {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
