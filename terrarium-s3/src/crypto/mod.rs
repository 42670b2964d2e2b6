//! Who can read an archive, and who may have written it.
//!
//! What is read by recipients only is encrypted with [age](https://age-encryption.org/v1): X25519
//! [`Recipients`], of which the backed-up host knows the public halves alone. What was written by a host is
//! signed with its [`HostKey`] (Ed25519, RFC 8032; `ed25519-dalek` of the line that shares its
//! curve arithmetic with `age`, so that there is one implementation of it to trust, and none more to build).
//!
//! No secret is in any `Debug`, `Display` or error; each is wiped from memory when it is dropped, but for the key that
//! one payload is encrypted with, which `ring` holds.

mod host_key;
mod identities;
mod payload;
mod recipients;

use std::io;

pub use host_key::{HostKey, VerifyingKey};
pub use identities::{Identities, NewIdentity, Passphrase};
pub use recipients::Recipients;

/// Why a key cannot be used, or something cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The text is no recipient that can be used here.
    #[error("{0:?} is no recipient: age1… of an X25519 key is expected")]
    Recipient(String),
    /// There is no recipient, or there are too many.
    #[error("{0} recipients: there must be between 1 and {max}", max = Recipients::MAX)]
    RecipientCount(usize),
    /// The identity file is none.
    #[error("that is no identity file: {0}")]
    IdentityFile(String),
    /// The identity file is protected by a passphrase, and none was given.
    #[error("the identity file is protected by a passphrase")]
    PassphraseNeeded,
    /// The passphrase is not that of the identity file.
    #[error("that is not the passphrase of the identity file")]
    WrongPassphrase,
    /// The text is no host key, or no verifying half of one.
    #[error("that is no host key")]
    HostKey,
    /// It was encrypted to others.
    #[error("none of the identities can decrypt it: it was encrypted to other recipients")]
    WrongIdentity,
    /// It is damaged, or nothing that age has encrypted.
    #[error("cannot be decrypted: {0}")]
    Damaged(String),
    /// Encryption failed.
    #[error("cannot be encrypted: {0}")]
    Encrypt(String),
    /// The kernel gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl CryptoError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            CryptoError::WrongIdentity => Some(
                "the manifest says which recipients it was encrypted to; give one of their identities",
            ),
            CryptoError::Recipient(_) | CryptoError::RecipientCount(_) => {
                Some("`archive keygen` makes an identity and prints its recipient")
            }
            _ => None,
        }
    }

    pub(crate) fn of_decryption(error: age::DecryptError) -> Self {
        match error {
            age::DecryptError::NoMatchingKeys => CryptoError::WrongIdentity,
            other => CryptoError::Damaged(other.to_string()),
        }
    }
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(length) => filled += length,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
