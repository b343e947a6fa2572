//! What is typed into panes.

use std::collections::HashMap;
use std::time::Duration;

use super::panes::MARKS;
use super::screens::Screen;
use super::server::{Tmux, TmuxError, quoted};

/// Between a text and its Enter: an Enter too early is taken for a part of a paste.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// How long after an Enter it is looked whether it was taken; after each but the last, it is
/// pressed again where it was not.
const ENTER_LOOKS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
];

/// Keys for a pane that it gets at most once: they and the mark are one step of the server, so
/// the mark tells, however the caller ended, whether they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The pane's id.
    pub pane: String,
    /// The process they are meant for; a pane with another one gets nothing.
    pub pid: u32,
    /// Letters and digits. A pane that has this mark gets nothing.
    pub mark: String,
    /// What is sent.
    pub keys: Keys,
}

/// See [`Once`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Text, byte for byte.
    Text(String),
    /// The Enter key.
    Enter,
}

impl Tmux {
    /// Sends keys, each at most once; those of many panes in one call. A pane in copy mode is
    /// brought out of it first. [`Tmux::marked`] tells afterwards which panes have got them.
    ///
    /// # Errors
    /// tmux cannot be run, hangs, or no server answers: then it is not known who got them.
    pub fn once(&self, items: &[Once]) -> Result<(), TmuxError> {
        self.each_apart(items.iter().map(|item| {
            let condition = format!(
                "#{{&&:#{{==:#{{pane_pid}},{}}},#{{==:#{{m:*{}*,#{{{MARKS}}}}},0}}}}",
                item.pid, item.mark
            );
            let pane = quoted(&item.pane);
            let keys = match &item.keys {
                Keys::Text(text) => format!("-l -- {}", quoted(text)),
                Keys::Enter => "Enter".to_string(),
            };
            let commands = format!(
                "set-option -a -p -t {pane} {MARKS} ' {}'; copy-mode -q -t {pane}; \
                 send-keys -t {pane} {keys}",
                item.mark
            );
            (item.pane.clone(), condition, commands)
        }))
        .map(drop)
    }

    /// Presses Enter in panes, in one call; a pane that is gone is passed over.
    ///
    /// # Errors
    /// As for [`Tmux::once`].
    pub fn enter(&self, panes: &[String]) -> Result<(), TmuxError> {
        self.each_apart(panes.iter().map(|pane| {
            let target = quoted(pane);
            let commands = format!("send-keys -t {target} Enter");
            (pane.clone(), "1".to_string(), commands)
        }))
        .map(drop)
    }

    /// Types a text into each pane, byte for byte, and Enter after it: all texts in one call, all
    /// Enters in a second one. Looks at the screens, presses Enter again where it was not taken,
    /// and tells for each pane how it went. One that fails does not hold the others.
    pub fn deliver(&self, items: &[(String, String)]) -> Vec<Result<(), TmuxError>> {
        self.deliver_all(items).unwrap_or_else(|e| {
            let why = e.to_string();
            let fail = |_| Err(TmuxError::Failed(why.clone()));
            items.iter().map(fail).collect()
        })
    }

