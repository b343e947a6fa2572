//! The Deacon's inbox: read apart from all else, for `gt` may hang; its requests become entries of
//! the spool first, and are deleted before they are executed. Mails that tell of a spawn become
//! entries of the other spool.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use super::run::Run;
use super::{SPOOL, mail, step};
use crate::tools::Tools;
use crate::tools::mail::{self as gt_mail, Mail};
use crate::town::{self, Town};
use crate::{alert, files, spawn};

/// How often runs that find requests in the spool read the mail, too. A run that finds none there was
/// started for the mail, and always reads it.
const MAIL_EVERY: Duration = Duration::from_secs(60);

/// How long after it was read the mail is read again, idle or not: no request by mail waits longer
/// than a minute.
const MAIL_PAUSE: Duration = Duration::from_secs(55);

/// How long the mail may fail to be read before that is a condition: it is tried twice more.
const MAIL_PATIENCE: Duration = Duration::from_secs(100);

/// The key of that condition.
const CONDITION: &str = "mail";

/// Written when the mail is about to be read, in the spool.
const READ: &str = "mail-read";

/// Written when the mail could not be read for the first time, in the spool; no such file: it was read
/// last time.
const FAILS: &str = "mail-fails";

/// After so many failures no more mails are deleted in this run.
const DELETE_FAILURES: usize = 3;

pub(super) enum News {
    Inbox(Result<Vec<Mail>, gt_mail::Unknown>),
    /// The mails were deleted, but for these failures.
    Deleted(Vec<gt_mail::Unknown>),
}

/// How far we are with the mail.
pub(super) enum Post {
    Unread,
    Awaited {
        news: Receiver<News>,
        orders: Sender<Vec<Mail>>,
    },
    Done,
}

/// How long ago a file was written; `None`: it is not there, or in the future.
fn age(path: &Path) -> Option<Duration> {
    path.metadata().ok()?.modified().ok()?.elapsed().ok()
}

/// Whether nobody has read the mail although it was due, or could not read it last time.
pub(super) fn is_due(town: &Town, tools: &Tools) -> bool {
    let spool = town.path(SPOOL);
    let is_late = || age(&spool.join(READ)).is_none_or(|age| age > 2 * MAIL_EVERY);
    spool.join(FAILS).exists() || (tools.path("gt").is_some() && is_late())
}

/// Has the first tick after the start of a town start a run that reads the mail: the stop of the town
/// has removed the timer for that.
///
/// # Errors
/// The stamp cannot be removed.
pub fn forget_read(town: &Town) -> Result<()> {
    files::remove(&town.path(SPOOL).join(READ)).map(drop)
}

