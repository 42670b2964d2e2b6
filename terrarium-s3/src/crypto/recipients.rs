//! Whom something is encrypted to.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use age::x25519;
use serde::{Deserialize, Serialize};

use crate::crypto::CryptoError;

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
        let mut output = Vec::with_capacity(self.size_of(plain.len()));
        let mut writer = self.encrypting(&mut output).map_err(failed)?;
        writer.write_all(plain).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(output)
    }

    /// Encrypts what is written. It must be finished.
    pub(crate) fn encrypting<W: Write>(
        &self,
        output: W,
    ) -> io::Result<age::stream::StreamWriter<W>> {
        let recipients = self
            .0
            .iter()
            .map(|(_, recipient)| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        encryptor.wrap_output(output)
    }

    /// At most so many bytes are made of so many.
    pub(crate) fn size_of(&self, plain: usize) -> usize {
        // A stanza for each recipient; a tag of 16 bytes for each 64 KiB, and for the empty last one.
        256 + 160 * self.0.len() + plain + 16 * (plain / (64 << 10) + 2)
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
