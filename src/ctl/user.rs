//! The calling user.

use std::path::Path;

/// Whether the user's manager runs without a login.
pub fn is_lingering() -> bool {
    Path::new("/var/lib/systemd/linger").join(name()).exists()
}

/// The name of the calling user, or the number of one without.
pub fn name() -> String {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
