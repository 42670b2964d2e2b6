//! Whom something is encrypted to.

use std::fmt;
use std::io;
use std::str::FromStr;

use age::x25519;
use serde::{Deserialize, Serialize};

use crate::crypto::CryptoError;
use crate::crypto::payload::{self, NONCE, PayloadKey, Seen, Watched, Wrong};

/// The public keys that an archive is encrypted to, parsed once: whoever has the identity of any of them
/// can read it.
///
/// Serialised as a list of texts (`age1…`), sorted, each once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Recipients(Vec<(String, x25519::Recipient)>);

impl Recipients {
    /// The most that an archive can have.
    pub const MAX: usize = 32;

    /// Parses recipients. Their order makes no difference, nor does repetition.
    ///
    /// # Errors
    /// [`CryptoError::Recipient`], [`CryptoError::RecipientCount`].
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, CryptoError> {
        let mut all = texts
            .into_iter()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        if all.is_empty() || all.len() > Self::MAX {
            return Err(CryptoError::RecipientCount(all.len()));
        }
        Ok(Self(all))
    }

    /// The texts of recipients as they are written, of however many.
    ///
    /// # Errors
    /// [`CryptoError::Recipient`].
    pub fn parse_any<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<String>, CryptoError> {
        let text = |text| parse(text).map(|(text, _)| text);
        texts.into_iter().map(text).collect()
    }

    /// Their texts, sorted.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }

    /// Encrypts to all of them.
    ///
    /// # Errors
    /// [`CryptoError::Encrypt`].
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let failed = |error: io::Error| CryptoError::Encrypt(error.to_string());
        let sealing = self.sealing(Vec::new(), plain.len());
        let mut sealing = sealing.map_err(failed)?;
        sealing.buffer().extend_from_slice(plain);
        sealing.finish().map_err(failed)
    }

    /// Begins to encrypt at most so many bytes, in the memory of a buffer whose content is of no meaning.
    pub(crate) fn sealing(&self, mut buffer: Vec<u8>, most: usize) -> io::Result<Sealing> {
        buffer.clear();
        buffer.reserve_exact(self.size_of(most));
        let seen = Seen::default();
        let watched: Vec<_> = self
            .0
            .iter()
            .map(|(_, recipient)| Watched(recipient, &seen))
            .collect();
        let recipients = watched.iter().map(|one| one as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        // It writes the header and a random number, and would write the payload after them.
        drop(encryptor.wrap_output(&mut buffer)?);
        drop(watched);
        let key = match (seen.take(), buffer.last_chunk::<NONCE>()) {
            (Some(file_key), Some(nonce)) => PayloadKey::derive(&file_key, nonce),
            _ => Err(Wrong("its header was not written")),
        };
        let key = key.map_err(|Wrong(reason)| io::Error::other(reason))?;
        let start = buffer.len();
        let from = start + payload::room(most);
        buffer.resize(from, 0);
        Ok(Sealing {
            buffer,
            key,
            start,
            from,
        })
    }

    /// At most so many bytes are made of so many.
    pub(crate) fn size_of(&self, plain: usize) -> usize {
        // A stanza for each recipient, and one that means nothing.
        512 + 160 * self.0.len() + plain + payload::room(plain)
    }
}

/// A file that is being encrypted.
pub(crate) struct Sealing {
    /// The header, room for the tags of all chunks, and what is to be encrypted.
    buffer: Vec<u8>,
    key: PayloadKey,
    start: usize,
    from: usize,
}

impl Sealing {
    /// What is to be encrypted is appended to this; it has room for as much as was said.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Encrypts it. Its memory is that of the buffer.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        let sealed = self.key.seal(&mut self.buffer, self.start, self.from);
        sealed.map_err(|Wrong(reason)| io::Error::other(reason))?;
        Ok(self.buffer)
    }
}

fn parse(text: impl AsRef<str>) -> Result<(String, x25519::Recipient), CryptoError> {
    let recipient = x25519::Recipient::from_str(text.as_ref())
        .map_err(|_| CryptoError::Recipient(text.as_ref().to_owned()))?;
    Ok((recipient.to_string(), recipient))
}

impl PartialEq for Recipients {
    fn eq(&self, other: &Self) -> bool {
        self.texts().eq(other.texts())
    }
}

impl Eq for Recipients {}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

impl TryFrom<Vec<String>> for Recipients {
    type Error = CryptoError;

    fn try_from(texts: Vec<String>) -> Result<Self, CryptoError> {
        Self::parse(texts)
    }
}

impl From<Recipients> for Vec<String> {
    fn from(recipients: Recipients) -> Vec<String> {
        recipients.0.into_iter().map(|(text, _)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NewIdentity;

    #[test]
    fn recipients_are_a_set() {
        let [one, other] = [(); 2].map(|()| NewIdentity::generate().recipient().to_owned());
        let all = Recipients::parse([&one, &other, &one]).expect("recipients");
        assert_eq!(all, Recipients::parse([&other, &one]).expect("recipients"));
        assert_eq!(all.texts().count(), 2);
        let json = serde_json::to_string(&all).expect("json");
        assert_eq!(
            serde_json::from_str::<Recipients>(&json).expect("back"),
            all
        );
        assert!(format!("{all:?}").contains(&one));
    }

    #[test]
    fn what_is_no_x25519_recipient_is_refused() {
        let identity = NewIdentity::generate();
        let upper = identity.recipient().to_uppercase();
        for text in ["", "age1", "ssh-ed25519 AAAA", &identity.recipient()[..50]] {
            let error = Recipients::parse([text]).expect_err(text);
            assert_eq!(error, CryptoError::Recipient(text.to_owned()));
        }
        assert_eq!(
            Recipients::parse([""; 0]),
            Err(CryptoError::RecipientCount(0))
        );
        if let Ok(recipients) = Recipients::parse([upper]) {
            assert_eq!(recipients.texts().next(), Some(identity.recipient()));
        }
    }

    #[test]
    fn the_room_that_is_kept_is_enough() {
        let texts: Vec<_> = (0..Recipients::MAX)
            .map(|_| NewIdentity::generate().recipient().to_owned())
            .collect();
        for count in [1, 2, Recipients::MAX] {
            let recipients = Recipients::parse(&texts[..count]).expect("recipients");
            for size in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20] {
                let encrypted = recipients.encrypt(&vec![0; size]).expect("encrypted");
                assert!(
                    encrypted.len() <= recipients.size_of(size),
                    "{count} {size}"
                );
            }
        }
    }
}
