//! `git`: a worktree brought up to date with its rig's branch. Never leaves a rebase half done,
//! never loses a local change.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Tools, run};

/// What is kept back of the time for putting things right again.
const RESERVE: Duration = Duration::from_secs(15);

/// How long a local command may take.
const LOCAL: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// The worktree follows the branch.
    Done,
    /// The directory is no worktree of its own.
    NoWorktree,
}

struct Git<'a> {
    tools: &'a Tools,
    dir: &'a Path,
    deadline: Instant,
}

/// Fetches, and rebases the worktree `dir` on `origin/<branch>`, with local changes put aside
/// meanwhile. Within `limit` in all, and a little more where something must be undone.
///
/// # Errors
/// Why it did not work, in words. The worktree is as it was, or the error says where its changes are.
pub fn sync(tools: &Tools, dir: &Path, branch: &str, limit: Duration) -> Result<Synced, String> {
    let git = Git {
        tools,
        dir,
        deadline: Instant::now() + limit.saturating_sub(RESERVE.min(limit / 2)),
    };
    if tools.path("git").is_none() {
        return Err("there is no git".into());
    }
    let Ok(top) = git.local(&["rev-parse", "--show-toplevel"]) else {
        return Ok(Synced::NoWorktree);
    };
    // A directory of the town's own repository is not ours to move.
    if dir.canonicalize().ok() != Path::new(&top).canonicalize().ok() {
        return Ok(Synced::NoWorktree);
    }
    let git_dir = PathBuf::from(git.local(&["rev-parse", "--absolute-git-dir"])?);
    for state in [
        "rebase-merge",
        "rebase-apply",
        "MERGE_HEAD",
        "CHERRY_PICK_HEAD",
    ] {
        if git_dir.join(state).exists() {
            return Err(format!(
                "'{}' has a rebase or merge under way",
                dir.display()
            ));
        }
    }
    git.within(&["fetch", "--quiet", "origin"])?;
    let onto = format!("refs/remotes/origin/{branch}");
    git.local(&["rev-parse", "--verify", "--quiet", &onto])
        .map_err(|_| format!("origin has no branch '{branch}'"))?;
    if git
        .local(&["merge-base", "--is-ancestor", &onto, "HEAD"])
        .is_ok()
    {
        return Ok(Synced::Done);
    }
    let before = git.local(&["rev-parse", "HEAD"])?;
    let stash = git.put_aside()?;
    let rebased = git.within(&["rebase", "--quiet", &onto]);
    if rebased.is_err() {
        git.abort(&git_dir, &before)?;
    }
    if let Some(stash) = stash {
        git.bring_back(&stash, &before)?;
    }
    rebased.map(|_| Synced::Done)
}

impl Git<'_> {
    fn run(&self, args: &[&str], limit: Duration) -> Result<String, String> {
        let mut git = self
            .tools
            .command("git", self.dir)
            .ok_or("there is no git")?;
        quiet(&mut git).args(args);
        let what = format!("git {}", args.first().unwrap_or(&""));
        match run(&mut git, limit) {
            Ok(out) if out.status.success() => Ok(out.stdout.trim_end().to_string()),
            Ok(out) => Err(format!("'{what}' failed: {}", out.complaint())),
            Err(e) => Err(format!("'{what}' {e}")),
        }
    }

    fn local(&self, args: &[&str]) -> Result<String, String> {
        self.run(args, LOCAL)
    }

    /// For what may take long: until the deadline.
    fn within(&self, args: &[&str]) -> Result<String, String> {
        self.run(
            args,
            self.deadline.saturating_duration_since(Instant::now()),
        )
    }

    /// Stashes local changes, untracked files among them; gives the stash's commit.
    fn put_aside(&self) -> Result<Option<String>, String> {
        if self.local(&["status", "--porcelain"])?.is_empty() {
            return Ok(None);
        }
        let top = || self.local(&["rev-parse", "--verify", "--quiet", "refs/stash"]);
        let before = top().ok();
        self.local(&[
            "stash",
            "push",
            "--quiet",
            "--include-untracked",
            "--message",
            "gastown pre-sync",
        ])?;
        let after = top().ok();
        Ok(if after == before { None } else { after })
    }

    /// Brings the stashed changes back. Where they conflict with what was fetched, the worktree
    /// goes back to where it was before.
    fn bring_back(&self, stash: &str, before: &str) -> Result<(), String> {
        let kept = |e: String| format!("{e}; the local changes are in 'git stash', commit {stash}");
        let conflict = self
            .local(&["stash", "apply", "--quiet", "--index", stash])
            .err();
        if conflict.is_some() {
            self.restore(stash, before).map_err(kept)?;
        }
        if self.local(&["rev-parse", "refs/stash"]).as_deref() == Ok(stash) {
            self.local(&["stash", "drop", "--quiet"])?;
        }
        match conflict {
            Some(_) => Err("local changes conflict with the branch; left as it was".into()),
            None => Ok(()),
        }
    }

    /// Makes HEAD, index, worktree and untracked files what they were when they were stashed.
    fn restore(&self, stash: &str, before: &str) -> Result<(), String> {
        self.local(&["reset", "--hard", "--quiet", before])?;
        let (index, untracked) = (format!("{stash}^2"), format!("{stash}^3"));
        self.local(&["restore", "--source", &index, "--staged", "--", ":/"])?;
        self.local(&["restore", "--source", stash, "--worktree", "--", ":/"])?;
        // There is a third parent only where there were untracked files.
        if self
            .local(&["ls-tree", &untracked])
            .is_ok_and(|files| !files.is_empty())
        {
            let source = ["restore", "--overlay", "--source", &untracked];
            self.local(&[&source[..], &["--worktree", "--", ":/"]].concat())?;
        }
        Ok(())
    }

    /// Ends a rebase that failed or took too long.
    fn abort(&self, git_dir: &Path, before: &str) -> Result<(), String> {
        let under_way = || ["rebase-merge", "rebase-apply"].map(|d| git_dir.join(d).exists());
        if !under_way().contains(&true) {
            return Ok(());
        }
        if self.local(&["rebase", "--abort"]).is_err() {
            // The git that was killed may have left its lock.
            let _ = std::fs::remove_file(git_dir.join("index.lock"));
            self.local(&["rebase", "--abort"])
                .or_else(|_| self.local(&["rebase", "--quit"]))?;
            self.local(&["reset", "--hard", "--quiet", before])?;
        }
        Ok(())
    }
}

