//! The names of instances, projects, aliases and operations, parsed once.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// LXD's project for everything that is in no other project.
pub const DEFAULT_PROJECT: &str = "default";

/// A name that breaks one of its rules.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} {name:?} is not legal: {rule}")]
pub struct NameError {
    what: &'static str,
    name: String,
    rule: &'static str,
}

fn reject<T>(what: &'static str, name: &str, rule: &'static str) -> Result<T, NameError> {
    Err(NameError {
        what,
        name: name.to_owned(),
        rule,
    })
}

macro_rules! parsed_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            /// [`NameError`] names the rule that is broken.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Option<&'static str> = $check;
                match check(name) {
                    Some(rule) => reject($what, name, rule),
                    None => Ok(Self(name.to_owned())),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

parsed_name!(
    /// The name of an LXD instance: a host name of at most 63 characters (LXD's `instance.ValidName`).
    InstanceName,
    "instance name",
    |name| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() {
            Some("it is empty")
        } else if name.len() > 63 {
            Some("it is longer than 63 characters")
        } else if !name.chars().all(legal) {
            Some("only letters, digits and dashes are allowed")
        } else if name.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            Some("it must start with a letter")
        } else if name.ends_with('-') {
            Some("it must not end with a dash")
        } else {
            None
        }
    }
);

parsed_name!(
    /// The name of an LXD project (LXD's `projectValidateName`).
    ProjectName,
    "project name",
    |name| {
        if name.is_empty() {
            Some("it is empty")
        } else if name == "." || name == ".." || name == "*" {
            Some("it is reserved")
        } else if name.contains(['/', ' ', '_', '\'', '"']) || name.chars().any(char::is_control) {
            Some("slashes, spaces, underscores, quotes and control characters are not allowed")
        } else {
            None
        }
    }
);

parsed_name!(
    /// A name that a person gives to a restore point: 1 to 100 characters, none of them a control
    /// character, no white space at either end.
    Alias,
    "alias",
    |alias| {
        if alias.is_empty() {
            Some("it is empty")
        } else if alias.chars().count() > 100 {
            Some("it is longer than 100 characters")
        } else if alias.chars().any(char::is_control) {
            Some("control characters are not allowed")
        } else if alias.trim() != alias {
            Some("white space at either end is not allowed")
        } else {
            None
        }
    }
);

parsed_name!(
    /// Identifies one rewind, undo or restore: its time in UTC and four hexadecimal digits, legal as a
    /// component of a dataset name. Sorts by time.
    OperationId,
    "operation id",
    |id| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.is_empty() || id.len() > 40 || !id.chars().all(legal) {
            Some("1 to 40 letters, digits and dashes are expected")
        } else {
            None
        }
    }
);

impl OperationId {
    /// The id of an operation begun at `at`; `salt` tells apart those begun in the same second.
    pub fn begun(at: Timestamp, salt: u16) -> Self {
        Self(format!("{}-{salt:04x}", compact_utc(at)))
    }

    /// When the operation began, if its id says so.
    pub fn began(&self) -> Option<Timestamp> {
        let text = self.0.get(..15)?;
        let at = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", text).ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }
}

/// `YYYYMMDD-HHMMSS` in UTC, as in the names of on-demand snapshots.
pub(crate) fn compact_utc(at: Timestamp) -> String {
    at.strftime("%Y%m%d-%H%M%S").to_string()
}

impl ProjectName {
    /// LXD's default project.
    pub fn default_project() -> Self {
        Self(DEFAULT_PROJECT.to_owned())
    }

    /// Whether this is LXD's default project.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_PROJECT
    }
}

/// An instance, named together with its project.
///
/// Shown and parsed as `name` in the default project and as `project/name` elsewhere.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceRef {
    /// The project that the instance is in.
    pub project: ProjectName,
    /// The instance's name, unique in its project.
    pub name: InstanceName,
}

impl InstanceRef {
    /// Names an instance of a project.
    pub fn new(project: ProjectName, name: InstanceName) -> Self {
        Self { project, name }
    }

    /// The last component of the instance's dataset: `name`, or `project_name` outside the default
    /// project (LXD's `project.Instance`).
    pub fn volume_name(&self) -> String {
        if self.project.is_default() {
            self.name.to_string()
        } else {
            format!("{}_{}", self.project, self.name)
        }
    }

    /// The instance whose dataset has this last component: [`InstanceRef::volume_name`] read backwards.
    ///
    /// # Errors
    /// [`NameError`] if no instance can have such a dataset.
    pub fn of_volume(name: &str) -> Result<Self, NameError> {
        Ok(match name.split_once('_') {
            Some((project, name)) => {
                Self::new(ProjectName::new(project)?, InstanceName::new(name)?)
            }
            None => Self::new(ProjectName::default_project(), InstanceName::new(name)?),
        })
    }
}

impl fmt::Display for InstanceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.project.is_default() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.project, self.name)
        }
    }
}

impl FromStr for InstanceRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text.split_once('/') {
            Some((project, name)) => {
                Self::new(ProjectName::new(project)?, InstanceName::new(name)?)
            }
            None => Self::new(ProjectName::default_project(), InstanceName::new(text)?),
        })
    }
}

impl TryFrom<String> for InstanceRef {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<InstanceRef> for String {
    fn from(instance: InstanceRef) -> String {
        instance.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_follows_every_rule_of_lxd() {
        for legal in ["a", "my-app", "A1", &"x".repeat(63)] {
            assert!(InstanceName::new(legal).is_ok(), "{legal}");
        }
        for illegal in [
            "",
            "-a",
            "a-",
            "1a",
            "a_b",
            "a.b",
            "a b",
            "a/b",
            "\u{1b}[0m",
            &"x".repeat(64),
        ] {
            assert!(InstanceName::new(illegal).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn an_illegal_name_is_shown_with_its_control_characters_escaped() {
        let error = InstanceName::new("a\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"instance name "a\u{1b}[2J" is not legal: only letters, digits and dashes are allowed"#
        );
    }

    #[test]
    fn a_reference_survives_display_and_parse_in_every_project() {
        for text in ["web", "tenant-1/web"] {
            assert_eq!(text.parse::<InstanceRef>().unwrap().to_string(), text);
        }
        assert_eq!(
            "default/web".parse::<InstanceRef>().unwrap().to_string(),
            "web"
        );
        assert_eq!(
            "t/web".parse::<InstanceRef>().unwrap().volume_name(),
            "t_web"
        );
        assert!("a/b/c".parse::<InstanceRef>().is_err());
        for text in ["web", "tenant-1/web"] {
            let instance: InstanceRef = text.parse().unwrap();
            let read = InstanceRef::of_volume(&instance.volume_name());
            assert_eq!(read, Ok(instance));
        }
        assert!(InstanceRef::of_volume("a_b_c").is_err());
    }

    #[test]
    fn an_alias_has_at_most_100_characters_and_no_control_characters() {
        assert!(Alias::new(&"é".repeat(100)).is_ok());
        for illegal in ["", " a", "a\n", "a\tb", &"é".repeat(101)] {
            assert!(Alias::new(illegal).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn operations_sort_by_the_time_they_began() {
        let at = |text: &str| OperationId::begun(text.parse().unwrap(), 0xbeef);
        assert_eq!(at("2026-11-22T10:00:05Z").as_str(), "20261122-100005-beef");
        assert!(at("2026-11-22T10:00:05Z") < at("2026-11-22T10:00:06Z"));
    }
}
