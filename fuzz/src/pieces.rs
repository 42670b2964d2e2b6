//! Choices that depend on the input alone, so that a crash can be repeated.

use std::hash::{DefaultHasher, Hasher};

/// A sequence of numbers that follows from a seed.
pub struct Choices(u64);

impl Choices {
    /// Those that go with an input.
    pub fn of(input: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(input);
        Self(hasher.finish())
    }

    /// Those that go with a seed of libFuzzer's.
    pub fn seeded(seed: u32) -> Self {
        Self::of(&seed.to_le_bytes())
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % end.max(1)
    }
}

/// Cuts the input into pieces: single bytes, a few, and more than a record at once, all mixed; some are empty.
pub fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let mut choices = Choices::of(input);
    let longest = [2, 16, 400, 5000][choices.below(4)];
    let mut pieces = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(choices.below(longest).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces
}
