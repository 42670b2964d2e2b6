//! Why a document of the archive cannot be used.

/// A document is damaged, of another version, or somewhere that it does not belong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It is larger than any that is written.
    #[error("the {what} has {size} bytes; more than {limit} are not read")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The largest that is read, in bytes.
        limit: usize,
    },
    /// It is not JSON, or not of the shape that its version has.
    #[error("the {what} is damaged: {reason}")]
    Damaged {
        /// Which document.
        what: &'static str,
        /// What is wrong and where. Of what was encrypted it says nothing but the place.
        reason: String,
    },
    /// It is JSON, but something else.
    #[error("that is no {what} but says that it is {found:?}")]
    Foreign {
        /// Which document was expected.
        what: &'static str,
        /// What it says of itself.
        found: String,
    },
    /// It was written by a newer Terrarium.
    #[error("the {what} has version {found}; this Terrarium knows version {known}")]
    Version {
        /// Which document.
        what: &'static str,
        /// Its version.
        found: u64,
        /// The version that is known.
        known: u64,
    },
    /// A value breaks a rule.
    #[error("the {what} is illegal: {reason}")]
    Illegal {
        /// Which document.
        what: &'static str,
        /// The rule.
        reason: String,
    },
    /// It belongs to another place, or another archive.
    #[error("the {what} at {found} belongs to {expected}")]
    Misplaced {
        /// Which document.
        what: &'static str,
        /// Where it was found.
        found: String,
        /// Where it says that it belongs.
        expected: String,
    },
}

impl FormatError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            FormatError::Version { .. } => Some("use the newest Terrarium"),
            FormatError::Damaged { .. } | FormatError::Misplaced { .. } => Some(
                "bring the object back from the store's older versions, or from a copy of the archive",
            ),
            _ => None,
        }
    }

    pub(super) fn illegal(what: &'static str, reason: impl Into<String>) -> Self {
        FormatError::Illegal {
            what,
            reason: reason.into(),
        }
    }
}
