//! What one place says, checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::secret::Secret;
use super::table::{Key, Origin, Type};
use crate::policy::TEMPLATE_PREFIX;

const LXD_PREFIX: &str = "user.terrarium.";

/// The value of a setting.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Value {
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A text that is shown to nobody.
    Secret(Secret),
}

impl Value {
    /// Reads what somebody has written for a setting.
    ///
    /// # Errors
    /// What it must be. What was written is not repeated: it may be a secret in the wrong place.
    pub fn parse(key: Key, text: String) -> Result<Self, ProblemKind> {
        let illegal = |c: char| c.is_control();
        if text.trim().is_empty() || text.contains(illegal) {
            return Err(ProblemKind::WrongType("a text of one line"));
        }
        match key.kind() {
            Type::Text => Ok(Value::Text(text)),
            Type::Secret => Ok(Value::Secret(Secret::new(text))),
            Type::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err(ProblemKind::WrongType("true or false")),
            },
        }
    }

    /// The text that is stored, secrets included.
    pub fn expose(&self) -> &str {
        match self {
            Value::Text(text) => text,
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Secret(secret) => secret.expose(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Secret(secret) => secret.fmt(f),
            plain => f.write_str(plain.expose()),
        }
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// There is no such setting.
    #[error("there is no such setting")]
    Unknown,
    /// The value is not what it must be.
    #[error("it must be {0}")]
    WrongType(&'static str),
    /// It does not go together with another one.
    #[error("{0}")]
    Contradiction(String),
}

/// A setting that cannot be heeded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key} ({origin}): {kind}")]
#[non_exhaustive]
pub struct Problem {
    /// The key, as it is written there.
    pub key: String,
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What one place says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// Which place it is.
    pub origin: Origin,
    /// The values that are what they must be.
    pub values: BTreeMap<Key, Value>,
    /// The others.
    pub problems: Vec<Problem>,
}

impl Layer {
    /// A place that says nothing.
    pub fn empty(origin: Origin) -> Self {
        Self {
            origin,
            values: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The config of the LXD project; what is not Terrarium's is passed over, and so are templates of policies.
    pub fn of_lxd(config: &BTreeMap<String, String>) -> Self {
        let mut layer = Self::empty(Origin::Lxd);
        let ours = config
            .iter()
            .filter(|(name, _)| name.starts_with(LXD_PREFIX) && !name.starts_with(TEMPLATE_PREFIX));
        for (name, text) in ours {
            let key = Key::ALL.iter().find(|key| key.lxd() == name);
            layer.take(name, key.copied(), text.clone());
        }
        layer
    }

    /// The environment: what `variable` says of each name. An empty variable counts as one that is not set.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut layer = Self::empty(Origin::Environment);
        for key in Key::ALL {
            let mut set = key.variables().iter().filter_map(|name| {
                let text = variable(name).filter(|text| !text.is_empty())?;
                Some((*name, text))
            });
            if let Some((name, text)) = set.next() {
                layer.take(name, Some(*key), text);
            }
        }
        layer
    }

    /// A file's text.
    ///
    /// # Errors
    /// Where it is no YAML of keys and values; nothing of it is repeated.
    pub fn of_yaml(text: &str) -> Result<Self, String> {
        let parsed: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| {
            error.location().map_or_else(
                || "it is no YAML".to_owned(),
                |at| {
                    format!(
                        "it is no YAML at line {}, column {}",
                        at.line(),
                        at.column()
                    )
                },
            )
        })?;
        let mut layer = Self::empty(Origin::File);
        let entries = match parsed {
            serde_yaml_ng::Value::Null => return Ok(layer),
            serde_yaml_ng::Value::Mapping(entries) => entries,
            _ => return Err("it is no list of keys and values".to_owned()),
        };
        for (name, value) in entries {
            let Some(name) = name.as_str() else {
                return Err("a key in it is no text".to_owned());
            };
            let key = Key::ALL.iter().find(|key| key.file() == name).copied();
            let text = match value {
                // A key with nothing behind it says nothing.
                serde_yaml_ng::Value::Null if key.is_some() => continue,
                serde_yaml_ng::Value::String(text) => text,
                serde_yaml_ng::Value::Bool(is) => is.to_string(),
                serde_yaml_ng::Value::Number(number) => number.to_string(),
                // No setting is a list: an empty text is refused as one.
                _ => String::new(),
            };
            layer.take(name, key, text);
        }
        Ok(layer)
    }

    /// The values as YAML, secrets included.
    pub fn to_yaml(&self) -> String {
        let mut text = String::from("# Settings of terrariumctl. There are secrets in it.\n");
        for (key, value) in &self.values {
            let value = match value {
                Value::Bool(is) => is.to_string(),
                // JSON's texts are YAML's, whatever is in them.
                other => serde_json::Value::from(other.expose()).to_string(),
            };
            text.push_str(&format!("{}: {value}\n", key.file()));
        }
        text
    }

    fn take(&mut self, name: &str, key: Option<Key>, text: String) {
        let parsed = match key {
            Some(key) => Value::parse(key, text).map(|value| (key, value)),
            None => Err(ProblemKind::Unknown),
        };
        match parsed {
            Ok((key, value)) => {
                self.values.insert(key, value);
            }
            Err(kind) => self.problems.push(Problem {
                key: name.to_owned(),
                origin: self.origin,
                kind,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_yaml_is_read_as_it_was() {
        let mut layer = Layer::empty(Origin::File);
        let texts = [
            (Key::EnableS3, "true"),
            (Key::S3Bucket, "yes"),
            (Key::S3Region, "012"),
            (Key::S3SecretKey, "a: #\"'\\ ä{}"),
        ];
        for (key, text) in texts {
            let value = Value::parse(key, text.to_owned()).unwrap();
            layer.values.insert(key, value);
        }
        assert_eq!(Layer::of_yaml(&layer.to_yaml()), Ok(layer));
    }

    #[test]
    fn what_cannot_be_heeded_is_named_with_its_key_and_origin_and_not_repeated() {
        let yaml = "terrarium_enable_s3: hunter2\nterrarium_s3_bukket: hunter2\nterrarium_s3_bucket: [hunter2]\n";
        let layer = Layer::of_yaml(yaml).unwrap();
        let shown: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "terrarium_enable_s3 (file): it must be true or false",
                "terrarium_s3_bukket (file): there is no such setting",
                "terrarium_s3_bucket (file): it must be a text of one line",
            ]
        );
        assert!(layer.values.is_empty());
        for broken in ["hunter2: [", "- hunter2", "1: 2", "a: 1\na: 2", "\t"] {
            let error = Layer::of_yaml(broken).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn of_a_project_only_our_keys_are_read() {
        let pairs = [
            ("features.images", "true"),
            ("user.other", "x"),
            ("user.terrarium.template.long", "daily=90"),
            ("user.terrarium.s3.bucket", "b"),
            ("user.terrarium.nonsense", "x"),
        ];
        let config = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let layer = Layer::of_lxd(&config.into());
        assert_eq!(layer.values.keys().collect::<Vec<_>>(), [&Key::S3Bucket]);
        assert_eq!(layer.problems.len(), 1);
        assert_eq!(layer.problems[0].key, "user.terrarium.nonsense");
    }
}
