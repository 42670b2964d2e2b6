//! Names of datasets, snapshots and bookmarks, parsed once.
//!
//! The rules are those that the kernel applies to every name it is given (the name check that zfs(8) and
//! zfsconcepts(7) describe): a name has at most 255 bytes; components are separated by `/`, are not empty, not `.` and
//! not `..`, and consist of ASCII letters, digits, and `-`, `_`, `.`, `:` and the space; nothing is nested deeper than
//! 49 levels below the pool; a snapshot has exactly one `@`, a bookmark exactly one `#`, each after the dataset. The
//! first component is a pool name: it starts with a letter, has at most 239 bytes, and is not `mirror`, `raidz` or
//! `draid`. `%` is ZFS's own mark for the temporary clone of a running receive and is refused here.
//!
//! zpool(8) reserves more pool names (`log`, and whatever starts with `mirror`, `raidz`, `draid` or `spare`), but only
//! when a pool is *created*; pools that carry such a name exist and work, so those names are accepted.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name in bytes: `ZFS_MAX_DATASET_NAME_LEN` less the terminating NUL.
const MAX_LEN: usize = 255;
/// The longest pool name in bytes: room is kept for `/$ORIGIN@$ORIGIN`.
const MAX_POOL_LEN: usize = 239;
/// Most `/` in a name: `zfs_max_dataset_nesting` is 50, and the check is "less than".
const MAX_DEPTH: usize = 49;

/// The name of a filesystem or volume, such as `tank/containers/web`; a pool's root dataset included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);

impl DatasetName {
    /// Parses a dataset name.
    ///
    /// # Errors
    /// [`NameError`] with the first rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match check_dataset(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(rule) => Err(NameError::new(NameKind::Dataset, name, rule)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pool's name: everything before the first `/`.
    pub fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// The root dataset of the pool.
    pub fn pool_dataset(&self) -> DatasetName {
        Self(self.pool().to_owned())
    }

    /// The last component.
    pub fn leaf(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The dataset above, `None` for a pool's root dataset.
    pub fn parent(&self) -> Option<DatasetName> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The dataset `path` below this one; `path` may have several components.
    ///
    /// # Errors
    /// [`NameError`] if the whole name breaks a rule.
    pub fn child(&self, path: &str) -> Result<DatasetName, NameError> {
        Self::new(&format!("{self}/{path}"))
    }

    /// Whether this is `ancestor` itself or lies below it.
    pub fn is_within(&self, ancestor: &DatasetName) -> bool {
        self.relative_to(ancestor).is_some()
    }

    /// The path from `ancestor` down to this dataset: empty for `ancestor` itself, `None` if it is not within.
    pub fn relative_to(&self, ancestor: &DatasetName) -> Option<&str> {
        let rest = self.0.strip_prefix(ancestor.as_str())?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('/')
        }
    }

    /// The snapshot `name` of this dataset.
    ///
    /// # Errors
    /// [`NameError`] if the whole name breaks a rule.
    pub fn snapshot(&self, name: &str) -> Result<SnapshotName, NameError> {
        SnapshotName::new(&format!("{self}@{name}"))
    }

    /// The bookmark `name` of this dataset.
    ///
    /// # Errors
    /// [`NameError`] if the whole name breaks a rule.
    pub fn bookmark(&self, name: &str) -> Result<BookmarkName, NameError> {
        BookmarkName::new(&format!("{self}#{name}"))
    }
}

/// A point of a dataset: what snapshots and bookmarks have in common.
macro_rules! point_name {
    ($(#[$doc:meta])* $type:ident, $mark:literal, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type {
            text: String,
            mark: usize,
        }

        impl $type {
            /// Parses a full name, dataset included.
            ///
            /// # Errors
            /// [`NameError`] with the first rule that the name breaks.
            pub fn new(name: &str) -> Result<Self, NameError> {
                match check_point(name, $mark) {
                    Ok(mark) => Ok(Self { text: name.to_owned(), mark }),
                    Err(rule) => Err(NameError::new($kind, name, rule)),
                }
            }

            /// The full name as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }

            /// The dataset.
            pub fn dataset(&self) -> DatasetName {
                DatasetName(self.dataset_str().to_owned())
            }

            /// The dataset's name as text, without a copy.
            pub fn dataset_str(&self) -> &str {
                &self.text[..self.mark]
            }

            #[doc = concat!("The part after the `", $mark, "`.")]
            pub fn name(&self) -> &str {
                &self.text[self.mark + 1..]
            }

            /// The pool's name.
            pub fn pool(&self) -> &str {
                let dataset = self.dataset_str();
                dataset.split('/').next().unwrap_or(dataset)
            }
        }

        /// By dataset, then by name.
        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                (self.dataset_str(), self.name()).cmp(&(other.dataset_str(), other.name()))
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.text
            }
        }

        name_traits!($type);
    };
}

macro_rules! name_traits {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }
    };
}

name_traits!(DatasetName);

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> String {
        name.0
    }
}