/// Nobody is there to answer questions.
fn quiet(git: &mut Command) -> &mut Command {
    for leaked in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(leaked);
    }
    git.env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_EDITOR", "true")
        .env("LC_ALL", "C")
        // Who rebases needs a name, whether or not the user has set one.
        .args(["-c", "rebase.autoStash=false", "-c", "commit.gpgSign=false"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Setup {
        dir: tempfile::TempDir,
        tools: Tools,
    }

    impl Setup {
        /// `origin`, a clone `work` of it, and a second commit in `origin` since.
        fn new() -> Option<Setup> {
            let dir = tempfile::tempdir().unwrap();
            let tools = Tools::locate(dir.path());
            tools.path("git")?;
            let setup = Setup { dir, tools };
            fs::create_dir(setup.path("origin")).unwrap();
            setup.git("origin", "init -q -b main");
            setup.commit("origin", "a", "one\n");
            setup.git("", "clone -q origin work");
            setup.commit("origin", "a", "two\n");
            Some(setup)
        }

        fn path(&self, below: &str) -> PathBuf {
            self.dir.path().join(below)
        }

        fn git(&self, dir: &str, args: &str) -> String {
            let mut git = self.tools.command("git", &self.path(dir)).unwrap();
            git.args(["-c", "user.name=t", "-c", "user.email=t@t"]);
            let out = run(git.args(args.split(' ')), LOCAL).unwrap();
            assert!(out.status.success(), "{args}: {}", out.stderr);
            out.stdout.trim_end().into()
        }

        fn commit(&self, dir: &str, file: &str, text: &str) {
            fs::write(self.path(dir).join(file), text).unwrap();
            self.git(dir, "add .");
            self.git(dir, &format!("commit -q -m {file}"));
        }

        fn sync(&self) -> Result<Synced, String> {
            self.git("work", "config user.name t");
            self.git("work", "config user.email t@t");
            sync(
                &self.tools,
                &self.path("work"),
                "main",
                Duration::from_secs(60),
            )
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.path("work").join(file)).unwrap()
        }
    }

    #[test]
    fn a_clean_worktree_follows() {
        let Some(setup) = Setup::new() else { return };
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("a"), "two\n");
        assert_eq!(setup.sync(), Ok(Synced::Done));
    }

    #[test]
    fn local_changes_and_commits_are_kept() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "mine\n");
        fs::write(setup.path("work/b"), "changed\n").unwrap();
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        fs::write(setup.path("work/staged"), "staged\n").unwrap();
        setup.git("work", "add staged");
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("a"), "two\n");
        assert_eq!(
            setup.git("work", "status --porcelain"),
            " M b\nA  staged\n?? new"
        );
        assert_eq!(setup.read("b") + &setup.read("new"), "changed\nuntracked\n");
        assert_eq!(setup.git("work", "stash list"), "");
    }

    #[test]
    fn changes_that_conflict_are_left_as_they_were() {
        let Some(setup) = Setup::new() else { return };
        fs::write(setup.path("origin/new"), "theirs\n").unwrap();
        setup.commit("origin", "c", "c\n");
        fs::write(setup.path("work/a"), "mine\n").unwrap();
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        fs::write(setup.path("work/other"), "untracked\n").unwrap();
        let before = setup.git("work", "rev-parse HEAD");
        assert!(setup.sync().unwrap_err().contains("conflict"));
        assert_eq!(setup.git("work", "rev-parse HEAD"), before);
        assert_eq!(
            setup.git("work", "status --porcelain"),
            " M a\n?? new\n?? other"
        );
        assert_eq!(setup.read("a") + &setup.read("new"), "mine\nuntracked\n");
        assert_eq!(setup.git("work", "stash list"), "");
    }

    #[test]
    fn commits_that_conflict_leave_no_rebase() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "a", "mine\n");
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        let before = setup.git("work", "rev-parse HEAD");
        assert!(setup.sync().unwrap_err().contains("rebase"));
        assert_eq!(setup.git("work", "rev-parse HEAD"), before);
        assert!(!setup.path("work/.git/rebase-merge").exists());
        assert_eq!(setup.git("work", "status --porcelain"), "?? new");
        assert_eq!(setup.read("a"), "mine\n");
    }

    #[test]
    fn what_is_no_worktree_is_let_be() {
        let Some(setup) = Setup::new() else { return };
        fs::create_dir(setup.path("work/sub")).unwrap();
        for dir in ["work/sub", ""] {
            let got = sync(&setup.tools, &setup.path(dir), "main", LOCAL);
            assert_eq!(got, Ok(Synced::NoWorktree), "{dir}");
        }
        assert_eq!(setup.read("a"), "one\n");
    }
}
