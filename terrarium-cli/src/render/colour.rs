//! Colours, for those words alone that a line of ours begins with.

use std::ffi::OsStr;

/// What a line can begin with, and how that is shown (ECMA-48, SGR).
const WORDS: [(&str, &str); 5] = [
    ("error:", "1;31"),
    ("failed:", "1;31"),
    ("warning:", "1;33"),
    ("help:", "1;36"),
    ("note:", "36"),
];

/// Whether the user has nothing against colours, and the terminal can show them (<https://no-color.org>).
pub(crate) fn is_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != OsStr::new("dumb"))
}

/// Text with those words in colours, if `coloured`. It has no control characters but line feeds.
pub(crate) fn paint(text: &str, coloured: bool) -> String {
    if !coloured {
        return text.to_owned();
    }
    let mut painted = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start_matches(' ');
        let begins = |(word, _): &&(&str, &str)| rest.starts_with(word);
        match WORDS.iter().find(begins) {
            Some((word, how)) => {
                painted.push_str(&line[..line.len() - rest.len()]);
                painted.push_str(&format!("\x1b[{how}m{word}\x1b[0m"));
                painted.push_str(&rest[word.len()..]);
            }
            None => painted.push_str(line),
        }
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_a_line_begins_with_is_painted_and_nothing_else() {
        let text = "error: no warning: here\nhelp: look\n  note: two\nplain error: text";
        assert_eq!(
            paint(text, true),
            "\x1b[1;31merror:\x1b[0m no warning: here\n\x1b[1;36mhelp:\x1b[0m look\n  \x1b[36mnote:\x1b[0m two\n\
             plain error: text"
        );
        assert_eq!(paint(text, false), text);
    }
}
