//! The payload of an age file, written and read here: chunks of 64 KiB, each sealed with ChaCha20-Poly1305
//! ([STREAM](https://age-encryption.org/v1)).
//!
//! Header, recipients and the wrapped file key are the `age` crate's, which hands the file key over where it asks a
//! recipient to wrap it, or an identity for what it has unwrapped. Of the payload `age`'s implementation takes twice the
//! time of `ring`'s, which is built for TLS anyway, and copies each chunk twice.

use std::cell::RefCell;
use std::collections::HashSet;

use age::secrecy::ExposeSecret;
use age::{DecryptError, EncryptError};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// So many bytes are sealed at once; only the last time fewer.
const CHUNK: usize = 64 << 10;

/// What a chunk grows by.
const TAG: usize = 16;

/// The length of the random number before the payload, which its key is derived with.
pub(super) const NONCE: usize = 16;

/// The key of one payload.
pub(super) struct PayloadKey(LessSafeKey);

/// What is sealed, or opened, is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) &'static str);

impl PayloadKey {
    /// The one that belongs to a file and the random number before its payload.
    pub(super) fn derive(file_key: &FileKey, nonce: &[u8]) -> Result<Self, Wrong> {
        let key = Zeroizing::new(hkdf(nonce, b"payload", file_key.expose_secret()));
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]);
        key.map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| Wrong("its payload key is of the wrong length"))
    }

    /// Seals what stands in the buffer from `from` on, and moves it to `start`: the room between is to be as much as
    /// [`room`] says. The buffer then ends with the payload.
    pub(super) fn seal(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        from: usize,
    ) -> Result<(), Wrong> {
        let plain = buffer.len().checked_sub(from);
        let plain = plain.ok_or(Wrong("there is no plain text"))?;
        if from.saturating_sub(start) < room(plain) {
            return Err(Wrong("it is longer than was said"));
        }
        let (mut read, mut write) = (from, start);
        let mut number = 0;
        loop {
            let length = CHUNK.min(buffer.len() - read);
            let last = read + length == buffer.len();
            buffer.copy_within(read..read + length, write);
            let chunk = &mut buffer[write..write + length];
            let tag = self
                .0
                .seal_in_place_separate_tag(nonce(number, last), Aad::empty(), chunk);
            let tag = tag.map_err(|_| Wrong("a chunk cannot be sealed"))?;
            read += length;
            write += length;
            // What stood here was read: there is room for all tags up to this one.
            buffer[write..write + TAG].copy_from_slice(tag.as_ref());
            write += TAG;
            number += 1;
            if last {
                buffer.truncate(write);
                return Ok(());
            }
        }
    }

    /// Opens a whole payload where it stands, and moves what it holds to the front: so many bytes. If that fails, what
    /// stands there is of no meaning.
    pub(super) fn open(&self, payload: &mut [u8]) -> Result<usize, Wrong> {
        if payload.is_empty() {
            return Err(Wrong("it ends before its payload"));
        }
        let (mut read, mut write) = (0, 0);
        for number in 0.. {
            let length = (payload.len() - read).min(CHUNK + TAG);
            // A payload has no empty chunk, unless it is empty itself.
            if number > 0 && length <= TAG {
                return Err(Wrong("its last chunk is empty"));
            }
            let last = read + length == payload.len();
            let chunk = &mut payload[write..read + length];
            let opened =
                self.0
                    .open_within(nonce(number, last), Aad::empty(), chunk, read - write..);
            write += opened
                .map_err(|_| Wrong("a chunk of it is damaged or missing"))?
                .len();
            read += length;
            if last {
                break;
            }
        }
        Ok(write)
    }
}

/// How much so many bytes grow.
pub(super) fn room(plain: usize) -> usize {
    TAG * plain.div_ceil(CHUNK).max(1)
}

/// 11 bytes of a counter, and whether it is the last. A key seals one payload only, so that none comes twice.
fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = last.into();
    Nonce::assume_unique_for_key(bytes)
}

/// Keeps the file key that goes by. All recipients of a file are given the same one.
#[derive(Default)]
pub(super) struct Seen(RefCell<Option<FileKey>>);

impl Seen {
    pub(super) fn take(self) -> Option<FileKey> {
        self.0.into_inner()
    }

    fn see(&self, key: &FileKey) {
        let copy = |to: &mut [u8; 16]| to.copy_from_slice(key.expose_secret());
        *self.0.borrow_mut() = Some(FileKey::init_with_mut(copy));
    }
}

/// A recipient or an identity, and who looks on.
pub(super) struct Watched<'a, T>(pub(super) &'a T, pub(super) &'a Seen);

impl<T: age::Recipient> age::Recipient for Watched<'_, T> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.1.see(file_key);
        self.0.wrap_file_key(file_key)
    }
}

