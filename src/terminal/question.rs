//! What a program asks, as its screen shows it.

use serde::{Deserialize, Serialize};

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Whether the directory is trusted.
    Trust,
    /// Whether it shall run without asking for permissions.
    Bypass,
    /// Whether an API key shall be used.
    Key,
    /// Which colours it shall use.
    Theme,
    /// How to log in.
    Login,
    /// Whether a tool may be used.
    Permission,
    /// A menu that somebody has opened.
    Menu,
    /// Something else; mostly a question of the model itself.
    #[serde(rename = "question")]
    Other,
}

impl Kind {
    /// One word for it.
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
    /// What it is about.
    pub kind: Kind,
    /// Its text, in lines.
    #[serde(rename = "question")]
    pub text: String,
    /// What can be chosen, in order.
    pub choices: Vec<String>,
}

impl Question {
    /// The line that says most in one: the first with a question mark, else the first.
    pub fn headline(&self) -> &str {
        let mut lines = self.text.lines();
        let asks = lines.clone().find(|line| line.contains('?'));
        asks.or_else(|| lines.next()).unwrap_or_default()
    }
}
