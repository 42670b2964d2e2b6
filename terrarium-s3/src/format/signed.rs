//! Documents that a host signs.
//!
//! ```json
//! {"format":"terrarium-manifest","version":1,"body":{…},"signature":{"ed25519":"…","key":"terrarium-host-…"}}
//! ```
//! What is signed is `terrarium-manifest 1`, a line feed, and the bytes of the body as they stand in the
//! object: nobody has to write JSON in the same way as we do to verify it.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::crypto::{HostKey, VerifyingKey};
use crate::format::error::FormatError;
use crate::format::hex;
use crate::format::ids::ArchiveId;
use crate::format::place::Place;

/// A document that a host signs: a manifest or an annotation.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// What it says that it is.
    const FORMAT: &'static str;
    /// The version that is written, and the only one that is read.
    const VERSION: u64;
    /// The largest that is read, in bytes.
    const MAX_SIZE: usize;

    /// The archive that it belongs to.
    fn archive(&self) -> ArchiveId;

    /// Where it stands in the archive.
    fn place(&self) -> Place;

    /// Checks all rules that a single field cannot break alone.
    ///
    /// # Errors
    /// [`FormatError::Illegal`].
    fn check(&self) -> Result<(), FormatError>;

    /// The bytes of the object, signed if there is a key.
    ///
    /// # Errors
    /// [`FormatError::Illegal`], [`FormatError::TooLarge`]: it could not be read back.
    fn write(&self, key: Option<&HostKey>) -> Result<Bytes, FormatError> {
        self.check()?;
        let illegal =
            |error: serde_json::Error| FormatError::illegal(Self::WHAT, error.to_string());
        let body = serde_json::value::to_raw_value(self).map_err(illegal)?;
        let envelope = Envelope {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            body: &body,
            signature: key.map(|key| Signature {
                ed25519: key.sign(&signed_bytes(Self::FORMAT, Self::VERSION, body.get())),
                key: key.verifying_key(),
            }),
        };
        let bytes = serde_json::to_vec(&envelope).map_err(illegal)?;
        check_size(Self::WHAT, &bytes, Self::MAX_SIZE)?;
        Ok(bytes.into())
    }

    /// Reads the object that stands at a place of an archive, and says whether one of these hosts signed it.
    ///
    /// # Errors
    /// [`FormatError`]. A wrong signature is none: it is told by the [`Verdict`].
    fn read(
        bytes: &[u8],
        archive: ArchiveId,
        place: &Place,
        hosts: &[VerifyingKey],
    ) -> Result<Checked<Self>, FormatError> {
        probe(
            bytes,
            Self::WHAT,
            Self::FORMAT,
            Self::VERSION,
            Self::MAX_SIZE,
        )?;
        let envelope: Envelope<'_> =
            serde_json::from_slice(bytes).map_err(|error| damaged(Self::WHAT, &error))?;
        let document: Self = serde_json::from_str(envelope.body.get())
            .map_err(|error| damaged(Self::WHAT, &error))?;
        document.check()?;
        let own = document.place();
        if own != *place {
            return Err(FormatError::Misplaced {
                what: Self::WHAT,
                found: place.to_string(),
                expected: own.to_string(),
            });
        }
        if document.archive() != archive {
            return Err(FormatError::Misplaced {
                what: Self::WHAT,
                found: place.to_string(),
                expected: format!("the archive {}", document.archive()),
            });
        }
        let verdict = match &envelope.signature {
            None => Verdict::Unsigned,
            Some(signature) if !hosts.contains(&signature.key) => {
                Verdict::UnknownKey(signature.key)
            }
            Some(signature) => {
                let message = signed_bytes(Self::FORMAT, Self::VERSION, envelope.body.get());
                if signature.key.verifies(&message, &signature.ed25519) {
                    Verdict::Signed(signature.key)
                } else {
                    Verdict::Wrong(signature.key)
                }
            }
        };
        Ok(Checked { document, verdict })
    }
}

/// A document that was read, and what is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<T> {
    /// The document. Its form is right whatever the verdict.
    pub document: T,
    /// Who wrote it.
    pub verdict: Verdict,
}

/// Who wrote a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Signed: it is as this host wrote it.
    Signed(VerifyingKey),
    /// Unsigned: nobody says that he wrote it.
    Unsigned,
    /// Wrong: it was changed after this host signed it, or never signed by it.
    Wrong(VerifyingKey),
    /// Wrong: the key that signed it is none of those that may.
    UnknownKey(VerifyingKey),
}

impl Verdict {
    /// `signed`, `unsigned` or `wrong`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Signed(_) => "signed",
            Verdict::Unsigned => "unsigned",
            Verdict::Wrong(_) | Verdict::UnknownKey(_) => "wrong",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: String,
    version: u64,
    #[serde(borrow)]
    body: &'a RawValue,
    // It is null, never left out: nothing becomes unsigned by accident.
    #[serde(deserialize_with = "required")]
    signature: Option<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(with = "hex::signature")]
    ed25519: [u8; 64],
    key: VerifyingKey,
}

/// For serde: an optional value that is there even when it is null.
pub(super) fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

fn signed_bytes(format: &str, version: u64, body: &str) -> Vec<u8> {
    format!("{format} {version}\n{body}").into_bytes()
}

/// Looks whether this is a document of a version that is known, before anything else is asked of it.
pub(super) fn probe(
    bytes: &[u8],
    what: &'static str,
    format: &str,
    version: u64,
    limit: usize,
) -> Result<(), FormatError> {
    #[derive(Deserialize)]
    struct Probe {
        format: String,
        version: u64,
    }
    check_size(what, bytes, limit)?;
    let probe: Probe = serde_json::from_slice(bytes).map_err(|error| damaged(what, &error))?;
    if probe.format != format {
        let found = probe.format.chars().take(80).collect();
        return Err(FormatError::Foreign { what, found });
    }
    if probe.version != version {
        return Err(FormatError::Version {
            what,
            found: probe.version,
            known: version,
        });
    }
    Ok(())
}

pub(super) fn damaged(what: &'static str, error: &serde_json::Error) -> FormatError {
    FormatError::Damaged {
        what,
        // What it quotes may hold anything.
        reason: error.to_string().escape_debug().take(400).collect(),
    }
}

fn check_size(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), FormatError> {
    if bytes.len() > limit {
        return Err(FormatError::TooLarge {
            what,
            size: bytes.len(),
            limit,
        });
    }
    Ok(())
}
