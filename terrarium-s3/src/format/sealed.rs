//! The section of a manifest that only the recipients can read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use terrarium_zfs::Guid;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, Identities, Recipients};
use crate::format::error::FormatError;
use crate::format::hex;
use crate::format::ids::ArchiveId;
use crate::format::signed::required;

/// What of a restore point only the recipients can read. It may hold secrets: nothing of it is shown by
/// `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The archive that it belongs to.
    pub archive: ArchiveId,
    /// The snapshot that it belongs to.
    pub guid: Guid,
    /// The instance, as LXD had it.
    #[serde(deserialize_with = "required")]
    pub definition: Option<Definition>,
    /// The BLAKE3 of the whole stream.
    #[serde(with = "hex::hash")]
    pub stream_blake3: blake3::Hash,
    /// The digest of the file tree that the snapshot holds, if it was computed.
    #[serde(deserialize_with = "required")]
    pub tree: Option<String>,
}

/// How LXD defined an instance, in LXD's own words: what the values mean is not this crate's business.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The instance: `architecture`, `config`, `description`, `devices`, `ephemeral`, `profiles` (their names, in the
    /// order that they apply).
    pub instance: Map<String, Value>,
    /// The profiles that it had, in their order: `name`, `config`, `devices`.
    pub profiles: Vec<Value>,
}

/// A sealed section, encrypted. In JSON it is base64 (RFC 4648, with padding).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealedBytes(Vec<u8>);

/// Why a sealed section cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be decrypted.
    #[error("the sealed section of the manifest: {0}")]
    Decrypt(#[source] CryptoError),
    /// What was decrypted is not what belongs there.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Sealed {
    /// Encrypts it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn seal(&self, recipients: &Recipients) -> Result<SealedBytes, OpenError> {
        let document = Written {
            format: FORMAT.to_owned(),
            version: VERSION,
            body: self.clone(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&document).map_err(|error| damaged(&error))?);
        if plain.len() > MAX_SIZE {
            return Err(too_large(plain.len()).into());
        }
        let encrypted = recipients.encrypt(&plain).map_err(OpenError::Decrypt)?;
        Ok(SealedBytes(encrypted))
    }
}

impl SealedBytes {
    /// What age has encrypted.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn open(
        &self,
        identities: &Identities,
        archive: ArchiveId,
        guid: Guid,
    ) -> Result<Sealed, OpenError> {
        #[derive(Deserialize)]
        struct Probe {
            format: String,
            version: u64,
        }
        let plain = identities.decrypt(&self.0).map_err(OpenError::Decrypt)?;
        let probe: Probe = serde_json::from_slice(&plain).map_err(|error| damaged(&error))?;
        if probe.format != FORMAT {
            return Err(FormatError::illegal(WHAT, "it is something else").into());
        }
        if probe.version != VERSION {
            let found = probe.version;
            return Err(FormatError::Version {
                what: WHAT,
                found,
                known: VERSION,
            }
            .into());
        }
        let document: Written = serde_json::from_slice(&plain).map_err(|error| damaged(&error))?;
        let sealed = document.body;
        if (sealed.archive, sealed.guid) != (archive, guid) {
            return Err(FormatError::Misplaced {
                what: WHAT,
                found: format!("snapshot {guid} of the archive {archive}"),
                expected: format!("snapshot {} of the archive {}", sealed.guid, sealed.archive),
            }
            .into());
        }
        Ok(sealed)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("guid", &self.guid)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBytes({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for SealedBytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<SealedBytes> for String {
    fn from(sealed: SealedBytes) -> String {
        STANDARD.encode(sealed.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u64,
    body: Sealed,
}

const WHAT: &str = "sealed section";
const FORMAT: &str = "terrarium-sealed";
const VERSION: u64 = 1;
/// The largest, before it is encrypted.
const MAX_SIZE: usize = 16 << 20;

/// Where it is damaged, but not what stands there.
fn damaged(error: &serde_json::Error) -> FormatError {
    FormatError::Damaged {
        what: WHAT,
        reason: format!(
            "{:?} error at line {}, column {}",
            error.classify(),
            error.line(),
            error.column()
        ),
    }
}

fn too_large(size: usize) -> FormatError {
    FormatError::TooLarge {
        what: WHAT,
        size,
        limit: MAX_SIZE,
    }
}
