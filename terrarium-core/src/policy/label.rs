//! What LXD's labels say about backups.

use std::collections::BTreeMap;

use super::{Period, Policy, PolicyError};

/// Whether an instance is snapshotted by the timer: `on` or `off`.
pub const BACKUP: &str = "user.terrarium.backup";
/// How often, and how long snapshots are kept: `hourly=48,daily=30`.
pub const RETENTION: &str = "user.terrarium.retention";
/// Instances of one group are snapshotted at the same moment.
pub const GROUP: &str = "user.terrarium.group";
/// In a project's config: a retention that others name by `template=NAME`.
pub const TEMPLATE_PREFIX: &str = "user.terrarium.template.";

/// How deep a template may be made of others.
const DEPTH: usize = 4;

/// A label that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// It is neither on nor off.
    #[error("{0:?} is neither on nor off")]
    NotABool(String),
    /// One of its parts is not `KEY=VALUE`.
    #[error("{0:?} is not PERIOD=COUNT, as in hourly=48,daily=30")]
    NotAPair(String),
    /// A key that there is not.
    #[error(
        "{0:?} is none of frequently, hourly, daily, weekly, monthly, yearly, keep and template"
    )]
    UnknownKey(String),
    /// A key that was there already.
    #[error("{0} is there twice")]
    Twice(String),
    /// A count that is none.
    #[error("{key}={value}: expected a number from 0 to 4294967295")]
    NotACount {
        /// The period, or `keep`.
        key: String,
        /// What it is said to be.
        value: String,
    },
    /// A template must come first: it is what the rest changes.
    #[error("template={0} must come first")]
    TemplateNotFirst(String),
    /// There is no such template.
    #[error("there is no template {0:?}: no project has {TEMPLATE_PREFIX}{0} in its config")]
    NoTemplate(String),
    /// Templates are made of each other.
    #[error("template {0:?} is made of too many others")]
    TooDeep(String),
    /// A template cannot be understood.
    #[error("template {name:?}: {source}")]
    Template {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Box<LabelError>,
    },
    /// No time that a command could be given.
    #[error("{0:?} is no time from 1s to 1h")]
    NotATimeout(String),
    /// Nothing that could be done about a failure.
    #[error("{0:?} is neither skip nor snapshot")]
    NotAPreFailure(String),
    /// What comes out of it cannot be.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Reads [`BACKUP`]: what LXD takes for a boolean, and nothing else.
///
/// # Errors
/// [`LabelError::NotABool`].
pub fn backup_label(text: &str) -> Result<bool, LabelError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(LabelError::NotABool(text.to_owned())),
    }
}

/// Reads [`RETENTION`] or a template: counts by name, over those of `beneath`.
///
/// # Errors
/// [`LabelError`].
pub fn retention_label(
    text: &str,
    beneath: &Policy,
    templates: &BTreeMap<String, String>,
) -> Result<Policy, LabelError> {
    read(text, beneath, templates, DEPTH)
}

fn read(
    text: &str,
    beneath: &Policy,
    templates: &BTreeMap<String, String>,
    depth: usize,
) -> Result<Policy, LabelError> {
    let mut policy = beneath.clone();
    let mut seen: Vec<&str> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(LabelError::NotAPair(part.to_owned()));
        };
        let (key, value) = (key.trim(), value.trim());
        if seen.contains(&key) {
            return Err(LabelError::Twice(key.to_owned()));
        }
        let count = || {
            // `parse` would take a sign.
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_number.then(|| value.parse::<u32>().ok()).flatten();
            number.ok_or_else(|| LabelError::NotACount {
                key: key.to_owned(),
                value: value.to_owned(),
            })
        };
        match key {
            "template" if !seen.is_empty() => {
                return Err(LabelError::TemplateNotFirst(value.to_owned()));
            }
            "template" => policy = template(value, beneath, templates, depth)?,
            "keep" => policy.keep = Some(count()?),
            key => {
                let period: Period = key
                    .parse()
                    .map_err(|_| LabelError::UnknownKey(key.to_owned()))?;
                policy.counts.insert(period, count()?);
            }
        }
        seen.push(key);
    }
    let read = Policy::new(&policy.counts, policy.keep, policy.schedule)?;
    Ok(Policy {
        take: beneath.take,
        prune: beneath.prune,
        ..read
    })
}