impl<T: age::Identity> age::Identity for Watched<'_, T> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.0.unwrap_stanza(stanza);
        if let Some(Ok(key)) = &unwrapped {
            self.1.see(key);
        }
        unwrapped
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use crate::crypto::{CryptoError, Identities, NewIdentity, Recipients};

    /// Every case that a chunk can be: none, a part of one, one, one and a bit, several.
    const SIZES: [usize; 9] = [
        0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 300_000,
    ];

    fn plain(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    /// Three keys, and recipients of the first two.
    fn keys() -> ([NewIdentity; 3], Recipients) {
        let keys = [(); 3].map(|()| NewIdentity::generate());
        let recipients = Recipients::parse(keys[..2].iter().map(NewIdentity::recipient));
        (keys, recipients.expect("recipients"))
    }

    fn identities(key: &NewIdentity) -> Identities {
        Identities::parse(key.to_file().as_bytes(), None).expect("identities")
    }

    fn of_the_crate(key: &NewIdentity) -> age::x25519::Identity {
        let file = key.to_file();
        let line = file.lines().last().expect("a secret");
        line.parse().expect("an identity")
    }

    #[test]
    fn the_age_crate_reads_what_is_written() {
        let (keys, recipients) = keys();
        for size in SIZES {
            let encrypted = recipients.encrypt(&plain(size)).expect("encrypted");
            for key in &keys[..2] {
                let identity = of_the_crate(key);
                let decryptor = age::Decryptor::new(&encrypted[..]).expect("a header");
                let reader = decryptor.decrypt(std::iter::once(&identity as _));
                let mut found = Vec::new();
                reader
                    .expect("a key")
                    .read_to_end(&mut found)
                    .expect("sound");
                assert_eq!(found, plain(size), "{size}");
            }
        }
    }

    #[test]
    fn what_the_age_crate_writes_is_read() {
        let (keys, _) = keys();
        let all = [0, 1].map(|number| of_the_crate(&keys[number]).to_public());
        for size in SIZES {
            let recipients = all.iter().map(|recipient| recipient as _);
            let encryptor = age::Encryptor::with_recipients(recipients).expect("recipients");
            let mut encrypted = Vec::new();
            let mut writer = encryptor.wrap_output(&mut encrypted).expect("memory");
            writer.write_all(&plain(size)).expect("memory");
            writer.finish().expect("memory");
            for key in &keys[..2] {
                let found = identities(key).decrypt(&encrypted).expect("decrypted");
                assert_eq!(found[..], plain(size), "{size}");
            }
            let other = identities(&keys[2]).decrypt(&encrypted);
            assert_eq!(other, Err(CryptoError::WrongIdentity));
        }
    }

    /// What a program makes of its input.
    fn through(command: &mut Command, input: Vec<u8>) -> Vec<u8> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.expect("age is installed, as `make setup` does it");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        writing.join().expect("no panic").expect("it reads all");
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn the_age_program_reads_what_is_written_and_is_read() {
        let (keys, recipients) = keys();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("identity.txt");
        std::fs::write(&file, keys[1].to_file().as_bytes()).expect("written");
        for size in SIZES {
            let encrypted = recipients.encrypt(&plain(size)).expect("encrypted");
            let decrypting = &mut Command::new("age");
            let found = through(decrypting.arg("-d").arg("-i").arg(&file), encrypted);
            assert_eq!(found, plain(size), "{size}");
            let encrypting = &mut Command::new("age");
            encrypting.args(recipients.texts().flat_map(|text| ["-r", text]));
            let encrypted = through(encrypting, plain(size));
            let found = identities(&keys[0]).decrypt(&encrypted).expect("decrypted");
            assert_eq!(found[..], plain(size), "{size}");
        }
    }

    #[test]
    fn chunks_that_are_damaged_missing_swapped_or_added_are_noticed() {
        let (keys, recipients) = keys();
        let identities = identities(&keys[0]);
        let encrypted = recipients.encrypt(&plain(200_000)).expect("encrypted");
        let header = encrypted.len() - 200_000 - 4 * 16;
        let at = |chunk: usize| header + chunk * (65_536 + 16);
        let damaged = |wrong: &[u8]| match identities.decrypt(wrong) {
            Err(CryptoError::Damaged(_)) => {}
            other => panic!("{other:?}"),
        };
        for chunk in 0..4 {
            // What ends after a whole chunk, and a chunk less.
            damaged(&encrypted[..at(chunk)]);
            let end = at(chunk + 1).min(encrypted.len());
            damaged(&[&encrypted[..at(chunk)], &encrypted[end..]].concat());
            for place in [at(chunk), end - 17, end - 16, end - 1] {
                let mut wrong = encrypted.clone();
                wrong[place] ^= 1;
                damaged(&wrong);
            }
        }
        let swapped = [
            &encrypted[..at(0)],
            &encrypted[at(1)..at(2)],
            &encrypted[at(0)..at(1)],
            &encrypted[at(2)..],
        ];
        damaged(&swapped.concat());
        damaged(&[&encrypted[..], &encrypted[at(3)..]].concat());
        damaged(&[&encrypted[..], &[0; 16]].concat());
        // The random number that the key is derived with.
        let mut wrong = encrypted.clone();
        wrong[header - 1] ^= 1;
        damaged(&wrong);
    }
}
