//! A long text in user properties.
//!
//! ZFS limits a value to 8191 bytes (`ZAP_MAXVALUELEN`), so a text is cut: the property itself holds the number of
//! pieces and the first one, `<property>.1` the second, and so on.

use std::collections::BTreeMap;

use terrarium_zfs::UserProperties;

/// The most that is put into one property, in bytes: below ZFS's limit, with room for the count.
const PIECE: usize = 8000;

/// The user properties that hold `json` under the name `key`.
pub(crate) fn cut(key: &str, json: &str) -> UserProperties {
    let text = ascii_only(json);
    let pieces = text.len().div_ceil(PIECE);
    let mut properties = UserProperties::new();
    for index in 0..pieces {
        let piece = &text[index * PIECE..text.len().min((index + 1) * PIECE)];
        if index == 0 {
            properties.insert(key.to_owned(), format!("{pieces}:{piece}"));
        } else {
            properties.insert(format!("{key}.{index}"), piece.to_owned());
        }
    }
    properties
}

/// The text that was cut into these properties; `None` if there is none of that name.
///
/// # Errors
/// Why it cannot be put together.
pub(crate) fn join(
    key: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Option<String>, &'static str> {
    let Some(first) = properties.get(key) else {
        return Ok(None);
    };
    let (pieces, first) = first.split_once(':').ok_or("no number of pieces")?;
    let pieces: usize = pieces.parse().map_err(|_| "no number of pieces")?;
    let mut text = first.to_owned();
    for index in 1..pieces {
        let piece = properties.get(&format!("{key}.{index}"));
        text.push_str(piece.ok_or("a piece is missing")?);
    }
    Ok(Some(text))
}

/// The properties among these that hold pieces of the text of that name.
pub(crate) fn keys<'a>(
    key: &str,
    properties: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a String> {
    let (first, others) = (key.to_owned(), format!("{key}."));
    properties
        .keys()
        .filter(move |key| **key == first || key.starts_with(&others))
}

/// Escapes all but ASCII, so that the text can be cut at any byte.
fn ascii_only(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}
