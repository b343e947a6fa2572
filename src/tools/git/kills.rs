//! What a sync leaves that is killed: git takes a copy of the worktrees after each of its commands,
//! also of those that it calls itself, at each write of its index or of a reference, and before each
//! file that it writes. From such a copy the worktree is put right. With GASTOWN_KILLS=1 in the
//! environment that is each of them, otherwise, for the time it takes, each fifth one.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::tests::Setup;
use super::*;
use crate::tools::script;

/// How the changes of a worktree agree with those of the branch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    /// There are no commits beside those of the branch.
    Forward,
    /// There are some, which fit, as the local changes do.
    Fits,
    /// The local changes do not fit.
    Conflicts,
    /// The commits do not fit.
    CommitsConflict,
}

/// What git calls while it works, where this is not our own command.
const HOOKS: [&str; 3] = ["post-index-change", "reference-transaction", "pre-rebase"];

/// A repository with two worktrees, `work` and `linked`, each with all kinds of changes of a person
/// and with a stash. The branch has gone on.
fn worktrees(case: Case, dir: &str) -> Option<Setup> {
    let setup = Setup::new()?;
    let git = |args: &str| setup.git("work", args);
    for file in ["both", "dropped", "gone", "mine", "out", "quiet", "tool"] {
        fs::write(setup.path("origin").join(file), "old\n").unwrap();
    }
    symlink("a", setup.path("origin/link")).unwrap();
    setup.commit("origin", ".gitignore", "ignored\n");
    git("pull -q");
    git("config user.name t");
    git("config user.email t@t");
    git("worktree add -q -b side ../linked");
    // So a copy of both is a repository of its own.
    let data = "gitdir: ../work/.git/worktrees/linked\n";
    fs::write(setup.path("linked/.git"), data).unwrap();
    setup.git("origin", "rm -q dropped");
    setup.commit("origin", "fresh", "theirs\n");
    setup.commit("origin", "a", "three\n");
    git("fetch -q");
    // All copies share the objects.
    fs::remove_dir_all(setup.path("work/.git/hooks")).unwrap();
    fs::rename(setup.path("work/.git/objects"), setup.path("objects")).unwrap();
    symlink(setup.path("objects"), setup.path("work/.git/objects")).unwrap();
    for other in ["work", "linked"] {
        fs::write(setup.path(other).join("mine"), "decoy\n").unwrap();
        setup.git(other, &format!("stash push -q -m of-{other}"));
        if other == dir && case != Case::Forward {
            setup.commit(dir, "own", "own\n");
            let conflicts = case == Case::CommitsConflict;
            setup.commit(dir, if conflicts { "a" } else { "next" }, "own\n");
        }
        let path = |file: &str| setup.path(other).join(file);
        setup.git(other, "rm -q out");
        fs::remove_file(path("gone")).unwrap();
        fs::remove_file(path("link")).unwrap();
        symlink("mine", path("link")).unwrap();
        for (file, text) in [
            ("both", "staged\n"),
            ("added", "staged\n"),
            ("tool", "new\n"),
        ] {
            fs::write(path(file), text).unwrap();
        }
        fs::set_permissions(path("tool"), Permissions::from_mode(0o755)).unwrap();
        setup.git(other, "add both added");
        setup.git(other, "update-index --assume-unchanged quiet");
        fs::create_dir(path("sub")).unwrap();
        for file in ["both", "mine", "new", "ignored", "sub/new"] {
            fs::write(path(file), "mine\n").unwrap();
        }
        fs::set_permissions(path("new"), Permissions::from_mode(0o600)).unwrap();
    }
    if case == Case::Conflicts {
        fs::write(setup.path(dir).join("a"), "mine\n").unwrap();
    }
    Some(setup)
}

/// A git that copies both worktrees and the record to `at/NUMBER` whenever it does something.
fn watched(setup: &Setup) -> Tools {
    let dir = setup.path("");
    let dir = dir.display();
    for part in ["at", "hooks", "core"] {
        fs::create_dir(setup.path(part)).unwrap();
    }
    fs::write(setup.path("count"), "1000\n").unwrap();
    let copy = format!(
        "#!/bin/sh\ncd '{dir}' && [ -e record ] || exit 0\nread n <count\necho $((n + 1)) >count\n\
         mkdir at/$n\nexec cp -a work linked record at/$n\n"
    );
    script(&setup.path("copy"), &copy);
    for hook in HOOKS {
        symlink("../copy", setup.path("hooks").join(hook)).unwrap();
    }
    fs::write(setup.path("work/.git/info/attributes"), "* filter=copy\n").unwrap();
    let git = setup.tools.path("git").unwrap().display();
    let text = format!(
        "#!/bin/sh\nexport GIT_EXEC_PATH='{dir}/core'\n\
         '{git}' -c core.hooksPath='{dir}/hooks' -c filter.copy.smudge=\"'{dir}/copy'; cat\" \"$@\"\n\
         status=$?\n'{dir}/copy'\nexit $status\n"
    );
    script(&setup.path("core/git"), &text);
    let mut tools = setup.tools.clone();
    tools.found.insert("git", setup.path("core/git"));
    tools
}

