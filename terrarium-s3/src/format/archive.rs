//! `v1/archive.json`: what an archive is.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::{Recipients, VerifyingKey};
use crate::format::error::FormatError;
use crate::format::ids::ArchiveId;
use crate::format::signed::{damaged, probe};

/// What an archive is. A [`Change`](super::Change) takes the place of its recipients and host keys.
///
/// Nobody has to believe it: a host that writes keeps the id and the recipients in a configuration of its
/// own, and refuses an archive that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its identity.
    pub id: ArchiveId,
    /// When it was made.
    pub created: Timestamp,
    /// Whom new points are encrypted to.
    pub recipients: Recipients,
    /// The hosts that may sign; none if nothing is signed.
    pub host_keys: Vec<VerifyingKey>,
}

impl Archive {
    /// The largest that is read, in bytes.
    pub const MAX_SIZE: usize = 1 << 20;

    /// The bytes of the object.
    ///
    /// # Errors
    /// [`FormatError::Illegal`]: it could not be read back.
    pub fn write(&self) -> Result<Bytes, FormatError> {
        self.check()?;
        let document = Written {
            format: FORMAT.to_owned(),
            version: VERSION,
            id: self.id,
            created: self.created,
            recipients: self.recipients.clone(),
            host_keys: self.host_keys.clone(),
        };
        serde_json::to_vec_pretty(&document)
            .map(Bytes::from)
            .map_err(|error| FormatError::illegal(WHAT, error.to_string()))
    }

    /// Reads the object.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        probe(bytes, WHAT, FORMAT, VERSION, Self::MAX_SIZE)?;
        let document: Written =
            serde_json::from_slice(bytes).map_err(|error| damaged(WHAT, &error))?;
        let archive = Self {
            id: document.id,
            created: document.created,
            recipients: document.recipients,
            host_keys: document.host_keys,
        };
        archive.check()?;
        Ok(archive)
    }

    fn check(&self) -> Result<(), FormatError> {
        check_host_keys(WHAT, &self.host_keys)
    }
}

pub(super) fn check_host_keys(
    what: &'static str,
    keys: &[VerifyingKey],
) -> Result<(), FormatError> {
    if keys.len() > MAX_HOST_KEYS {
        let reason = format!("it has more than {MAX_HOST_KEYS} host keys");
        return Err(FormatError::illegal(what, reason));
    }
    Ok(())
}

const WHAT: &str = "archive.json";
const FORMAT: &str = "terrarium-archive";
const VERSION: u64 = 1;
const MAX_HOST_KEYS: usize = 1000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u64,
    id: ArchiveId,
    created: Timestamp,
    recipients: Recipients,
    host_keys: Vec<VerifyingKey>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{HostKey, NewIdentity};

    fn archive() -> Archive {
        Archive {
            id: ArchiveId::random().expect("random bytes"),
            created: "2026-11-22T21:00:00Z".parse().expect("a time"),
            recipients: Recipients::parse([NewIdentity::generate().recipient()])
                .expect("a recipient"),
            host_keys: vec![HostKey::generate().expect("random bytes").verifying_key()],
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let archive = archive();
        let bytes = archive.write().expect("written");
        assert_eq!(Archive::read(&bytes), Ok(archive));
    }

    #[test]
    fn another_version_and_another_document_are_told_apart_from_damage() {
        let text = String::from_utf8(archive().write().expect("written").to_vec()).expect("text");
        let newer = text.replace("\"version\": 1", "\"version\": 2, \"more\": {}");
        let error = Archive::read(newer.as_bytes()).expect_err("newer");
        assert!(
            matches!(error, FormatError::Version { found: 2, .. }),
            "{error}"
        );
        let other = text.replace("terrarium-archive", "terrarium-manifest");
        let error = Archive::read(other.as_bytes()).expect_err("another");
        assert!(matches!(error, FormatError::Foreign { .. }), "{error}");
        for damaged in [
            text.replace("\"version\": 1", "\"version\": 1, \"more\": {}"),
            text.replace("recipients", "recipient"),
            text.replace("age1", "age2"),
            text.replace("terrarium-host-", "terrarium-host-0"),
            text[..text.len() - 1].to_owned(),
            format!("{text} {{}}"),
        ] {
            let error = Archive::read(damaged.as_bytes()).expect_err("damaged");
            assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
        }
    }
}
