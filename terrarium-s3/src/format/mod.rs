//! Format v1 of the archive, exactly: `docs/archive-format.md`.
//!
//! Every document says what it is and which version of that. Reading is strict: an unknown version, an
//! unknown field, a missing one or a value that breaks a rule is an error. Whatever is to be added later
//! makes a new version, so that nobody acts on half of what a document says. No bytes make it panic.
//!
//! A document stands at one [`Place`] only, and says so itself: an object that was copied or moved to
//! another key is noticed.

mod annotation;
mod archive;
mod change;
mod error;
pub(crate) mod hex;
mod ids;
mod manifest;
mod place;
mod removal;
mod sealed;
mod signed;

pub use annotation::Annotation;
pub use archive::Archive;
pub use change::Change;
pub use error::FormatError;
pub use ids::{ArchiveId, IdError, Lineage, RunId};
pub use manifest::{Base, Kind, Manifest, Part};
pub use place::{
    AnnotationPlace, ChangePlace, Layout, ManifestPlace, PartPlace, Place, PlaceError,
};
pub use removal::Removal;
pub use sealed::{Definition, OpenError, Sealed, SealedBytes};
pub use signed::{Checked, Document, Verdict};