impl Run<'_> {
    /// When the next run is due, for the mail: without `gt`, never.
    pub(super) fn next_mail(&self) -> Option<(Instant, String)> {
        Tools::locate(&town::home().ok()?).path("gt")?;
        let read = self.spool.dir(READ).metadata().ok()?.modified().ok()?;
        let wait = MAIL_PAUSE.saturating_sub(read.elapsed().unwrap_or_default());
        Some((Instant::now() + wait, "Mail to the Deacon".into()))
    }

    /// Has the inbox read apart from us: `gt` may hang, and no request waits for it.
    pub(super) fn begin_mail(&mut self, spooled: bool) -> Result<Post> {
        let stamp = self.spool.dir(READ);
        if spooled && age(&stamp).is_some_and(|age| age < MAIL_EVERY) {
            return Ok(Post::Done);
        }
        let tools = Tools::locate(&town::home()?);
        if tools.path("gt").is_none() {
            self.note_mail(None);
            return Ok(Post::Done);
        }
        files::replace(&stamp, b"")?;
        let root = self.town.root().to_path_buf();
        let (news_out, news) = mpsc::channel();
        let (orders, orders_in) = mpsc::channel::<Vec<Mail>>();
        std::thread::spawn(move || {
            let _ = news_out.send(News::Inbox(gt_mail::inbox(&tools, &root, mail::IDENTITY)));
            let Ok(mails) = orders_in.recv() else { return };
            // If `gt` hangs, each call may take its whole time limit: a few failures are enough.
            let failures = mails
                .iter()
                .filter_map(|mail| gt_mail::delete(&tools, &root, mail).err());
            let _ = news_out.send(News::Deleted(failures.take(DELETE_FAILURES).collect()));
        });
        Ok(Post::Awaited { news, orders })
    }

    /// Takes what came by mail; tells whether there may be something to claim.
    pub(super) fn mail(&mut self, post: &mut Post) -> Result<bool> {
        let Post::Awaited { news, orders } = post else {
            return Ok(false);
        };
        match news.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                *post = Post::Done;
                Ok(false)
            }
            Ok(News::Inbox(Err(e))) => {
                self.note_mail(Some(&e));
                *post = Post::Done;
                Ok(false)
            }
            Ok(News::Inbox(Ok(inbox))) => {
                self.note_mail(None);
                let mails = self.spool_mails(inbox)?;
                step("mail-spooled");
                if mails.is_empty() || orders.send(mails).is_err() {
                    *post = Post::Done;
                }
                Ok(false)
            }
            Ok(News::Deleted(failures)) => {
                for e in failures {
                    log::warn!("A mail stays in the inbox, its request is executed once: {e}");
                }
                step("mail-deleted");
                self.held_back.clear();
                *post = Post::Done;
                Ok(true)
            }
        }
    }

    /// Notes whether the mail could be read. If not, no run fails for that: requests in the spool do
    /// not need the mail, which is read again at its time. If that lasts, it is one condition, which
    /// ends when the mail is read again, or there is no `gt` any more.
    fn note_mail(&mut self, failure: Option<&gt_mail::Unknown>) {
        let since = self.spool.dir(FAILS);
        let noted = match failure {
            Some(why) => self.mail_fails(&since, why),
            None if since.exists() => alert::clear(self.town, CONDITION, "The mail is read again")
                .and_then(|()| files::remove(&since).map(drop)),
            None => Ok(()),
        };
        if let Err(e) = noted {
            self.errors.push(format!("{e:#}"));
        }
    }

    fn mail_fails(&self, since: &Path, why: &gt_mail::Unknown) -> Result<()> {
        log::warn!("Requests by mail are not seen now, the mail is read again in a minute: {why}");
        match age(since) {
            None => files::write(since, b""),
            Some(age) if age < MAIL_PATIENCE => Ok(()),
            Some(_) => {
                let summary = format!(
                    "Requests by mail are not seen: {why}; try 'gt mail inbox --identity {}' in \
                     the town, and without mail use 'gastownctl request'",
                    mail::IDENTITY
                );
                alert::raise(self.town, CONDITION, &summary, &[])
            }
        }
    }

    /// Makes entries of the mails that ask for something, and gives the mails to be deleted.
    fn spool_mails(&mut self, inbox: Vec<Mail>) -> Result<Vec<Mail>> {
        let known = self.state.mails.len();
        self.state
            .mails
            .retain(|id| inbox.iter().any(|mail| mail.id == *id));
        if self.state.mails.len() < known {
            self.state.save(Timestamp::now())?;
        }
        let spawns = spawn::take_mails(self.town.root(), &inbox)?;
        let by_subject = self.town.dialect().mails_as_mayor();
        let is_agent = mail::is_address(|text| self.town.agent(text).ok());
        let mut mails = Vec::new();
        for mail in inbox.into_iter().filter(mail::is_request) {
            if !self.state.mails.contains(&mail.id) {
                let path = self.spool.put(
                    &mail::stem(&mail.id),
                    &mail::written(&mail, &is_agent, by_subject),
                )?;
                let name = path.file_name().unwrap_or_default();
                self.held_back.insert(self.spool.dir("cur").join(name));
            }
            mails.push(mail);
        }
        mails.extend(spawns);
        Ok(mails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::script;

    #[test]
    fn the_first_tick_of_a_town_has_the_mail_read() {
        let (dir, town) = crate::town::tests::town_with(1, &[]);
        let bin = dir.path().join(".local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        script(&bin.join("gt"), "#!/bin/sh\n");
        let tools = Tools::locate(dir.path());
        let spool = town.path(SPOOL);
        assert!(is_due(&town, &tools));
        files::replace(&spool.join(READ), b"").unwrap();
        assert!(!is_due(&town, &tools));
        forget_read(&town).unwrap();
        assert!(is_due(&town, &tools));
        files::replace(&spool.join(READ), b"").unwrap();
        files::write(&spool.join(FAILS), b"").unwrap();
        assert!(is_due(&town, &tools));
    }
}
