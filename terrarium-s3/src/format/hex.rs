//! Bytes as lower-case hexadecimal digits, in one way only.

/// The digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The bytes. `None` if there are not exactly as many digits as needed, or other characters.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// For serde: a field of bytes as digits.
macro_rules! as_digits {
    ($module:ident, $type:ty, $to:expr, $from:expr) => {
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de};

            pub(crate) fn serialize<S: Serializer>(
                value: &$type,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&super::encode(&$to(value)))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                super::decode(&text).map($from).ok_or_else(|| {
                    let digits = 2 * size_of::<$type>();
                    de::Error::custom(format_args!(
                        "{digits} lower-case hexadecimal digits expected"
                    ))
                })
            }
        }
    };
}
as_digits!(
    number,
    u32,
    |value: &u32| value.to_be_bytes(),
    u32::from_be_bytes
);
as_digits!(
    hash,
    blake3::Hash,
    |value: &blake3::Hash| *value.as_bytes(),
    blake3::Hash::from_bytes
);
as_digits!(
    signature,
    [u8; 64],
    |value: &[u8; 64]| *value,
    |bytes: [u8; 64]| bytes
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_way_to_write_bytes() {
        assert_eq!(encode(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(decode("009fff"), Some([0, 0x9f, 0xff]));
        for text in ["009FFF", "009ff", "009fff0", " 09fff", "00xfff", "é9fff"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