/// All files below a directory, but for those named `but`: mode, and content or where a link leads.
fn files_of(dir: &Path, but: &str) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in next.read_dir().unwrap().map(Result::unwrap) {
            let (path, found) = (entry.path(), entry.metadata().unwrap());
            if entry.file_name() == but {
                continue;
            }
            if found.is_dir() {
                dirs.push(path);
            } else {
                let link = fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes());
                let content = link.or_else(|_| fs::read(&path)).unwrap();
                let name = path.strip_prefix(dir).unwrap().to_path_buf();
                files.insert(name, (found.permissions().mode(), content));
            }
        }
    }
    files
}

/// All that a person can see of both worktrees, and what is half done in them.
fn seen(setup: &Setup, root: &Path) -> String {
    let mut seen = String::new();
    for (dir, data) in [
        ("work", "work/.git"),
        ("linked", "work/.git/worktrees/linked"),
    ] {
        for (name, (mode, content)) in files_of(&root.join(dir), ".git") {
            let content = String::from_utf8_lossy(&content);
            seen += &format!("{dir}/{} {mode:o} {content:?}\n", name.display());
        }
        let mut git = setup.tools.command("git", &root.join(dir)).unwrap();
        let index = crate::tools::run(git.args(["ls-files", "--stage", "-v"]), LOCAL);
        let head = fs::read_to_string(root.join(data).join("HEAD")).unwrap();
        let names = root.join(data).read_dir().unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| {
            let name = name.to_string_lossy();
            let is_begun = UNDER_WAY.iter().any(|(file, _)| *file == name);
            is_begun || name.ends_with(".lock") || name.starts_with("gastown")
        });
        seen += &format!(
            "{}{dir} is on {head}half done: {names:?}\n",
            index.unwrap().stdout
        );
    }
    let mut git = setup.tools.command("git", &root.join("work")).unwrap();
    let refs = crate::tools::run(git.args(["show-ref"]), LOCAL)
        .unwrap()
        .stdout;
    let stashes = fs::read_to_string(root.join("work/.git/logs/refs/stash")).unwrap();
    seen + &refs + &stashes
}

fn killed_at_each_step(case: Case, dir: &str) {
    let step = match std::env::var_os("GASTOWN_KILLS") {
        Some(_) => 1,
        // The others do all that this one does.
        None if case == Case::Forward => return,
        None => 5,
    };
    let Some(setup) = worktrees(case, dir) else {
        return;
    };
    let root = setup.path("");
    let before = seen(&setup, &root);
    let (tools, limit) = (watched(&setup), Duration::from_secs(60));
    let synced = sync(
        &tools,
        &root.join(dir),
        "main",
        limit,
        &root.join("record"),
        None,
    );
    let fits = matches!(case, Case::Forward | Case::Fits);
    assert_eq!(synced.is_ok(), fits, "{synced:?}");
    let after = seen(&setup, &root);
    // What the branch and its commits have changed.
    let is_theirs = |line: &str| {
        let theirs = ["dropped", "/a ", "\ta", "refs/heads/"];
        fits && theirs.iter().any(|text| line.contains(text))
    };
    let lost = lacks("", &before, &after);
    assert!(lost.lines().all(is_theirs), "{lost}");
    let mut copies = files::names(&root.join("at"), 9999).unwrap();
    assert!(copies.len() > 20, "this tests nothing: {}", copies.len());
    let mut last = BTreeMap::new();
    copies.retain(|copy| {
        let now = files_of(&root.join("at").join(copy), "");
        let is_new = now != last;
        last = now;
        is_new
    });
    // A conflict that was being written is taken for somebody's change: it is kept as well.
    let is_old = |line: &&str| !line.contains("refs/stash") && !line.ends_with(" meanwhile");
    let old = |text: &str| {
        text.lines()
            .filter(is_old)
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let mut wrong = String::new();
    for (n, copy) in copies
        .iter()
        .enumerate()
        .skip(case as usize % step)
        .step_by(step)
    {
        let copy = root.join("at").join(copy);
        let right = put_right(&setup.tools, &copy.join(dir), &copy.join("record"));
        let now = seen(&setup, &copy);
        let is_right = match &right {
            Ok(()) => now == before || now == after,
            Err(e) => case == Case::Conflicts && e.contains(KEPT) && old(&now) == old(&before),
        };
        if !is_right {
            wrong += &format!("copy {n} of {}: {right:?}\n", copies.len());
            wrong += &lacks("- ", &before, &now);
            wrong += &lacks("+ ", &now, &before);
        }
    }
    assert!(wrong.is_empty(), "{case:?}\n{wrong}");
}

/// The lines of a text that another lacks.
fn lacks(what: &str, text: &str, other: &str) -> String {
    let other: HashSet<&str> = other.lines().collect();
    let lines = text.lines().filter(|line| !other.contains(line));
    lines.map(|line| format!("  {what}{line}\n")).collect()
}

#[test]
fn who_is_killed_while_it_fast_forwards_loses_nothing() {
    killed_at_each_step(Case::Forward, "work");
}

#[test]
fn who_is_killed_while_it_rebases_loses_nothing() {
    killed_at_each_step(Case::Fits, "linked");
}

#[test]
fn who_is_killed_while_it_undoes_a_conflict_loses_nothing() {
    killed_at_each_step(Case::Conflicts, "work");
}

#[test]
fn who_is_killed_while_it_undoes_a_rebase_loses_nothing() {
    killed_at_each_step(Case::CommitsConflict, "linked");
}
