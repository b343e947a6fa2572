//! What `cargo test` alone leaves out, so that it says so.

use std::process::Command;

#[test]
#[ignore = "tests/machine/* need booted Debian machines and root: run tests/run"]
fn machine_tests() {
    for suite in ["bookworm", "trixie"] {
        let status = Command::new("tests/run")
            .args(["--machine", suite])
            .status()
            .unwrap();
        assert!(status.success(), "machine tests on {suite}");
    }
}