point_name!(
    /// The full name of a snapshot, such as `tank/containers/web@monday`.
    SnapshotName,
    '@',
    NameKind::Snapshot
);
point_name!(
    /// The full name of a bookmark, such as `tank/containers/web#monday`.
    BookmarkName,
    '#',
    NameKind::Bookmark
);

/// A name that ZFS would refuse: the name and the rule it breaks.
///
/// Its text escapes control characters, so that it can be shown on a terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal {kind} name \"{}\": {rule}", name.escape_debug())]
pub struct NameError {
    kind: NameKind,
    name: String,
    rule: NameRule,
}

impl NameError {
    fn new(kind: NameKind, name: &str, rule: NameRule) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            rule,
        }
    }

    /// The refused name as it was given: escape it before it reaches a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first rule that the name breaks.
    pub fn rule(&self) -> NameRule {
        self.rule
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameKind {
    Dataset,
    Snapshot,
    Bookmark,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameKind::Dataset => "dataset",
            NameKind::Snapshot => "snapshot",
            NameKind::Bookmark => "bookmark",
        })
    }
}

/// The rules of a name, each as the sentence that tells of its breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameRule {
    /// The whole name exceeds 255 bytes.
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// The pool's name exceeds 239 bytes.
    #[error("the pool's name is longer than {MAX_POOL_LEN} bytes")]
    PoolTooLong,
    /// Nothing between two separators, or nothing at all.
    #[error("empty component")]
    EmptyComponent,
    /// A component is `.`.
    #[error("\".\" is not a component")]
    SelfReference,
    /// A component is `..`.
    #[error("\"..\" is not a component")]
    ParentReference,
    /// The name starts with `/`.
    #[error("leading slash")]
    LeadingSlash,
    /// The name ends with `/`.
    #[error("trailing slash")]
    TrailingSlash,
    /// A character outside letters, digits, `-`, `_`, `.`, `:` and space.
    #[error("illegal character {0:?}")]
    IllegalCharacter(char),
    /// The separator of the kind of name is missing.
    #[error("missing {0:?}")]
    MissingMark(char),
    /// More than one `@` or `#`.
    #[error("more than one \"@\" or \"#\"")]
    SeveralMarks,
    /// A `/` after the `@` or `#`.
    #[error("slash after the {0:?}")]
    SlashAfterMark(char),
    /// More than 49 levels below the pool.
    #[error("nested deeper than {MAX_DEPTH} levels below the pool")]
    TooDeep,
    /// The pool's name does not start with a letter.
    #[error("the pool's name does not start with a letter")]
    PoolFirstLetter,
    /// The pool's name is a kind of virtual device.
    #[error("the pool's name is reserved")]
    PoolReserved,
}

/// The pool of a dataset or snapshot given by name.
///
/// # Errors
/// [`NameError`] if it is no such name.
pub fn pool_of(object: &str) -> Result<String, NameError> {
    if object.contains('@') {
        SnapshotName::new(object).map(|name| name.pool().to_owned())
    } else {
        DatasetName::new(object).map(|name| name.pool().to_owned())
    }
}

fn check_point(name: &str, mark: char) -> Result<usize, NameRule> {
    if name.len() > MAX_LEN {
        return Err(NameRule::TooLong);
    }
    let Some((dataset, point)) = name.split_once(mark) else {
        return Err(NameRule::MissingMark(mark));
    };
    if name.chars().filter(|c| matches!(c, '@' | '#')).count() > 1 {
        return Err(NameRule::SeveralMarks);
    }
    check_dataset(dataset)?;
    if point.contains('/') {
        return Err(NameRule::SlashAfterMark(mark));
    }
    check_component(point)?;
    Ok(dataset.len())
}

fn check_dataset(name: &str) -> Result<(), NameRule> {
    if name.len() > MAX_LEN {
        return Err(NameRule::TooLong);
    }
    if name.starts_with('/') {
        return Err(NameRule::LeadingSlash);
    }
    if name.ends_with('/') {
        return Err(NameRule::TrailingSlash);
    }
    name.split('/').try_for_each(check_component)?;
    let pool = name.split('/').next().unwrap_or(name);
    if pool.len() > MAX_POOL_LEN {
        return Err(NameRule::PoolTooLong);
    }
    if !pool.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(NameRule::PoolFirstLetter);
    }
    if matches!(pool, "mirror" | "raidz" | "draid") {
        return Err(NameRule::PoolReserved);
    }
    if name.matches('/').count() > MAX_DEPTH {
        return Err(NameRule::TooDeep);
    }
    Ok(())
}

fn check_component(component: &str) -> Result<(), NameRule> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ');
    match component {
        "" => Err(NameRule::EmptyComponent),
        "." => Err(NameRule::SelfReference),
        ".." => Err(NameRule::ParentReference),
        _ => match component.chars().find(|&c| !legal(c)) {
            Some(c) => Err(NameRule::IllegalCharacter(c)),
            None => Ok(()),
        },
    }
}
