//! Send streams: what they are made of, and whether they are whole and sound.
//!
//! A stream is a sequence of records of 312 bytes (`dmu_replay_record_t` of sys/zfs_ioctl.h), some
//! followed by a payload, in the byte order of the machine that sent it: BEGIN, what it says of
//! objects and their blocks, END. Every record has a fletcher-4 checksum of all that came before it.
//! A package (`zfs send -R`, `-I` or `-p`) is a header, which is a stream of its own without blocks,
//! then the streams of the single snapshots, and one more END.
//!
//! [`Parser`] turns bytes into records and checks them; [`Inspector`] counts what is in a stream while
//! its bytes go by; [`BeginRecord`] alone says what a stream is. Nothing here needs ZFS on the machine.

mod begin;
mod error;
mod features;
mod fields;
mod fletcher;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod packed;
mod parser;
mod record;
#[cfg(test)]
mod testing;

pub use begin::{BeginError, BeginRecord, Contents};
pub use error::StreamError;
pub use features::Features;
pub use fields::ByteOrder;
pub(crate) use fletcher::Fletcher4;
pub use inspect::{Count, InspectError, Inspector, Package, ResumePoint, StreamSummary};
pub(crate) use packed::is_well_formed;
pub use parser::{Event, Parser};
pub use record::{Body, Record, RecordKind};
