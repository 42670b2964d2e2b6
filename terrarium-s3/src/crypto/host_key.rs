//! Who may have written something.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, random};
use crate::format::hex;

/// A host's secret key, that signs what the host writes into an archive.
pub struct HostKey(SigningKey);

/// The public half of a host key. Its text is `terrarium-host-` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl HostKey {
    /// Makes a key of random bytes.
    ///
    /// # Errors
    /// [`CryptoError::Random`].
    pub fn generate() -> Result<Self, CryptoError> {
        let seed = random::<32>().map_err(|error| CryptoError::Random(error.to_string()))?;
        let seed = Zeroizing::new(seed);
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Parses what [`HostKey::to_file`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::HostKey`]; it holds nothing of the text.
    pub fn parse(file: &str) -> Result<Self, CryptoError> {
        let digits = file
            .trim_ascii()
            .strip_prefix(SECRET)
            .ok_or(CryptoError::HostKey)?;
        let seed = Zeroizing::new(hex::decode::<32>(digits).ok_or(CryptoError::HostKey)?);
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key as a line of text (`terrarium-host-secret-` and 64 hexadecimal digits: the seed of RFC
    /// 8032), for a file that only root can read.
    pub fn to_file(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(self.0.to_bytes());
        let digits = Zeroizing::new(hex::encode(&*seed));
        Zeroizing::new(format!("{SECRET}{}\n", *digits))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.verifying_key())
    }
}

impl VerifyingKey {
    /// Whether the host of this key signed these bytes. As strict as can be (`verify_strict`): a signature
    /// has one form only, and no weak key is accepted.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifyingKey {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        text.strip_prefix(PUBLIC)
            .and_then(hex::decode::<32>)
            .and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok())
            .filter(|key| !key.is_weak())
            .map(Self)
            .ok_or(CryptoError::HostKey)
    }
}

impl TryFrom<String> for VerifyingKey {
    type Error = CryptoError;

    fn try_from(text: String) -> Result<Self, CryptoError> {
        text.parse()
    }
}

impl From<VerifyingKey> for String {
    fn from(key: VerifyingKey) -> String {
        key.to_string()
    }
}

const SECRET: &str = "terrarium-host-secret-";
const PUBLIC: &str = "terrarium-host-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_file() {
        let key = HostKey::generate().expect("random bytes");
        let back = HostKey::parse(&key.to_file()).expect("a key");
        assert_eq!(back.verifying_key(), key.verifying_key());
        let text = key.verifying_key().to_string();
        assert_eq!(text.parse(), Ok(key.verifying_key()));
        let signature = back.sign(b"message");
        assert!(key.verifying_key().verifies(b"message", &signature));
        assert!(!key.verifying_key().verifies(b"massage", &signature));
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, test 2.
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let key = HostKey::parse(&format!("{SECRET}{seed}")).expect("a key");
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(key.verifying_key().to_string(), format!("{PUBLIC}{public}"));
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(&key.sign(&[0x72])), signature);
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let key = HostKey::generate().expect("random bytes");
        let file = key.to_file();
        let digits = file.trim_ascii().strip_prefix(SECRET).expect("digits");
        for text in [
            "",
            SECRET,
            digits,
            &file[..file.len() - 2],
            &file.to_uppercase(),
        ] {
            let error = HostKey::parse(text).expect_err("no key");
            assert_eq!(error.to_string(), "that is no host key");
        }
        assert!(!format!("{key:?}").contains(digits));
        // The neutral element: everything would be signed by it.
        let weak = format!("{PUBLIC}01{}", "00".repeat(31));
        assert_eq!(weak.parse::<VerifyingKey>(), Err(CryptoError::HostKey));
    }
}