fn template(
    name: &str,
    beneath: &Policy,
    templates: &BTreeMap<String, String>,
    depth: usize,
) -> Result<Policy, LabelError> {
    let text = templates
        .get(name)
        .ok_or_else(|| LabelError::NoTemplate(name.to_owned()))?;
    let Some(depth) = depth.checked_sub(1) else {
        return Err(LabelError::TooDeep(name.to_owned()));
    };
    read(text, beneath, templates, depth).map_err(|source| match source {
        too_deep @ LabelError::TooDeep(_) => too_deep,
        source => LabelError::Template {
            name: name.to_owned(),
            source: Box::new(source),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Result<String, String> {
        let templates = [
            ("production", "hourly=48,daily=30,monthly=12"),
            ("rolling", "frequently=0,hourly=0,daily=1,monthly=0,keep=5"),
            ("more", "template=production,yearly=3"),
            ("broken", "hourly=x"),
            ("a", "template=b"),
            ("b", "template=a"),
        ];
        let templates = templates.map(|(name, text)| (name.to_owned(), text.to_owned()));
        retention_label(text, &Policy::default(), &templates.into())
            .map(|policy| policy.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_label_changes_the_counts_that_it_names() {
        assert_eq!(
            label("hourly=48, daily = 30").unwrap(),
            "frequently=4,hourly=48,daily=30,monthly=3"
        );
        assert_eq!(
            label("frequently=0,weekly=8").unwrap(),
            "frequently=0,hourly=24,daily=14,weekly=8,monthly=3"
        );
        assert_eq!(
            label("keep=5").unwrap(),
            "frequently=4,hourly=24,daily=14,monthly=3,keep=5"
        );
    }

    #[test]
    fn a_policy_says_a_label_that_comes_to_the_same_policy() {
        for text in [
            "keep=5",
            "weekly=8",
            "template=rolling",
            "template=more,daily=0",
        ] {
            let said = label(text).unwrap();
            assert_eq!(label(&said).unwrap(), said, "{text}");
        }
    }

    #[test]
    fn a_template_is_what_the_rest_of_the_label_changes() {
        assert_eq!(
            label("template=rolling").unwrap(),
            "frequently=0,hourly=0,daily=1,monthly=0,keep=5"
        );
        assert_eq!(
            label("template=more,hourly=1").unwrap(),
            "frequently=4,hourly=1,daily=30,monthly=12,yearly=3"
        );
        assert_eq!(
            label("hourly=1,template=more").unwrap_err(),
            "template=more must come first"
        );
        assert!(
            label("template=none")
                .unwrap_err()
                .contains("no template \"none\"")
        );
        assert!(label("template=a").unwrap_err().contains("too many others"));
        assert_eq!(
            label("template=broken").unwrap_err(),
            "template \"broken\": hourly=x: expected a number from 0 to 4294967295"
        );
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (text, part) in [
            ("", "\"\" is not PERIOD=COUNT"),
            ("hourly", "\"hourly\" is not PERIOD=COUNT"),
            ("hourly=48,", "\"\" is not PERIOD=COUNT"),
            ("hourli=48", "\"hourli\" is none of"),
            ("hourly=-1", "hourly=-1: expected a number"),
            ("hourly=+1", "hourly=+1: expected a number"),
            ("hourly=", "hourly=: expected a number"),
            ("hourly=4294967296", "expected a number"),
            ("hourly=1,hourly=2", "hourly is there twice"),
            (
                "frequently=0,hourly=0,daily=0,monthly=0",
                "it would keep nothing",
            ),
            ("keep=0", "it would keep nothing"),
        ] {
            let error = label(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn backup_is_on_or_off_in_lxds_words() {
        for text in ["on", "true", "1", "yes", " ON "] {
            assert_eq!(backup_label(text), Ok(true));
        }
        for text in ["off", "false", "0", "no"] {
            assert_eq!(backup_label(text), Ok(false));
        }
        for text in ["", "never", "2"] {
            assert!(backup_label(text).is_err());
        }
    }
}
