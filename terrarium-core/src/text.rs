//! Small things about text that people read.

/// At most three of `known` that look like `wanted`, the nearest first.
pub(crate) fn nearest(wanted: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = known
        .map(|name| (distance(wanted, &name), name))
        .filter(|(distance, name)| {
            *distance <= wanted.len().max(name.len()) / 2 || name.contains(wanted)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein's distance: single characters inserted, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_strangers_do_not_come() {
        let known = ["my-app", "my-api", "database", "my-app-2"];
        let nearest = nearest("my-ap", known.iter().map(ToString::to_string));
        assert_eq!(nearest, ["my-api", "my-app", "my-app-2"]);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
