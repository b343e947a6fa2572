//! What a program asks, as its screen shows it.

use serde::{Deserialize, Serialize};

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Whether the directory is trusted.
    Trust,
    /// Whether the program shall run without asking for permissions.
    Bypass,
    /// Whether an API key shall be used.
    Key,
    /// Which colours the program shall use.
    Theme,
    /// How to log in.
    Login,
    /// Whether a tool may be used.
    Permission,
    /// A menu that somebody has opened.
    Menu,
    /// Something else; mostly a question that the model asks.
    #[serde(rename = "question")]
    Other,
}

impl Kind {
    /// The kind in one word.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Trust => "trust",
            Kind::Bypass => "bypass",
            Kind::Key => "key",
            Kind::Theme => "theme",
            Kind::Login => "login",
            Kind::Permission => "permission",
            Kind::Menu => "menu",
            Kind::Other => "question",
        }
    }
}

/// What a program asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What the question is about.
    pub kind: Kind,
    /// The text, in lines.
    #[serde(rename = "question")]
    pub text: String,
    /// What can be chosen, in order.
    pub choices: Vec<String>,
    /// The line of the text that says most, if the program's look tells which it is; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub headline: String,
    /// Which choice Enter would take, if they have no numbers, from 0. It is no part of the question.
    #[serde(skip)]
    pub marked: Option<usize>,
}

impl Question {
    /// A menu of which only this line is known.
    pub fn menu(text: &str) -> Question {
        Question {
            kind: Kind::Menu,
            text: text.into(),
            choices: Vec::new(),
            headline: text.into(),
            marked: None,
        }
    }

    /// Whether this is the same question, whichever choice is marked.
    pub fn is_same(&self, other: &Question) -> bool {
        let marked = other.marked;
        let same = Question {
            marked,
            ..self.clone()
        };
        same == *other
    }

    /// The line that says most: the one that the program's look knows, else the first question,
    /// else the one that introduces the choices, else the title.
    pub fn headline(&self) -> &str {
        let mut lines = self.text.lines();
        let is = |what: fn(&&str) -> bool| lines.clone().find(what);
        let known = Some(self.headline.as_str()).filter(|line| !line.is_empty());
        let line = known
            .or_else(|| is(|line| line.contains('?')))
            .or_else(|| is(|line| line.ends_with(':')))
            .or_else(|| {
                lines
                    .clone()
                    .next_back()
                    .filter(|_| !self.choices.is_empty())
            })
            .or_else(|| lines.next());
        let line = line.unwrap_or_default();
        // What follows a question explains it.
        line.split_inclusive('?').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines() {
        let question = |text: &str, headline: &str, choices: &[&str]| Question {
            kind: Kind::Other,
            text: text.into(),
            choices: choices.iter().map(|c| c.to_string()).collect(),
            headline: headline.into(),
            marked: None,
        };
        for (text, headline, choices, want) in [
            (
                "Danger\nDelete it? It is gone then.",
                "",
                &["Yes"][..],
                "Delete it?",
            ),
            (
                "Login\nSelect login method:",
                "",
                &["A"],
                "Select login method:",
            ),
            (
                "word1 word2\nUpdate Permissions",
                "",
                &["A"],
                "Update Permissions",
            ),
            ("Resume session\nto search", "", &[], "Resume session"),
            (
                "Welcome\nChoose a style\nLater",
                "Choose a style",
                &["A"],
                "Choose a style",
            ),
            ("", "", &[], ""),
        ] {
            assert_eq!(question(text, headline, choices).headline(), want);
        }
    }
}
