//! Who can decrypt.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use age::armor::ArmoredReader;
use age::secrecy::{ExposeSecret, SecretString};
use age::{scrypt, x25519};
use zeroize::Zeroizing;

use crate::crypto::CryptoError;
use crate::crypto::payload::{NONCE, PayloadKey, Seen, Watched, Wrong};

/// The secret keys that decrypt an archive.
pub struct Identities(Vec<x25519::Identity>);

/// The passphrase of an identity file.
pub struct Passphrase(SecretString);

/// A secret key that was just made. It is to be kept safe, and is shown once.
pub struct NewIdentity {
    identity: x25519::Identity,
    recipient: String,
}

impl Identities {
    /// The largest identity file, in bytes.
    pub const MAX_FILE: usize = 1 << 20;

    /// Parses an identity file: lines `AGE-SECRET-KEY-1…`, empty ones, and comments after `#`; or such a
    /// file that was encrypted with a passphrase (`age -p`, also with `-a`).
    ///
    /// # Errors
    /// [`CryptoError::IdentityFile`], [`CryptoError::PassphraseNeeded`], [`CryptoError::WrongPassphrase`],
    /// [`CryptoError::Damaged`]. None of them holds anything of the file.
    pub fn parse(file: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, CryptoError> {
        if file.len() > Self::MAX_FILE {
            let reason = format!("it has more than {} bytes", Self::MAX_FILE);
            return Err(CryptoError::IdentityFile(reason));
        }
        if is_encrypted(file) {
            let passphrase = passphrase.ok_or(CryptoError::PassphraseNeeded)?;
            Self::of_lines(&open(file, passphrase)?)
        } else {
            Self::of_lines(file)
        }
    }

    /// The public keys that these decrypt for, in the order of the file.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .map(|identity| identity.to_public().to_string())
    }

    /// Decrypts all of a file that age has encrypted.
    ///
    /// # Errors
    /// [`CryptoError::WrongIdentity`], [`CryptoError::Damaged`].
    pub fn decrypt(&self, encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut plain = Zeroizing::new(encrypted.to_vec());
        let payload = self.decrypt_in_place(&mut plain)?;
        plain.copy_within(payload.clone(), 0);
        plain.truncate(payload.len());
        Ok(plain)
    }

    /// The same in the memory that the file is in: where it stands then is the answer. If it fails, what is there is of
    /// no meaning.
    pub(crate) fn decrypt_in_place(&self, file: &mut [u8]) -> Result<Range<usize>, CryptoError> {
        let mut rest = &*file;
        let decryptor =
            age::Decryptor::new_buffered(&mut rest).map_err(CryptoError::of_decryption)?;
        let seen = Seen::default();
        let watched: Vec<_> = self.0.iter().map(|one| Watched(one, &seen)).collect();
        let identities = watched.iter().map(|one| one as &dyn age::Identity);
        // It has authenticated the header then, and read nothing after it.
        decryptor
            .decrypt(identities)
            .map(drop)
            .map_err(CryptoError::of_decryption)?;
        drop(watched);
        let start = file.len() - rest.len();
        let (header, payload) = file.split_at_mut(start);
        let key = match (seen.take(), header.last_chunk::<NONCE>()) {
            (Some(file_key), Some(nonce)) => PayloadKey::derive(&file_key, nonce),
            _ => Err(Wrong("its header has no key")),
        };
        let length = key
            .and_then(|key| key.open(payload))
            .map_err(|Wrong(reason)| CryptoError::Damaged(reason.to_owned()))?;
        Ok(start..start + length)
    }

    fn of_lines(file: &[u8]) -> Result<Self, CryptoError> {
        let wrong = |line: usize| {
            CryptoError::IdentityFile(format!("line {line} is no X25519 identity of age"))
        };
        let mut all = Vec::new();
        for (number, line) in file.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let text = std::str::from_utf8(line).map_err(|_| wrong(number + 1))?;
            let identity: x25519::Identity = text.parse().map_err(|_| wrong(number + 1))?;
            all.push(identity);
        }
        if all.is_empty() {
            return Err(CryptoError::IdentityFile("it holds none".to_owned()));
        }
        Ok(Self(all))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.recipients()).finish()
    }
}

impl Passphrase {
    /// Takes the passphrase over.
    pub fn new(passphrase: String) -> Self {
        Self(SecretString::from(passphrase))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl NewIdentity {
    /// Makes an identity of random bytes.
    pub fn generate() -> Self {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        Self {
            identity,
            recipient,
        }
    }

    /// The public key (`age1…`).
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// The identity file, as `age-keygen` writes it but for the time. Whoever has it can read the archive.
    pub fn to_file(&self) -> Zeroizing<String> {
        let secret = self.identity.to_string();
        Zeroizing::new(format!(
            "# public key: {}\n{}\n",
            self.recipient,
            secret.expose_secret()
        ))
    }

    /// The identity, to decrypt with.
    pub fn into_identities(self) -> Identities {
        Identities(vec![self.identity])
    }
}

impl fmt::Debug for NewIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewIdentity({})", self.recipient)
    }
}

