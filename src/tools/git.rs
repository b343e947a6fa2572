//! `git`: brings a worktree up to date with its rig's branch. No rebase stays half done and no
//! local change is lost, wherever this is stopped or killed.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{ToolError, Tools, run_until};
use crate::files;

/// The time that is kept back to put things right again.
const RESERVE: Duration = Duration::from_secs(15);

/// How long a local command may take.
const LOCAL: Duration = Duration::from_secs(10);

/// How long a command may take that puts things right again. Cut short, it would leave the changes in
/// the stash, as with a large file that git fetches or filters.
pub const UNDO: Duration = Duration::from_secs(30);

/// How many files one git command gets as arguments.
const FILES: usize = 500;

/// How many times we try to take a stash off the list, if each time another one comes off instead.
const DROPS: usize = 3;

/// The files of a worktree's git directory that show that somebody is in the middle of something: a
/// rebase would move HEAD from under it, or forget it.
const UNDER_WAY: [(&str, &str); 7] = [
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("sequencer", "cherry-pick or revert of several commits"),
    ("BISECT_START", "bisect"),
];

/// Those of them that a sync which was killed may have left itself.
const OURS: [&str; 3] = ["rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD"];

/// What an error says when local changes are no longer in the worktree.
pub const KEPT: &str = "what is missing is in 'git stash'";

/// What came of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// The worktree follows the branch.
    Done,
    /// The directory is no worktree of its own.
    NoWorktree,
}

/// How a worktree was before anything in it was moved.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// The commit.
    commit: String,
    /// The branch that was checked out, as a full reference, if any was.
    branch: Option<String>,
    /// The commit that it is rebased on.
    #[serde(default)]
    onto: Option<String>,
    /// The name of the stash with the local changes. It is unique, because all worktrees of a
    /// repository share one list of stashes.
    stash: String,
    /// The files of which [`Git::keep`] has made links, with what git would keep of each.
    #[serde(default)]
    kept: Vec<(String, String)>,
}

impl Before {
    /// An error, with where the local changes are.
    fn kept(&self, e: String) -> String {
        format!("{e}; {KEPT} as '{}', or in 'git reflog'", self.stash)
    }
}

struct Git<'a> {
    tools: &'a Tools,
    work: &'a Path,
    /// The directory of git's data for this worktree alone.
    dir: PathBuf,
    /// The directory of git's data for all worktrees of the repository.
    common: PathBuf,
    deadline: Instant,
    stop: Option<BorrowedFd<'a>>,
    /// Whether the user has told git a name, without which it does not rebase.
    has_name: bool,
    /// Whether the sync was killed, so that somebody may have worked here since.
    is_later: bool,
}

