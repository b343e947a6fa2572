//! Finds the known word that a mistyped one was meant to be.

use serde_json::Value;
use strsim::osa_distance;

/// The longest text that is taken for a mistyped word, in bytes.
pub(super) const LONGEST: usize = 64;

/// How many slips of one file are told, at most.
pub(super) const MOST: usize = 10;

/// For each place of a file, the words that have a meaning there. A place is a path of keys, joined
/// by dots, where `*` is any key; the words at a place are the keys of an object, the texts of an
/// array, or a text.
pub(super) type Places = &'static [(&'static str, &'static [&'static str])];

/// The word of `known` that `word` was meant to be; `None`: `word` is known, or near none of them.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let most = match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let lower = word.to_lowercase();
    let away = |name: &str| osa_distance(&lower, &name.to_lowercase());
    let named = known.into_iter().map(|name| (away(name), name));
    let mut near: Vec<(usize, &str)> = named.filter(|(away, _)| *away <= most).collect();
    near.sort_by_key(|(away, _)| *away);
    match near.iter().any(|(_, name)| *name == word) {
        true => None,
        false => near.first().map(|(_, name)| *name),
    }
}

/// "; did you mean ...?", to follow a message about an unknown word; empty when it is near none.
pub fn question<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let meant = meant(word, known);
    meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"))
}

/// The slips of a JSON file; none when the text is not JSON.
pub(super) fn of_json(file: &str, text: &str, places: Places) -> Vec<String> {
    let value = serde_json::from_str(text).unwrap_or_default();
    of_value(file, &value, places)
}

/// The slips of a file with the content `value`.
pub(super) fn of_value(file: &str, value: &Value, places: Places) -> Vec<String> {
    let mut slips = Vec::new();
    for (place, known) in places {
        let path: Vec<&str> = place.split('.').filter(|key| !key.is_empty()).collect();
        let mut found = Vec::new();
        find(value, &path, String::new(), &mut found);
        for (at, value) in found {
            let at = match at.as_str() {
                "" => String::new(),
                at => {
                    let keys = at.chars().take(2 * LONGEST).flat_map(char::escape_debug);
                    format!(" in '{}'", keys.collect::<String>())
                }
            };
            for word in words(value) {
                if let Some(meant) = meant(word, known.iter().copied()) {
                    slips.push(format!(
                        "'{file}' has '{}'{at}, which does nothing there; did you mean '{meant}'?",
                        word.escape_debug()
                    ));
                }
            }
        }
    }
    slips.truncate(MOST);
    slips
}

/// Adds every value that `path` leads to, with its own path, in which `*` is the key that was
/// found.
fn find<'a>(value: &'a Value, path: &[&str], at: String, found: &mut Vec<(String, &'a Value)>) {
    let Some((first, rest)) = path.split_first() else {
        return found.push((at, value));
    };
    for (key, value) in value.as_object().into_iter().flatten() {
        if *first == "*" || first == key {
            let at = match at.as_str() {
                "" => key.clone(),
                above => format!("{above}.{key}"),
            };
            find(value, rest, at, found);
        }
    }
}

fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => vec![text],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Role;

    #[test]
    fn a_slip_is_one_line_that_a_hook_can_get() {
        const PLACES: Places = &[("a.*", &["witness"])];
        let text = r#"{"a":{"k\u0000":{"witnes\u0000\n":1}}}"#;
        let value = serde_json::from_str(text).unwrap();
        let slips = of_value("f", &value, PLACES);
        assert!(slips.len() == 1 && !slips[0].contains(char::is_control));
    }

    #[test]
    fn what_was_meant() {
        let roles = || Role::ALL.map(Role::name);
        for (word, want) in [
            ("witness", None),
            ("witnes", Some("witness")),
            ("Witness", Some("witness")),
            ("wintess", Some("witness")),
            ("refinary", Some("refinery")),
            ("mayr", Some("mayor")),
            ("crews", Some("crew")),
            ("dolt_server", None),
            ("restart_tracker", None),
            ("handler", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(meant(word, roles()), want, "{word}");
        }
        assert_eq!(meant(&"witness".repeat(20), roles()), None);
        // Of several that are as near, one that is known is none.
        assert_eq!(meant("ab1", ["ab2", "ab1"]), None);
    }
}