/// What the work of a passphrase may cost: 2²⁰ needs a gigabyte and some seconds. `age -p` takes 2¹⁸.
const MAX_WORK_FACTOR: u8 = 20;

fn is_encrypted(file: &[u8]) -> bool {
    [
        &b"age-encryption.org/"[..],
        b"-----BEGIN AGE ENCRYPTED FILE-----",
    ]
    .iter()
    .any(|start| file.trim_ascii_start().starts_with(start))
}

fn open(file: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(file.trim_ascii_start()))
        .map_err(CryptoError::of_decryption)?;
    if !decryptor.is_scrypt() {
        let reason = "it is encrypted, but not with a passphrase".to_owned();
        return Err(CryptoError::IdentityFile(reason));
    }
    let mut identity = scrypt::Identity::new(passphrase.0.clone());
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let mut reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|error| match error {
            age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed
            | age::DecryptError::NoMatchingKeys => CryptoError::WrongPassphrase,
            other => CryptoError::of_decryption(other),
        })?;
    let mut plain = Zeroizing::new(Vec::with_capacity(file.len()));
    reader
        .read_to_end(&mut plain)
        .map_err(|error: io::Error| CryptoError::Damaged(error.to_string()))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::crypto::Recipients;

    fn protected(file: &[u8], passphrase: &str, armored: bool) -> Vec<u8> {
        let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        recipient.set_work_factor(2);
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).expect("a recipient");
        let format = if armored {
            age::armor::Format::AsciiArmor
        } else {
            age::armor::Format::Binary
        };
        let armor = age::armor::ArmoredWriter::wrap_output(Vec::new(), format).expect("memory");
        let mut writer = encryptor.wrap_output(armor).expect("memory");
        writer.write_all(file).expect("memory");
        let armor = writer.finish().expect("memory");
        armor.finish().expect("memory")
    }

    #[test]
    fn any_of_the_identities_decrypts_and_others_do_not() {
        let keys = [(); 3].map(|()| NewIdentity::generate());
        let recipients =
            Recipients::parse(keys[..2].iter().map(NewIdentity::recipient)).expect("recipients");
        let encrypted = recipients.encrypt(b"a secret").expect("encrypted");
        for key in &keys[..2] {
            let identities = Identities::parse(key.to_file().as_bytes(), None).expect("identities");
            let plain = identities.decrypt(&encrypted).expect("decrypted");
            assert_eq!(&plain[..], b"a secret");
        }
        let file = keys[2].to_file();
        let other = Identities::parse(file.as_bytes(), None).expect("identities");
        assert_eq!(other.decrypt(&encrypted), Err(CryptoError::WrongIdentity));
        let both = [file.as_str(), "\n# and\r\n", &keys[0].to_file()].concat();
        let both = Identities::parse(both.as_bytes(), None).expect("identities");
        assert!(both.decrypt(&encrypted).is_ok());
    }

    #[test]
    fn an_identity_file_can_be_protected_by_a_passphrase() {
        let key = NewIdentity::generate();
        for armored in [false, true] {
            let file = protected(key.to_file().as_bytes(), "correct horse", armored);
            let right = Passphrase::new("correct horse".to_owned());
            let identities = Identities::parse(&file, Some(&right)).expect("identities");
            assert_eq!(
                identities.recipients().next().as_deref(),
                Some(key.recipient())
            );
            let wrong = Passphrase::new("battery staple".to_owned());
            let error = Identities::parse(&file, Some(&wrong)).expect_err("wrong");
            assert_eq!(error, CryptoError::WrongPassphrase);
            let error = Identities::parse(&file, None).expect_err("none");
            assert_eq!(error, CryptoError::PassphraseNeeded);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_at_every_bit() {
        let key = NewIdentity::generate();
        let recipients = Recipients::parse([key.recipient()]).expect("recipients");
        let encrypted = recipients.encrypt(b"a secret").expect("encrypted");
        let identities = key.into_identities();
        for bit in 0..encrypted.len() * 8 {
            let mut damaged = encrypted.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(identities.decrypt(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..encrypted.len() {
            assert!(
                identities.decrypt(&encrypted[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn no_secret_is_in_any_text() {
        let key = NewIdentity::generate();
        let file = key.to_file();
        let secret = file.lines().last().expect("the secret").to_owned();
        let mut texts = vec![format!("{key:?}")];
        // A secret with a typing error, and one that stands where it should not.
        for wrong in [&secret[..secret.len() - 1], &format!("key: {secret}")] {
            let error = Identities::parse(wrong.as_bytes(), None).expect_err("no identity");
            texts.push(format!("{error} {error:?}"));
        }
        texts.push(format!("{:?}", key.into_identities()));
        texts.push(format!("{:?}", Passphrase::new(secret.clone())));
        for text in texts {
            assert!(!text.contains(&secret[16..40]), "{text}");
        }
    }
}