    fn deliver_all(
        &self,
        items: &[(String, String)],
    ) -> Result<Vec<Result<(), TmuxError>>, TmuxError> {
        let mut panes: Vec<String> = items.iter().map(|(pane, _)| pane.clone()).collect();
        panes.sort();
        panes.dedup();
        let before = self.screens(&panes)?;
        self.each_apart(items.iter().map(|(pane, text)| {
            let (target, text) = (quoted(pane), quoted(text));
            let commands = format!("copy-mode -q -t {target}; send-keys -t {target} -l -- {text}");
            (pane.clone(), "1".to_string(), commands)
        }))?;
        std::thread::sleep(DEBOUNCE);
        let typed = self.screens(&panes)?;
        let waits = |pane: &String, now: &HashMap<String, Screen>| {
            let mut texts = items
                .iter()
                .filter(|(p, _)| p == pane)
                .map(|(_, text)| text);
            match (typed.get(pane), now.get(pane)) {
                (Some(typed), Some(now)) => texts.any(|text| now.still_waits(typed, text)),
                _ => false,
            }
        };
        self.enter(&panes)?;
        let mut now = typed.clone();
        for (look, wait) in ENTER_LOOKS.into_iter().enumerate() {
            std::thread::sleep(wait);
            now = self.screens(&panes)?;
            let mut waiting = panes.clone();
            waiting.retain(|pane| waits(pane, &now));
            if waiting.is_empty() || look + 1 == ENTER_LOOKS.len() {
                break;
            }
            self.enter(&waiting)?;
        }
        let judge = |(pane, _): &(String, String)| match (before.get(pane), now.get(pane)) {
            (None, _) | (_, None) => Err(TmuxError::NotFound),
            _ if waits(pane, &now) => Err(TmuxError::NotShown),
            _ => Ok(()),
        };
        Ok(items.iter().map(judge).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tmux::Pane;
    use crate::tmux::lab::Lab;

    #[test]
    fn keys_are_sent_once_to_the_process_they_are_for() {
        let lab = Lab::new("once");
        let tmux = &lab.0;
        let cat = ["cat".to_string()];
        tmux.new_session("second", Path::new("/"), &[], &cat)
            .unwrap();
        tmux.run(&["copy-mode", "-t", "=first:"]).unwrap();
        let panes = tmux.panes().unwrap();
        let once = |pane: &Pane, pid, mark: &str, keys| Once {
            pane: pane.id.clone(),
            pid,
            mark: mark.into(),
            keys,
        };
        let text = Keys::Text("it's \"odd\" #{pid} $HOME;".into());
        let gone = Pane {
            id: "%99".into(),
            ..panes[0].clone()
        };
        let items = [
            once(&gone, gone.pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "t1", text.clone()),
            once(&panes[0], panes[0].pid, "e1", Keys::Enter),
            once(&panes[1], panes[1].pid + 1, "t1", text),
        ];
        for _ in 0..2 {
            tmux.once(&items).unwrap();
        }
        let ids: Vec<String> = ["%0", "%1", "%99"].map(String::from).to_vec();
        let want = "it's \"odd\" #{pid} $HOME;";
        lab.wait("the text", |tmux| {
            tmux.screens(&ids).unwrap()["%0"].lines == [want, want]
        });
        let screens = tmux.screens(&ids).unwrap();
        assert_eq!((screens.len(), screens["%0"].row), (2, 2));
        assert!(screens["%1"].lines.is_empty());
        let marked = tmux.marked().unwrap();
        assert_eq!(marked[0].marks, ["t1", "e1"]);
        assert!(marked[1].marks.is_empty());
    }

    #[test]
    fn texts_arrive_as_they_are() {
        let lab = Lab::new("deliver");
        let tmux = &lab.0;
        let dir = tempfile::tempdir().unwrap();
        let texts = [
            "HEARTBEAT: plain",
            "-V it's \"odd\" #{pid} $HOME ~ {a} %1 \\n;",
            "Enter",
            "tab\there, umlaut \u{e4}, arrow \u{276f}",
            ";",
            "two\nlines",
        ];
        let mut items = vec![("%99".to_string(), "gone".to_string())];
        for (number, text) in texts.iter().enumerate() {
            let out = dir.path().join(number.to_string());
            // A terminal that shows and passes on what it gets, and ends lines as it gets them.
            let script = "stty raw echo; head -c \"$1\" >\"$2\"; exec sleep 100";
            let length = (text.len() + 1).to_string();
            let argv = ["sh", "-c", script, "sh", &length, &out.to_string_lossy()];
            let argv: Vec<String> = argv.map(String::from).to_vec();
            let name = format!("s{number}");
            let pane = tmux.new_session(&name, Path::new("/"), &[], &argv);
            items.push((pane.unwrap(), text.to_string()));
        }
        std::thread::sleep(Duration::from_millis(300));
        let results = tmux.deliver(&items);
        assert!(matches!(results[0], Err(TmuxError::NotFound)));
        for (number, text) in texts.iter().enumerate() {
            assert!(
                results[number + 1].is_ok(),
                "{text}: {:?}",
                results[number + 1]
            );
            let got = std::fs::read_to_string(dir.path().join(number.to_string()));
            assert_eq!(got.unwrap(), format!("{text}\r"), "{text}");
        }
    }

    #[test]
    fn what_nobody_reads_is_told() {
        let lab = Lab::new("deaf");
        let deaf = ["sh", "-c", "stty raw -echo; exec sleep 100"];
        let deaf = deaf.map(String::from).to_vec();
        let pane = lab
            .0
            .new_session("deaf", Path::new("/"), &[], &deaf)
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let results = lab.0.deliver(&[(pane, "hello".into())]);
        assert!(matches!(results[..], [Err(TmuxError::NotShown)]));
    }
}