/// Fetches, and rebases the worktree `dir` on `origin/<branch>`, with local changes put aside
/// meanwhile. It takes at most `limit`, and a little more if something must be undone, and ends
/// early once `stop` can be read. While the worktree is changed there is a file `record`. Who finds
/// one later knows that we were killed, and calls [`put_right`] before anybody works there.
///
/// # Errors
/// Why the sync failed, in words. The worktree is as it was, or the error says where its changes
/// are.
pub fn sync(
    tools: &Tools,
    dir: &Path,
    branch: &str,
    limit: Duration,
    record: &Path,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Synced, String> {
    let deadline = Instant::now() + limit.saturating_sub(RESERVE.min(limit / 2));
    let Some(git) = Git::of(tools, dir, deadline, stop)? else {
        return Ok(Synced::NoWorktree);
    };
    if let Some(what) = git.under_way(&[])? {
        return Err(format!("'{}' has a {what} under way", dir.display()));
    }
    let fetch = ["fetch", "--quiet", "origin"];
    // All worktrees of a repository share its references: another one may have fetched meanwhile.
    git.within(&fetch)
        .or_else(|e| match e.contains("lock ref") {
            true => git.within(&fetch),
            false => Err(e),
        })?;
    let onto = format!("refs/remotes/origin/{branch}");
    let tip = git
        .local(&["rev-parse", "--verify", "--quiet", &onto])
        .map_err(|_| format!("origin has no branch '{branch}'"))?;
    if git
        .local(&["merge-base", "--is-ancestor", &onto, "HEAD"])
        .is_ok()
    {
        return Ok(Synced::Done);
    }
    if let Some(file) = git.in_the_way(&onto)? {
        return Err(format!(
            "git ignores '{file}' and would overwrite or delete it in a rebase on '{branch}'; move it away"
        ));
    }
    if let Some(file) = git.unseen()? {
        return Err(format!(
            "git was told to assume that '{file}' is unchanged, and would lose its changes; commit them"
        ));
    }
    if let Some(merge) = git.edited_merge(&onto)? {
        return Err(format!(
            "the merge {merge} has changes of its own, which a rebase on '{branch}' would drop; merge \
             or rebase by hand"
        ));
    }
    let before = Before {
        commit: git.local(&["rev-parse", "HEAD"])?,
        branch: git.branch(),
        onto: Some(tip),
        stash: format!("gastown pre-sync {}-{}", Timestamp::now(), Pid::this()),
        kept: git.keep().unwrap_or_default(),
    };
    git.is_free(&before)?;
    let text = serde_json::to_vec(&before).map_err(|e| e.to_string())?;
    files::write(record, &text).map_err(|e| format!("{e:#}"))?;
    let mut stash = None;
    let mut undone = Ok(());
    let rebased = git.put_aside(&before.stash).and_then(|commit| {
        stash = commit;
        let rebased = git.within(&["rebase", "--quiet", &onto]);
        let rebased = rebased.and_then(|_| match git.branch() == before.branch {
            true => Ok(()),
            false => Err("'git rebase' could not go back to the branch".to_string()),
        });
        if rebased.is_err() {
            undone = git.abort(&before).and_then(|()| git.set_back(&before));
        }
        rebased
    });
    let right = match undone {
        Ok(()) => git.put_right(&before, stash, rebased.is_ok()),
        Err(e) => Err(before.kept(e)),
    };
    forget(record)?;
    // The first error says more, but only the second says where the changes are.
    match (rebased, right?) {
        (Err(e), _) => Err(e),
        (Ok(()), true) => Ok(Synced::Done),
        (Ok(()), false) => Err("local changes conflict with the branch; left as it was".into()),
    }
}

/// Puts right what a [`sync`] that was killed has left in the worktree, if it left its `record`.
///
/// # Errors
/// Why this failed, and where the local changes are. It is not tried again, since somebody works in
/// the worktree from now on.
pub fn put_right(tools: &Tools, dir: &Path, record: &Path) -> Result<(), String> {
    let Some(text) = files::read(record).map_err(|e| format!("{e:#}"))? else {
        return Ok(());
    };
    let before: Result<Before, _> = serde_json::from_str(&text);
    let done = match (before, Git::of(tools, dir, Instant::now(), None)) {
        (Ok(before), Ok(Some(mut git))) => {
            git.is_later = true;
            git.put_right_later(&before)
        }
        (Ok(before), Err(e)) => Err(before.kept(e)),
        (Ok(before), Ok(None)) => {
            let e = format!("'{}' is no worktree any more", dir.display());
            Err(before.kept(e))
        }
        (Err(e), _) => Err(format!("'{}' is broken: {e}; {KEPT}", record.display())),
    };
    // The first error says where the changes are.
    done.and(forget(record))
}

fn forget(record: &Path) -> Result<(), String> {
    files::remove(record)
        .map(drop)
        .map_err(|e| format!("{e:#}"))
}

impl<'a> Git<'a> {
    /// `None`: the directory is no worktree of its own, such as one of the town's repository.
    fn of(
        tools: &'a Tools,
        work: &'a Path,
        deadline: Instant,
        stop: Option<BorrowedFd<'a>>,
    ) -> Result<Option<Git<'a>>, String> {
        let mut git = Git {
            tools,
            work,
            dir: PathBuf::new(),
            common: PathBuf::new(),
            deadline,
            stop,
            has_name: true,
            is_later: false,
        };
        if tools.path("git").is_none() {
            return Err("there is no git".into());
        }
        // Data that a `.git` leads to and that is gone is a fault, not another kind of directory.
        let has_data = work.join(".git").symlink_metadata().is_ok();
        let top = match git.local(&["rev-parse", "--show-toplevel"]) {
            Err(e) if e.contains("not a git repository") && !has_data => return Ok(None),
            // git fails here, for example, in a directory of another user.
            top => top?,
        };
        if work.canonicalize().ok() != Path::new(&top).canonicalize().ok() {
            return Ok(None);
        }
        git.dir = PathBuf::from(git.local(&["rev-parse", "--absolute-git-dir"])?);
        let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        git.common = PathBuf::from(git.local(&common)?);
        git.has_name = git.local(&["var", "GIT_COMMITTER_IDENT"]).is_ok();
        Ok(Some(git))
    }

    /// What somebody is in the middle of here, but for what the files `ours` show.
    fn under_way(&self, ours: &[&str]) -> Result<Option<&'static str>, String> {
        for (state, what) in UNDER_WAY {
            let is_there = || files::is_there(&self.dir.join(state));
            if !ours.contains(&state) && is_there().map_err(|e| format!("{e:#}"))? {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    /// Fails where another git is at work, or was killed, for a rebase would stop half-way; or where there
    /// are conflicts, which no stash keeps.
    fn is_free(&self, before: &Before) -> Result<(), String> {
        let own = ["index.lock", "HEAD.lock"].map(|lock| self.dir.join(lock));
        let branch = before.branch.as_ref();
        let branch = branch.map(|branch| self.common.join(format!("{branch}.lock")));
        for lock in own.into_iter().chain(branch) {
            if files::is_there(&lock).map_err(|e| format!("{e:#}"))? {
                let lock = lock.display();
                return Err(format!(
                    "another git is at work, or was killed: if it was, remove '{lock}'"
                ));
            }
        }
        match self.local(&["ls-files", "--unmerged"])?.is_empty() {
            true => Ok(()),
            false => Err("there are conflicts that nobody has resolved".into()),
        }
    }

    /// Removes the locks that a killed git has left: those of what only this worktree uses, and
    /// those of the list of stashes and of all packed references, which are held for a moment only.
    fn unlock(&self, branch: Option<&str>) {
        let own = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let own = own
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "lock"));
        let shared = branch.into_iter().chain(["refs/stash", "packed-refs"]);
        let shared = shared.map(|name| self.common.join(format!("{name}.lock")));
        for lock in own.chain(shared) {
            let _ = std::fs::remove_file(lock);
        }
    }

    fn command(&self, args: &[&str]) -> Result<Command, String> {
        let mut git = self
            .tools
            .command("git", self.work)
            .ok_or("there is no git")?;
        quiet(&mut git).args(args);
        if !self.has_name {
            git.env("GIT_COMMITTER_NAME", "Gas Town")
                .env("GIT_COMMITTER_EMAIL", "gastown@localhost");
        }
        Ok(git)
    }

    fn local(&self, args: &[&str]) -> Result<String, String> {
        self.run(args, LOCAL, None)
    }

    fn undo(&self, args: &[&str]) -> Result<String, String> {
        self.run(args, UNDO, None)
    }

    /// As [`Git::undo`]. A file whose filter fails, as that of git-lfs without its program, is written as
    /// git keeps it: else no file would come back.
    fn undo_unfiltered(&self, args: &[&str]) -> Result<String, String> {
        let filters = [
            "config",
            "--name-only",
            "--get-regexp",
            r"^filter\..*\.required$",
        ];
        let filters = self.local(&filters).unwrap_or_default();
        let mut git = self.command(args)?;
        git.env("GIT_CONFIG_COUNT", filters.lines().count().to_string());
        for (n, filter) in filters.lines().enumerate() {
            git.env(format!("GIT_CONFIG_KEY_{n}"), filter);
            git.env(format!("GIT_CONFIG_VALUE_{n}"), "false");
        }
        self.finish(git, args, UNDO, None)
    }

    /// Runs a git command that may take long: until the deadline, or until we are to stop.
    fn within(&self, args: &[&str]) -> Result<String, String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.run(args, left, self.stop)
    }

    fn run(
        &self,
        args: &[&str],
        limit: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<String, String> {
        self.finish(self.command(args)?, args, limit, stop)
    }

    fn finish(
        &self,
        mut git: Command,
        args: &[&str],
        limit: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<String, String> {
        // The time of a file is that of the kernel's last timer tick, so a little early.
        let begun = SystemTime::now() - Duration::from_millis(100);
        let out = run_until(&mut git, limit, stop);
        if matches!(out, Err(ToolError::TimedOut(_) | ToolError::Stopped)) {
            self.unlock_since(begun);
        }
        said(args, out)
    }

    /// Removes the locks of a git that had to be killed, so that the next one can work here.
    fn unlock_since(&self, begun: SystemTime) {
        let own = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let own = own.map(|entry| entry.path());
        for lock in own.chain([self.common.join("refs/stash.lock")]) {
            let made = || lock.symlink_metadata().and_then(|m| m.modified());
            let is_lock = lock.extension().is_some_and(|end| end == "lock");
            if is_lock && made().is_ok_and(|made| made >= begun) {
                let _ = std::fs::remove_file(&lock);
            }
        }
    }

    /// A file that git ignores here, so that no stash keeps it, where a rebase has one of its own: the
    /// branch, or a commit of ours that is done once more before another takes the file out again.
    fn in_the_way(&self, onto: &str) -> Result<Option<String>, String> {
        let names = ["--name-only", "--no-renames", "-z"];
        let added = [&["diff"], &names[..], &["--diff-filter=A", "HEAD", onto]].concat();
        let since = format!("{onto}..HEAD");
        let ours = ["--diff-filter=D", "--format=", &since];
        let taken_out = [&["log"], &names[..], &ours].concat();
        let files = self.local(&added)? + "\0" + &self.local(&taken_out)?;
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            if file.contains(char::REPLACEMENT_CHARACTER) {
                return Err(format!(
                    "'{file}' is no UTF-8, so it is not known whether such a file is in the way"
                ));
            }
            let is_dir = |part: &Path| self.work.join(part).symlink_metadata().map(|m| m.is_dir());
            let mut parts: Vec<&Path> = Path::new(file).ancestors().collect();
            parts.reverse();
            // A directory above it is not in the way.
            let blocks = |part: &&Path| is_dir(part).is_ok_and(|d| !d || *part == Path::new(file));
            let Some(part) = parts.into_iter().find(blocks) else {
                continue;
            };
            let part = part.to_string_lossy();
            match self.within(&["check-ignore", "--quiet", "--", &part]) {
                Ok(_) => return Ok(Some(part.into_owned())),
                Err(e) if is_no(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// A file with changes that git was told not to see: neither a stash nor the end of a rebase that
    /// failed keeps them.
    fn unseen(&self) -> Result<Option<String>, String> {
        let copy = self.dir.join("gastown-index");
        let remove = || {
            for file in [copy.with_extension("lock"), copy.clone()] {
                let _ = std::fs::remove_file(file);
            }
        };
        let changed = ["diff-files", "--name-only", "-z"];
        let in_copy = |args: &[&str]| {
            let mut git = self.command(args)?;
            git.env("GIT_INDEX_FILE", &copy);
            said(args, run_until(&mut git, LOCAL, None))
        };
        // Who was killed here has left a lock, with which git would not touch the copy.
        remove();
        let copied = std::fs::copy(self.dir.join("index"), &copy);
        let failed = |e| format!("Failed to copy the index to '{}': {e}", copy.display());
        let all = copied.map_err(failed).and_then(|_| {
            // This takes the mark from files that have changed, and fails where there are any.
            match in_copy(&["update-index", "--really-refresh"]) {
                Err(e) if !is_no(&e) => Err(e),
                _ => in_copy(&changed),
            }
        });
        remove();
        let (all, seen) = (all?, self.local(&changed)?);
        let seen: HashSet<&str> = seen.split('\0').collect();
        let unseen = all.split('\0').find(|file| !seen.contains(file));
        Ok(unseen.map(String::from))
    }

    /// Whether this is a file of the worktree, and no link.
    fn is_file(&self, file: &str) -> bool {
        let found = self.work.join(file).symlink_metadata();
        found.is_ok_and(|found| found.is_file())
    }

    /// Those of the files that are as one of the commits has them. Nothing is written: the disk may be
    /// full.
    fn known(&self, files: &[&str], commits: &[&str]) -> Result<HashSet<String>, String> {
        let mut known = HashSet::new();
        for files in files.chunks(FILES) {
            let mut blobs = HashSet::new();
            for commit in commits {
                let tree = ["ls-tree", "-r", "-z", "--format=%(objectname) %(path)"];
                let tree = self.local(&[&tree[..], &[commit, "--"], files].concat())?;
                blobs.extend(tree.split('\0').map(String::from));
            }
            let hashes = self.hashes(files, |args| self.undo(args))?;
            let found = hashes.iter().zip(files);
            let found = found.filter(|(hash, file)| blobs.contains(&format!("{hash} {file}")));
            known.extend(found.map(|(_, file)| file.to_string()));
        }
        Ok(known)
    }

    /// The files with local changes, staged or not, and those that git does not know.
    fn changed(&self) -> Result<String, String> {
        let changed = [
            "ls-files",
            "--modified",
            "--others",
            "--exclude-standard",
            "-z",
        ];
        let staged = ["diff", "--cached", "--name-only", "--no-renames", "-z"];
        Ok(self.local(&changed)? + "\0" + &self.local(&staged)?)
    }

    /// What git would keep of each of the files, as a hash; `git` runs it.
    fn hashes(
        &self,
        files: &[&str],
        git: impl Fn(&[&str]) -> Result<String, String>,
    ) -> Result<Vec<String>, String> {
        let mut hashes = Vec::new();
        for files in files.chunks(FILES) {
            let said = git(&[&["hash-object", "--"], files].concat())?;
            hashes.extend(said.lines().map(String::from));
        }
        Ok(hashes)
    }

    /// Where the links are that [`Git::keep`] makes, each called by its number.
    fn kept(&self, n: usize) -> PathBuf {
        self.dir.join("gastown-kept").join(n.to_string())
    }

    /// Links to the files with local changes: a stash gives back neither their rights and times, nor
    /// what a filter of git takes out.
    fn keep(&self) -> Result<Vec<(String, String)>, String> {
        self.forget_kept();
        let changed = self.changed()?;
        let files = changed.split('\0').filter(|file| self.is_file(file));
        let files: Vec<&str> = files.collect::<BTreeSet<&str>>().into_iter().collect();
        let hashes = self.hashes(&files, |args| self.within(args))?;
        for (n, file) in files.iter().enumerate() {
            let link = self.kept(n);
            if let Some(dir) = link.parent() {
                let _ = std::fs::create_dir(dir);
            }
            // Without it, as on another disk, there is what the stash gives back.
            let _ = std::fs::hard_link(self.work.join(file), link);
        }
        let files = files.into_iter().map(String::from);
        Ok(files.zip(hashes).collect())
    }

    /// Puts the files themselves in the place of what a stash gave back of them, where that is the same
    /// for git.
    fn give_back(&self, kept: &[(String, String)]) {
        let (numbers, files): (Vec<usize>, Vec<&str>) = kept
            .iter()
            .enumerate()
            .map(|(n, (file, _))| (n, file.as_str()))
            .filter(|(_, file)| self.is_file(file))
            .unzip();
        let hashes = self.hashes(&files, |args| self.undo(args));
        let mode = |path: &Path| path.symlink_metadata().map(|found| found.mode()).ok();
        for ((n, file), hash) in numbers.iter().zip(files).zip(hashes.unwrap_or_default()) {
            let (link, file) = (self.kept(*n), self.work.join(file));
            // The branch may have made it a program meanwhile.
            let modes = mode(&link).zip(mode(&file));
            if hash == kept[*n].1 && modes.is_some_and(|(one, other)| (one ^ other) & 0o100 == 0) {
                let _ = std::fs::rename(link, file);
            }
        }
        self.forget_kept();
    }

    fn forget_kept(&self) {
        let _ = std::fs::remove_dir_all(self.dir.join("gastown-kept"));
    }

    /// Whether there is a file that somebody has changed since the stash was made: it is neither as HEAD
    /// has it nor as the stash does.
    fn has_others(&self, stash: &str) -> Result<bool, String> {
        let untracked = format!("{stash}^3");
        let has_untracked = self.local(&["rev-parse", "--verify", "--quiet", &untracked]);
        let commits = ["HEAD", stash, &untracked];
        let commits = &commits[..2 + usize::from(has_untracked.is_ok())];
        let files = self.changed()?;
        let files: Vec<&str> = files
            .split('\0')
            .filter(|file| self.is_file(file))
            .collect();
        let known = self.known(&files, commits)?;
        Ok(files.iter().any(|file| !known.contains(*file)))
    }

    /// A merge of ours with changes that neither of its sides has: a rebase makes no merges, so they
    /// would be gone.
    fn edited_merge(&self, onto: &str) -> Result<Option<String>, String> {
        let since = format!("{onto}..HEAD");
        let own = ["--merges", "--remerge-diff", "--name-only"];
        let merges = [&["log"], &own[..], &["--format=%x00%h", &since]].concat();
        let merges = self.within(&merges)?;
        let mut merges = merges
            .split('\0')
            .filter_map(|merge| merge.split_once('\n'));
        let edited = merges.find(|(_, files)| !files.trim().is_empty());
        Ok(edited.map(|(merge, _)| merge.to_string()))
    }

    /// The stash whose line in the list of stashes satisfies `is`, and its place there.
    fn stash(&self, is: impl Fn(&str) -> bool) -> Result<Option<(usize, String)>, String> {
        let list = self.local(&["stash", "list", "--format=%H %gs"])?;
        let found = list.lines().enumerate().find(|(_, line)| is(line));
        let commit = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        Ok(found.map(|(place, line)| (place, commit(line))))
    }

    /// Stashes local changes, untracked files among them; gives the commit that has them.
    fn put_aside(&self, name: &str) -> Result<Option<String>, String> {
        if self.local(&["status", "--porcelain"])?.is_empty() {
            return Ok(None);
        }
        let push = ["stash", "push", "--quiet", "--include-untracked"];
        let left = self.deadline.saturating_duration_since(Instant::now());
        let push = [&push[..], &["--message", name]].concat();
        self.run(&push, left.max(LOCAL), self.stop)?;
        let stash = self.stash(|line| line.ends_with(name))?;
        Ok(stash.map(|(_, commit)| commit))
    }

    /// Puts right what a sync that was killed has left, unless somebody works here by now.
    fn put_right_later(&self, before: &Before) -> Result<(), String> {
        let under_way = self.under_way(&OURS).map_err(|e| before.kept(e))?;
        if let Some(what) = under_way {
            return Err(before.kept(format!("somebody has a {what} under way there since")));
        }
        self.unlock(before.branch.as_deref());
        self.put_right(before, None, false).map(drop)
    }

    /// Ends an unfinished rebase, and brings back the changes that were put aside. `false`: they
    /// conflicted, so all is as it was before the sync. `is_clean`: all of them were put aside.
    /// Without a `stash` it is looked for in the list, from which somebody in another worktree may have
    /// taken it for his own.
    fn put_right(
        &self,
        before: &Before,
        stash: Option<String>,
        is_clean: bool,
    ) -> Result<bool, String> {
        let kept = |e| before.kept(e);
        self.abort(before).map_err(kept)?;
        let listed = || self.stash(|line| line.ends_with(&before.stash));
        let stash = match stash {
            None => listed().map_err(kept)?.map(|(_, commit)| commit),
            stash => stash,
        };
        let done = match stash {
            Some(stash) => self.bring_back(&stash, before, is_clean).map_err(kept),
            None => Ok(true),
        };
        self.give_back(&before.kept);
        done
    }

    /// Brings the stashed changes back. If they conflict with what was fetched, the worktree goes
    /// back to the commit `before`; what somebody has changed in it meanwhile is stashed then.
    fn bring_back(&self, stash: &str, before: &Before, is_clean: bool) -> Result<bool, String> {
        if !is_clean && self.has_moved(&before.commit)? {
            return Err("somebody has worked there since".into());
        }
        let status = ["status", "--porcelain", "--ignore-submodules=all"];
        let is_dirty = !self.local(&status)?.is_empty();
        let has_more = is_dirty && (is_clean || (self.is_later && self.has_others(stash)?));
        // A part of what the stash has may be in the index and gone from the worktree: git would take
        // that for changed, and leave it so.
        let is_half = is_dirty && !is_clean && !has_more;
        let apply = ["stash", "apply", "--quiet", "--index", stash];
        let fits = !is_half && self.undo(&apply).is_ok();
        if !fits && has_more {
            self.undo(&["add", "--all"])?;
            let name = format!("{} meanwhile", before.stash);
            self.undo(&["stash", "push", "--quiet", "--message", &name])?;
        }
        if !fits {
            self.restore(stash, &before.commit)?;
        }
        self.drop_stash(stash)?;
        match !fits && has_more {
            true if self.is_later => {
                Err("somebody, or what was cut off, has changed files meanwhile".into())
            }
            true => Err("somebody has changed files meanwhile".into()),
            false => Ok(fits),
        }
    }

    /// Whether HEAD has left the commit `before`, and not by a rebase such as ours.
    fn has_moved(&self, before: &str) -> Result<bool, String> {
        if self.local(&["rev-parse", "HEAD"])? == before {
            return Ok(false);
        }
        let all = ["log", "-9", "--walk-reflogs", "--format=%gs"];
        let all = self.local(&all)?;
        // A stash is brought back with such a reset.
        let mut moves = all.lines().filter(|line| *line != "reset: moving to HEAD");
        Ok(!moves.next().is_some_and(|last| last.starts_with("rebase")))
    }

    /// Takes a stash off the list. git does that by the place in the list, where another worktree's
    /// stash may be by then: if that comes off, it is put back.
    fn drop_stash(&self, stash: &str) -> Result<(), String> {
        for _ in 0..DROPS {
            match self.stash(|line| line.starts_with(stash))? {
                Some((place, _)) if !self.drop_at(place, stash)? => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Takes the stash at a place off the list; `false`: it was another one, which was put back.
    fn drop_at(&self, place: usize, stash: &str) -> Result<bool, String> {
        let said = self.local(&["stash", "drop", &format!("stash@{{{place}}}")])?;
        let dropped = said.trim_end().rsplit_once('(');
        let dropped = dropped.map(|(_, commit)| commit.trim_end_matches(')'));
        let Some(theirs) = dropped.filter(|dropped| *dropped != stash) else {
            return Ok(true);
        };
        let message = self.local(&["log", "-1", "--format=%s", theirs])?;
        self.local(&["stash", "store", "--message", message.trim_end(), theirs])?;
        Ok(false)
    }

    /// Makes HEAD, index, worktree and untracked files what they were before the stash.
    fn restore(&self, stash: &str, before: &str) -> Result<(), String> {
        self.undo_unfiltered(&["reset", "--hard", "--quiet", before])?;
        let (index, untracked) = (format!("{stash}^2"), format!("{stash}^3"));
        // In this order a file is taken out of the worktree that git is not to know any more.
        self.undo(&["restore", "--source", stash, "--worktree", "--", ":/"])?;
        self.undo(&["restore", "--source", &index, "--staged", "--", ":/"])?;
        // A stash has a third parent only if there were untracked files.
        if self
            .local(&["ls-tree", &untracked])
            .is_ok_and(|files| !files.is_empty())
        {
            let source = ["restore", "--overlay", "--source", &untracked];
            self.undo(&[&source[..], &["--worktree", "--", ":/"]].concat())?;
        }
        Ok(())
    }

    /// Has HEAD, its branch and the files be what they were, where the end of a rebase has left them
    /// otherwise: git tells of no failure where it cannot write a reference.
    fn set_back(&self, before: &Before) -> Result<(), String> {
        let is_on = self.branch() == before.branch;
        let is_at = self.local(&["rev-parse", "HEAD"])? == before.commit;
        let status = ["status", "--porcelain", "--untracked-files=no"];
        let status = [&status[..], &["--ignore-submodules=all"]].concat();
        // First what makes room on a full disk.
        if !is_on || !is_at || !self.local(&status)?.is_empty() {
            self.undo_unfiltered(&["read-tree", "--reset", "-u", &before.commit])?;
        }
        if let Some(branch) = before.branch.as_ref().filter(|_| !is_on) {
            self.local(&["symbolic-ref", "HEAD", branch])?;
        }
        if self.local(&["rev-parse", "HEAD"])? != before.commit {
            self.local(&["update-ref", "HEAD", &before.commit])?;
        }
        if let Err(e) = self.sweep(before) {
            log::debug!("{e}, ignoring");
        }
        Ok(())
    }

    /// The branch that is checked out, as a full reference, if any is.
    fn branch(&self) -> Option<String> {
        self.local(&["symbolic-ref", "--quiet", "HEAD"]).ok()
    }

    /// Removes the files that an unfinished rebase has written and that no commit of ours has: the next
    /// sync would take them for somebody's, which are in the way of the branch's.
    fn sweep(&self, before: &Before) -> Result<(), String> {
        let untracked = ["ls-files", "--others", "--exclude-standard", "-z"];
        let untracked = self.local(&untracked)?;
        let untracked: Vec<&str> = untracked.split('\0').filter(|f| !f.is_empty()).collect();
        let Some(onto) = before.onto.as_deref() else {
            return Ok(());
        };
        let mut theirs = Vec::new();
        for files in untracked.chunks(FILES) {
            let names = ["ls-tree", "-r", "-z", "--name-only", onto, "--"];
            let names = self.local(&[&names[..], files].concat())?;
            let names: HashSet<&str> = names.split('\0').collect();
            let is_theirs = |file: &&&str| names.contains(**file) && self.is_file(file);
            theirs.extend(files.iter().filter(is_theirs));
        }
        let whole = self.known(&theirs, &[onto])?;
        for file in theirs {
            if whole.contains(file) || self.is_begun(onto, file) {
                let _ = std::fs::remove_file(self.work.join(file));
            }
        }
        Ok(())
    }

    /// Whether a file is the beginning of what a commit has there: a full disk, or the end of the rebase,
    /// has cut it off.
    fn is_begun(&self, commit: &str, file: &str) -> bool {
        let whole = self.undo(&["cat-file", "--filters", &format!("{commit}:{file}")]);
        let text = std::fs::read(self.work.join(file)).ok();
        whole.ok().zip(text).is_some_and(|(whole, text)| {
            let text = String::from_utf8_lossy(&text);
            let is_cut = |c: char| c.is_whitespace() || c == char::REPLACEMENT_CHARACTER;
            whole.starts_with(text.trim_end_matches(is_cut))
        })
    }

    /// Ends a rebase that failed, took too long, or was killed.
    fn abort(&self, before: &Before) -> Result<(), String> {
        // If we cannot look, a rebase may be under way: without one the abort does nothing.
        let dirs = ["rebase-merge", "rebase-apply"].map(|dir| self.dir.join(dir));
        for dir in &dirs {
            // Empty where git was killed as it made the file.
            let begun_at = files::read(&dir.join("orig-head")).ok().flatten();
            let begun_at = begun_at.filter(|commit| !commit.trim().is_empty());
            if begun_at.is_some_and(|commit| commit.trim() != before.commit) {
                return Err("somebody has begun a rebase there since".into());
            }
        }
        let under_way = dirs.map(|dir| files::is_there(&dir).unwrap_or(true));
        if under_way.contains(&true) && self.undo(&["rebase", "--abort"]).is_err() {
            self.unlock(before.branch.as_deref());
            if self.undo_unfiltered(&["rebase", "--abort"]).is_err() {
                self.undo(&["rebase", "--quit"])?;
                self.undo_unfiltered(&["reset", "--hard", "--quiet", &before.commit])?;
                if let Some(branch) = &before.branch {
                    self.local(&["symbolic-ref", "HEAD", branch])?;
                }
            }
        }
        if under_way.contains(&true) {
            self.set_back(before)?;
        }
        // An interrupted rebase may leave this file, which would bar every later sync.
        let _ = std::fs::remove_file(self.dir.join("CHERRY_PICK_HEAD"));
        Ok(())
    }
}

/// What git printed, or why it failed, in words.
fn said(args: &[&str], out: Result<super::Output, super::ToolError>) -> Result<String, String> {
    let what = format!("git {}", args.first().unwrap_or(&""));
    match out {
        Ok(out) if out.status.success() => Ok(out.stdout.trim_end().to_string()),
        Ok(out) => Err(format!("'{what}' failed: {}", out.complaint())),
        Err(e) => Err(format!("'{what}' {e}")),
    }
}

/// Whether git has only said no, and has not failed.
fn is_no(e: &str) -> bool {
    e.trim_end_matches(')').ends_with("exit status: 1")
}

/// Has git ask no questions: nobody is there to answer.
fn quiet(git: &mut Command) -> &mut Command {
    git.env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_EDITOR", "true")
        .env("LC_ALL", "C")
        .args(["-c", "rebase.autoStash=false", "-c", "commit.gpgSign=false"])
        // Without these, what is undone would take along submodules, and leave other branches moved.
        .args([
            "-c",
            "submodule.recurse=false",
            "-c",
            "rebase.updateRefs=false",
        ])
        .args(["-c", "log.showSignature=false"])
}

#[cfg(test)]
mod kills;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{run, script};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    pub(super) struct Setup {
        dir: tempfile::TempDir,
        pub(super) tools: Tools,
    }

    impl Setup {
        /// The note of a sync that was killed, at a commit of the branch main.
        fn record(&self, commit: &str, stash: &str) {
            let text =
                format!(r#"{{"commit":"{commit}","branch":"refs/heads/main","stash":"{stash}"}}"#);
            fs::write(self.path("record"), text).unwrap();
        }

        /// `origin`, a clone `work` of it, and a second commit in `origin` since.
        pub(super) fn new() -> Option<Setup> {
            let dir = tempfile::tempdir().unwrap();
            let tools = Tools::locate(dir.path());
            tools.path("git")?;
            let setup = Setup { dir, tools };
            fs::create_dir(setup.path("origin")).unwrap();
            setup.git("origin", "init -q -b main");
            setup.commit("origin", "a", "one\n");
            setup.git("", "clone -q origin work");
            // As what stands in the user's own file.
            let theirs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gitconfig");
            setup.git("work", &format!("config include.path {theirs}"));
            setup.commit("origin", "a", "two\n");
            Some(setup)
        }

        pub(super) fn path(&self, below: &str) -> PathBuf {
            self.dir.path().join(below)
        }

        pub(super) fn git(&self, dir: &str, args: &str) -> String {
            let mut git = self.tools.command("git", &self.path(dir)).unwrap();
            git.args(["-c", "user.name=t", "-c", "user.email=t@t"]);
            // What the test itself looks at is not as they want it.
            for usual in [
                "status.showUntrackedFiles=normal",
                "color.ui=false",
                "commit.gpgSign=false",
            ] {
                git.args(["-c", usual]);
            }
            let out = run(git.args(args.split(' ')), LOCAL).unwrap();
            assert!(out.status.success(), "{args}: {}", out.stderr);
            out.stdout.trim_end().into()
        }

        pub(super) fn commit(&self, dir: &str, file: &str, text: &str) {
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
                &self.path("record"),
                None,
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
    fn who_has_not_told_git_its_name_rebases_too() {
        let Some(setup) = Setup::new() else { return };
        setup.git("work", "config user.useConfigOnly true");
        setup.commit("work", "b", "mine\n");
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(
            (setup.read("a"), setup.read("b")),
            ("two\n".into(), "mine\n".into())
        );
        assert!(setup.path("work/new").exists());
    }

    #[test]
    fn a_git_that_takes_too_long_leaves_no_lock() {
        let Some(setup) = Setup::new() else { return };
        let work = setup.path("work");
        for deaf in ["", "trap '' TERM; "] {
            let smudge = setup.path("smudge");
            script(&smudge, &format!("#!/bin/sh\n{deaf}sleep 100\n"));
            let filter = format!("config filter.slow.smudge {}", smudge.display());
            setup.git("work", &filter);
            fs::write(work.join(".git/info/attributes"), "a filter=slow\n").unwrap();
            fs::remove_file(work.join("a")).unwrap();
            let git = Git::of(&setup.tools, &work, Instant::now(), None);
            let git = git.unwrap().unwrap();
            let reset = ["reset", "--hard", "--quiet"];
            assert!(git.run(&reset, Duration::from_secs(1), None).is_err());
            assert!(!work.join(".git/index.lock").exists(), "{deaf}");
            fs::write(work.join(".git/info/attributes"), "").unwrap();
            git.local(&reset).unwrap();
        }
    }

    #[test]
    fn a_worktree_has_its_locks_in_two_places() {
        let Some(setup) = Setup::new() else { return };
        setup.git("work", "worktree add -q ../linked");
        let linked = setup.path("linked");
        let git = Git::of(&setup.tools, &linked, Instant::now(), None);
        let git = git.unwrap().unwrap();
        let begun = SystemTime::now() - Duration::from_millis(100);
        let locks = [".git/worktrees/linked/index.lock", ".git/refs/stash.lock"];
        let locks = locks.map(|lock| setup.path("work").join(lock));
        locks.iter().for_each(|lock| fs::write(lock, "").unwrap());
        git.unlock_since(begun);
        assert_eq!(locks.map(|lock| lock.exists()), [false, false]);
    }

    #[test]
    fn the_stash_of_another_worktree_is_put_back() {
        let Some(setup) = Setup::new() else { return };
        setup.git("work", "config user.name t");
        setup.git("work", "config user.email t@t");
        for name in ["ours", "theirs"] {
            fs::write(setup.path("work/a"), name).unwrap();
            setup.git("work", &format!("stash push -q -m {name}"));
        }
        let ours = setup.git("work", "rev-parse stash@{1}");
        let (work, now) = (setup.path("work"), Instant::now());
        let deadline = now + Duration::from_secs(60);
        let git = Git::of(&setup.tools, &work, deadline, None)
            .unwrap()
            .unwrap();
        // Theirs came between the look at the list and the drop.
        assert_eq!(git.drop_at(0, &ours), Ok(false));
        let left = setup.git("work", "stash list --format=%gs");
        assert_eq!(left, "On main: theirs\nOn main: ours");
        git.drop_stash(&ours).unwrap();
        assert_eq!(
            setup.git("work", "stash list --format=%gs"),
            "On main: theirs"
        );
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
    fn no_other_branch_is_moved_along() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "mine\n");
        setup.git("work", "branch side");
        setup.commit("work", "c", "mine\n");
        let side = setup.git("work", "rev-parse side");
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("a"), "two\n");
        assert_eq!(setup.git("work", "rev-parse side"), side);
    }

    #[test]
    fn whoever_is_in_the_middle_of_something_is_let_be() {
        for (begin, what, file) in [
            ("bisect start HEAD HEAD~2", "bisect", "BISECT_START"),
            ("revert --no-commit HEAD", "revert", "REVERT_HEAD"),
        ] {
            let Some(setup) = Setup::new() else { return };
            setup.commit("work", "b", "mine\n");
            setup.commit("work", "b", "more\n");
            setup.git("work", begin);
            let now = || setup.git("work", "rev-parse HEAD") + &setup.git("work", "status --short");
            let before = now();
            let why = setup.sync().unwrap_err();
            assert!(why.ends_with(&format!("has a {what} under way")), "{why}");
            assert_eq!(now(), before);
            assert!(setup.path("work/.git").join(file).exists(), "{file}");
        }
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
    fn what_git_ignores_is_not_overwritten() {
        for (theirs, mine) in [
            ("c", "c"),
            ("c", "c/d"),
            ("c/d", "c"),
            ("c/d", "c/d"),
            ("c/d", "c/e"),
        ] {
            let Some(setup) = Setup::new() else { return };
            for file in [
                setup.path("origin").join(theirs),
                setup.path("work").join(mine),
            ] {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "x\n").unwrap();
            }
            setup.commit("origin", "b", "b\n");
            fs::write(setup.path("work/.git/info/exclude"), "/c\n").unwrap();
            let synced = setup.sync();
            assert_eq!(synced.is_ok(), mine == "c/e", "{mine}: {synced:?}");
            assert_eq!(setup.read(mine), "x\n");
        }
    }

    #[test]
    fn what_git_ignores_survives_commits_that_are_done_once_more() {
        let Some(setup) = Setup::new() else { return };
        fs::write(setup.path("work/.git/info/exclude"), "/key\n").unwrap();
        fs::write(setup.path("work/key"), "old\n").unwrap();
        setup.git("work", "add --force key");
        setup.git("work", "commit -q -m by-mistake");
        setup.git("work", "rm -q --cached key");
        setup.git("work", "commit -q -m out-again");
        fs::write(setup.path("work/key"), "new\n").unwrap();
        let why = setup.sync().unwrap_err();
        assert!(why.starts_with("git ignores 'key'"), "{why}");
        assert_eq!(setup.read("key"), "new\n");
    }

    #[test]
    fn a_link_that_git_ignores_is_not_overwritten_by_a_directory() {
        for has_file in [false, true] {
            let Some(setup) = Setup::new() else { return };
            for dir in ["origin/c", "elsewhere"] {
                fs::create_dir(setup.path(dir)).unwrap();
            }
            setup.commit("origin", "c/d", "theirs\n");
            if has_file {
                fs::write(setup.path("elsewhere/d"), "mine\n").unwrap();
            }
            fs::write(setup.path("work/.git/info/exclude"), "/c\n").unwrap();
            let link = setup.path("work/c");
            std::os::unix::fs::symlink(setup.path("elsewhere"), &link).unwrap();
            let why = setup.sync().unwrap_err();
            assert!(why.starts_with("git ignores 'c'"), "{why}");
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn a_file_that_is_slow_to_write_is_brought_back() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("origin", "b", "b\n");
        setup.git("work", "pull -q");
        setup.commit("origin", "a", "three\n");
        let smudge = setup.path("smudge");
        let slow = LOCAL.as_secs() + 1;
        script(&smudge, &format!("#!/bin/sh\nsleep {slow}\ncat\n"));
        let filter = format!("config filter.slow.smudge {}", smudge.display());
        setup.git("work", &filter);
        fs::write(setup.path("work/.git/info/attributes"), "b filter=slow\n").unwrap();
        fs::write(setup.path("work/b"), "mine\n").unwrap();
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("b"), "mine\n");
        assert_eq!(setup.git("work", "stash list"), "");
    }

    #[test]
    fn what_git_was_told_not_to_see_is_kept() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "b\n");
        setup.git("work", "update-index --assume-unchanged b");
        fs::write(setup.path("work/b"), "mine\n").unwrap();
        // A sync that was killed has left it.
        fs::write(setup.path("work/.git/gastown-index.lock"), "").unwrap();
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        let why = setup.sync().unwrap_err();
        assert!(why.contains("'b' is unchanged"), "{why}");
        assert_eq!(setup.read("b"), "mine\n");
        assert_eq!(setup.git("work", "ls-files -v"), "H a\nh b");
    }

    #[test]
    fn what_a_merge_has_changed_is_not_dropped() {
        for edit in [false, true] {
            let Some(setup) = Setup::new() else { return };
            setup.git("work", "checkout -q -b side");
            setup.commit("work", "b", "side\n");
            setup.git("work", "checkout -q main");
            setup.commit("work", "c", "main\n");
            setup.git("work", "merge -q --no-ff --no-commit side");
            if edit {
                fs::write(setup.path("work/d"), "merge\n").unwrap();
                setup.git("work", "add d");
            }
            setup.git("work", "commit -q -m merged");
            let synced = setup.sync();
            assert_eq!(synced.is_ok(), !edit, "{synced:?}");
            assert_eq!(setup.path("work/d").exists(), edit);
            assert_eq!(setup.read("b") + &setup.read("c"), "side\nmain\n");
        }
    }

    #[test]
    fn what_is_undone_leaves_submodules_alone() {
        let Some(setup) = Setup::new() else { return };
        let with_files = "-c protocol.file.allow=always submodule";
        setup.git("", "init -q -b main sub");
        setup.commit("sub", "f", "theirs\n");
        let sub = setup.path("sub").display().to_string();
        setup.git("origin", &format!("{with_files} add -q {sub} sub"));
        setup.git("origin", "commit -q -m sub");
        setup.git("work", "pull -q");
        setup.git("work", &format!("{with_files} update -q --init"));
        setup.commit("origin", "a", "three\n");
        setup.git("work", "config submodule.recurse true");
        fs::write(setup.path("work/a"), "mine\n").unwrap();
        fs::write(setup.path("work/sub/f"), "mine\n").unwrap();
        let why = setup.sync().unwrap_err();
        assert!(why.contains("conflict"), "{why}");
        assert_eq!(setup.read("a") + &setup.read("sub/f"), "mine\nmine\n");
    }

    #[test]
    fn what_somebody_changes_during_a_sync_is_kept() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "b\n");
        fs::write(setup.path("work/b"), "put aside\n").unwrap();
        let hook = setup.path("work/.git/hooks/post-rewrite");
        script(&hook, "#!/bin/sh\necho meanwhile >b\n");
        let why = setup.sync().unwrap_err();
        assert!(why.contains(KEPT), "{why}");
        assert_eq!(setup.read("b"), "put aside\n");
        assert_eq!(setup.git("work", "show stash:b"), "meanwhile");
        let name = setup.git("work", "stash list --format=%gs");
        assert!(name.ends_with(" meanwhile"), "{name}");
    }

    #[test]
    fn a_stash_that_another_worktree_takes_is_brought_back_too() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "b\n");
        fs::write(setup.path("work/b"), "mine\n").unwrap();
        let hook = setup.path("work/.git/hooks/post-rewrite");
        script(&hook, "#!/bin/sh\ngit stash drop\n");
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("b"), "mine\n");
    }

    #[test]
    fn what_another_worktree_has_fetched_meanwhile_is_no_failure() {
        let Some(setup) = Setup::new() else { return };
        let [pack, once, work] = ["pack", "once", "work"].map(|name| setup.path(name));
        let fetch = format!("git -C '{}' fetch -q origin", work.display());
        let once = once.display();
        let text = format!(
            "#!/bin/sh\ngit-upload-pack \"$@\"\n[ -e '{once}' ] || {{ >'{once}'; {fetch}; }} >/dev/null\n"
        );
        script(&pack, &text);
        let config = format!("config remote.origin.uploadpack {}", pack.display());
        setup.git("work", &config);
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("a"), "two\n");
    }

    #[test]
    fn what_no_stash_gives_back_is_kept() {
        for fits in [true, false] {
            let Some(setup) = Setup::new() else { return };
            let (work, clean) = (setup.path("work"), setup.path("clean"));
            script(&clean, "#!/bin/sh\nsed /output/d\n");
            let config = format!("config filter.strip.clean {}", clean.display());
            setup.git("work", &config);
            let attributes = "new filter=strip\ncrlf text=auto\n";
            fs::write(work.join(".git/info/attributes"), attributes).unwrap();
            for (file, text) in [("new", "code\noutput\n"), ("crlf", "x\r\n")] {
                fs::write(work.join(file), text).unwrap();
            }
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(work.join("new"), private).unwrap();
            let all = || {
                let meta = work.join("new").metadata().unwrap();
                (
                    setup.read("new") + &setup.read("crlf"),
                    meta.mode(),
                    meta.modified().unwrap(),
                )
            };
            let before = all();
            if !fits {
                fs::write(work.join("a"), "mine\n").unwrap();
            }
            assert_eq!(setup.sync().is_ok(), fits);
            assert_eq!(all(), before);
            assert!(!work.join(".git/gastown-kept").exists());
        }
    }

    /// After a sync that was killed somebody has worked here before the next start.
    #[test]
    fn what_was_done_since_is_not_undone() {
        for begins_rebase in [false, true] {
            let Some(setup) = Setup::new() else { return };
            setup.git("work", "config user.name t");
            setup.git("work", "config user.email t@t");
            let commit = setup.git("work", "rev-parse HEAD");
            setup.record(&commit, "gastown pre-sync x");
            fs::write(setup.path("work/a"), "put aside\n").unwrap();
            let work = setup.path("work");
            let git = |args: &[&str]| {
                let mut git = setup.tools.command("git", &work).unwrap();
                run(git.args(args), LOCAL).unwrap()
            };
            git(&["stash", "push", "-q", "-m", "gastown pre-sync x"]);
            setup.commit("work", "a", "since\n");
            if begins_rebase {
                git(&["fetch", "-q"]);
                assert!(!git(&["rebase", "-q", "origin/main"]).status.success());
            }
            let before = setup.git("work", "status");
            let why = put_right(&setup.tools, &work, &setup.path("record")).unwrap_err();
            assert!(why.contains(KEPT), "{why}");
            assert_eq!(setup.git("work", "status"), before);
            assert_eq!(setup.git("work", "show main:a"), "since");
            assert_eq!(setup.git("work", "show stash:a"), "put aside");
        }
    }

    /// After a sync that was killed somebody has changed a file, and perhaps more, before the next start.
    #[test]
    fn what_was_changed_since_is_kept() {
        for (file, merges) in [("a", false), ("c", false), ("a", true)] {
            let Some(setup) = Setup::new() else { return };
            setup.git("work", "config user.name t");
            setup.git("work", "config user.email t@t");
            setup.git("work", "checkout -q -b side");
            setup.commit("work", "a", "side\n");
            setup.git("work", "checkout -q main");
            let commit = setup.git("work", "rev-parse HEAD");
            setup.record(&commit, "gastown pre-sync x");
            let work = setup.path("work");
            fs::write(work.join("a"), "put aside\n").unwrap();
            let mut git = setup.tools.command("git", &work).unwrap();
            git.args(["stash", "push", "-q", "-m", "gastown pre-sync x"]);
            run(&mut git, LOCAL).unwrap();
            if merges {
                setup.git("work", "merge -q --no-ff --no-commit side");
            }
            fs::write(work.join(file), "since\n").unwrap();
            let put_right = put_right(&setup.tools, &work, &setup.path("record"));
            let here = setup.read(file);
            if file == "c" {
                assert_eq!(put_right, Ok(()));
                assert_eq!(here + &setup.read("a"), "since\nput aside\n");
                assert_eq!(setup.git("work", "stash list"), "");
                continue;
            }
            let why = put_right.unwrap_err();
            assert!(why.contains(KEPT), "{why}");
            let other = setup.git("work", "show stash:a");
            let both = [here.trim(), other.as_str()];
            let want = match merges {
                true => ["since", "put aside"],
                false => ["put aside", "since"],
            };
            assert_eq!(both, want, "{why}");
            assert_eq!(work.join(".git/MERGE_HEAD").exists(), merges);
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_told_to_be_in_the_stash() {
        let Some(setup) = Setup::new() else { return };
        let record = setup.path("record");
        let good = r#"{"commit":"x","stash":"gastown pre-sync x"}"#;
        for (text, dir) in [("{", "work"), (good, "nowhere"), (good, "")] {
            fs::write(&record, text).unwrap();
            let why = put_right(&setup.tools, &setup.path(dir), &record).unwrap_err();
            assert!(why.contains(KEPT) && !record.exists(), "{why}");
        }
    }

    #[test]
    fn a_filter_that_fails_costs_no_change() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("origin", ".gitattributes", "big filter=lfs\n");
        setup.commit("origin", "big", "old\n");
        setup.git("work", "pull -q");
        setup.commit("origin", "big", "new\n");
        setup.commit("origin", "a", "three\n");
        setup.commit("origin", "another", "theirs\n");
        setup.git("work", "config filter.lfs.clean cat");
        setup.git("work", "config filter.lfs.smudge false");
        setup.git("work", "config filter.lfs.required true");
        setup.commit("work", "b", "mine\n");
        fs::write(setup.path("work/b"), "changed\n").unwrap();
        let before = setup.git("work", "rev-parse HEAD");
        let why = setup.sync().unwrap_err();
        assert!(why.contains("filter"), "{why}");
        assert_eq!(setup.git("work", "rev-parse HEAD"), before);
        assert_eq!(setup.git("work", "symbolic-ref HEAD"), "refs/heads/main");
        assert_eq!(setup.git("work", "status --porcelain"), " M b");
        assert_eq!(setup.read("big") + &setup.read("b"), "old\nchanged\n");
        assert_eq!(setup.git("work", "stash list"), "");
        setup.git("work", "config filter.lfs.smudge cat");
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        assert_eq!(setup.sync(), Ok(Synced::Done));
        assert_eq!(setup.read("big") + &setup.read("b"), "new\nchanged\n");
    }

    /// As a full disk, or the end of the rebase, leaves them.
    #[test]
    fn what_a_rebase_has_begun_to_write_is_nobodys() {
        let Some(setup) = Setup::new() else { return };
        for (file, text) in [("b", "theirs\n"), ("c", "theirs too\n"), ("d", "third\n")] {
            setup.commit("origin", file, text);
        }
        setup.git("work", "fetch -q");
        let before = Before {
            commit: setup.git("work", "rev-parse HEAD"),
            branch: Some("refs/heads/main".into()),
            onto: Some(setup.git("work", "rev-parse origin/main")),
            stash: "gastown pre-sync x".into(),
            kept: Vec::new(),
        };
        let files = [
            ("a", "two\n"),
            ("b", "theirs\n"),
            ("c", "the"),
            ("d", "mine\n"),
            ("e", ""),
        ];
        let work = setup.path("work");
        for (file, text) in files {
            fs::write(work.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", work.join("link")).unwrap();
        let git = Git::of(&setup.tools, &work, Instant::now(), None);
        git.unwrap().unwrap().set_back(&before).unwrap();
        assert_eq!(
            setup.git("work", "status --porcelain"),
            "?? d\n?? e\n?? link"
        );
        assert_eq!(setup.read("a") + &setup.read("d"), "one\nmine\n");
    }

    #[test]
    fn what_another_git_has_locked_is_let_be() {
        for lock in ["index.lock", "HEAD.lock", "refs/heads/main.lock"] {
            let Some(setup) = Setup::new() else { return };
            fs::write(setup.path("work/new"), "untracked\n").unwrap();
            let path = setup.path("work/.git").join(lock);
            fs::write(&path, "").unwrap();
            let why = setup.sync().unwrap_err();
            assert!(why.contains(lock) && path.exists(), "{why}");
            assert_eq!(setup.git("work", "status --porcelain"), "?? new");
        }
    }

    /// git says of some that there is no rebase, and of some that it has ended.
    #[test]
    fn a_rebase_that_cannot_write_a_reference_is_undone() {
        for (name, backend) in [
            ("HEAD", "merge"),
            ("refs/heads/main", "merge"),
            ("refs/heads/main", "apply"),
        ] {
            for dirty in [false, true] {
                let Some(setup) = Setup::new() else { return };
                setup.commit("origin", "b", "theirs\n");
                if dirty {
                    fs::write(setup.path("work/new"), "untracked\n").unwrap();
                }
                let before = setup.git("work", "rev-parse HEAD");
                let lock = setup.path("work/.git").join(format!("{name}.lock"));
                setup.git("work", &format!("config rebase.backend {backend}"));
                let hook = setup.path("work/.git/hooks/pre-rebase");
                script(&hook, &format!("#!/bin/sh\n>'{}'\n", lock.display()));
                let why = setup.sync().unwrap_err();
                assert!(why.contains("rebase") && !why.contains(KEPT), "{why}");
                let _ = fs::remove_file(lock);
                assert_eq!(setup.git("work", "rev-parse HEAD"), before, "{name}");
                assert_eq!(setup.git("work", "symbolic-ref HEAD"), "refs/heads/main");
                let status = setup.git("work", "status --porcelain");
                assert_eq!(status, if dirty { "?? new" } else { "" }, "{name}");
                assert_eq!(setup.read("a"), "one\n");
                assert_eq!(setup.git("work", "stash list"), "");
            }
        }
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

    /// What a sync that was killed at some point has left.
    #[test]
    fn what_was_cut_off_is_put_right() {
        for reached in ["recorded", "stashed", "rebasing", "rebased", "applied"] {
            let Some(setup) = Setup::new() else { return };
            setup.commit(
                "work",
                if reached == "rebasing" { "a" } else { "b" },
                "mine\n",
            );
            fs::write(setup.path("work/new"), "untracked\n").unwrap();
            setup.git("work", "fetch -q");
            let work = setup.path("work");
            let commit = setup.git("work", "rev-parse HEAD");
            setup.record(&commit, "gastown pre-sync x");
            let steps = ["stashed", "rebasing", "rebased", "applied"];
            let done = steps
                .iter()
                .position(|s| *s == reached)
                .map_or(0, |n| n + 1);
            if done >= 1 {
                let mut git = setup.tools.command("git", &work).unwrap();
                let name = ["-m", "gastown pre-sync x"];
                git.args([
                    "-c",
                    "user.name=t",
                    "-c",
                    "user.email=t@t",
                    "stash",
                    "push",
                    "-qu",
                ]);
                assert!(run(git.args(name), LOCAL).unwrap().status.success());
            }
            if done >= 2 {
                let mut git = setup.tools.command("git", &work).unwrap();
                git.args(["-c", "user.name=t", "-c", "user.email=t@t"]);
                git.args(["-c", "commit.gpgSign=false", "rebase", "-q", "origin/main"]);
                let _ = run(&mut git, LOCAL);
                assert_eq!(work.join(".git/rebase-merge").exists(), done == 2);
            }
            if done >= 3 {
                setup.git("work", "reset -q");
            }
            if done >= 4 {
                setup.git("work", "stash apply -q");
            }
            fs::write(work.join(".git/index.lock"), "").unwrap();
            fs::write(work.join(".git/HEAD.lock"), "").unwrap();
            put_right(&setup.tools, &work, &setup.path("record")).unwrap();
            assert!(!work.join(".git/rebase-merge").exists(), "{reached}");
            assert_eq!(setup.git("work", "symbolic-ref HEAD"), "refs/heads/main");
            assert_eq!(
                setup.git("work", "status --porcelain"),
                "?? new",
                "{reached}"
            );
            assert_eq!(setup.read("new"), "untracked\n", "{reached}");
            assert_eq!(setup.git("work", "stash list"), "", "{reached}");
            assert!(!setup.path("record").exists(), "{reached}");
            let synced = setup.sync();
            assert_eq!(
                synced.is_ok(),
                reached != "rebasing",
                "{reached}: {synced:?}"
            );
        }
    }

    /// The end of git came as it wrote down where a rebase begins.
    #[test]
    fn a_rebase_that_was_cut_off_at_its_beginning_is_undone() {
        for files in [
            &[][..],
            &[("orig-head", "")],
            &[("head-name", "refs/heads/main\n"), ("orig-head", "")],
            &[
                ("head-name", "refs/heads/main\n"),
                ("onto", ""),
                ("orig-head", ""),
            ],
        ] {
            let Some(setup) = Setup::new() else { return };
            let (work, record) = (setup.path("work"), setup.path("record"));
            let commit = setup.git("work", "rev-parse HEAD");
            fs::write(work.join("a"), "mine\n").unwrap();
            setup.git("work", "stash push -q -m x");
            let rebasing = work.join(".git/rebase-merge");
            fs::create_dir(&rebasing).unwrap();
            for (file, text) in files {
                fs::write(rebasing.join(file), text).unwrap();
            }
            setup.record(&commit, "x");
            let right = put_right(&setup.tools, &work, &record);
            assert_eq!(right, Ok(()), "{files:?}");
            assert_eq!(setup.git("work", "symbolic-ref HEAD"), "refs/heads/main");
            assert_eq!(setup.git("work", "rev-parse HEAD"), commit, "{files:?}");
            assert_eq!(setup.read("a"), "mine\n", "{files:?}");
            assert_eq!(setup.git("work", "stash list"), "", "{files:?}");
            assert!(!rebasing.exists(), "{files:?}");
        }
    }

    /// The end of git came between the files and the index.
    #[test]
    fn a_stash_that_was_cut_off_is_brought_back_whole() {
        let Some(setup) = Setup::new() else { return };
        let (work, record) = (setup.path("work"), setup.path("record"));
        let commit = setup.git("work", "rev-parse HEAD");
        let stage = || {
            fs::write(work.join("staged"), "staged\n").unwrap();
            setup.git("work", "add staged");
        };
        stage();
        setup.git("work", "stash push -q -m x");
        stage();
        fs::remove_file(work.join("staged")).unwrap();
        setup.record(&commit, "x");
        put_right(&setup.tools, &work, &record).unwrap();
        assert_eq!(setup.read("staged"), "staged\n");
        assert_eq!(setup.git("work", "status --porcelain"), "A  staged");
        assert_eq!(setup.git("work", "stash list"), "");
    }

    #[test]
    fn what_is_to_stop_is_as_it_was() {
        let Some(setup) = Setup::new() else { return };
        setup.commit("work", "b", "mine\n");
        fs::write(setup.path("work/new"), "untracked\n").unwrap();
        let hook = setup.path("work/.git/hooks/post-checkout");
        script(&hook, "#!/bin/sh\nsleep 100\n");
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let work = setup.path("work");
        let rebasing = work.join(".git/rebase-merge");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begin = Instant::now();
                while !rebasing.exists() && begin.elapsed() < LOCAL {
                    std::thread::sleep(Duration::from_millis(10));
                }
                std::io::Write::write_all(&mut theirs, b"x").unwrap();
            });
            setup.git("work", "config user.name t");
            setup.git("work", "config user.email t@t");
            let begin = Instant::now();
            let limit = Duration::from_secs(60);
            let stop = std::os::fd::AsFd::as_fd(&ours);
            let got = sync(
                &setup.tools,
                &work,
                "main",
                limit,
                &setup.path("record"),
                Some(stop),
            );
            assert_eq!(got, Err("'git rebase' was to stop".into()));
            assert!(begin.elapsed() < 2 * LOCAL);
        });
        assert!(!rebasing.exists());
        assert_eq!(setup.git("work", "symbolic-ref HEAD"), "refs/heads/main");
        assert_eq!(setup.read("b") + &setup.read("new"), "mine\nuntracked\n");
        assert_eq!(setup.git("work", "stash list"), "");
    }

    #[test]
    fn what_is_no_worktree_is_let_be() {
        let Some(setup) = Setup::new() else { return };
        fs::create_dir(setup.path("work/sub")).unwrap();
        for dir in ["work/sub", ""] {
            let got = sync(
                &setup.tools,
                &setup.path(dir),
                "main",
                LOCAL,
                &setup.path("record"),
                None,
            );
            assert_eq!(got, Ok(Synced::NoWorktree), "{dir}");
        }
        fs::create_dir(setup.path("odd")).unwrap();
        fs::write(setup.path("odd/.git"), "junk").unwrap();
        let odd = setup.path("odd");
        let git = || Git::of(&setup.tools, &odd, Instant::now(), None);
        assert!(git().is_err_and(|e| e.contains("invalid gitfile")));
        // The data of this worktree was pruned.
        fs::write(setup.path("odd/.git"), "gitdir: /nowhere/worktrees/odd").unwrap();
        assert!(git().is_err_and(|e| e.contains("not a git repository")));
        assert_eq!(setup.read("a"), "one\n");
    }
}
