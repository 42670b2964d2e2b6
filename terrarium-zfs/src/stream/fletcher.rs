//! fletcher-4: the checksum of send streams (`fletcher_4_incremental_native` and `…_byteswap`).

use crate::stream::fields::ByteOrder;

/// A running fletcher-4 checksum: four sums over the 32-bit words of what it was given.
///
/// The words are read in the byte order of whoever wrote them. Bytes may be given in pieces of any
/// size; those of an unfinished word do not count until the word is whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fletcher4 {
    sums: [u64; 4],
    begun: [u8; 4],
    begun_length: usize,
}

impl Fletcher4 {
    pub(crate) fn update(&mut self, mut bytes: &[u8], order: ByteOrder) {
        if self.begun_length > 0 {
            let missing = (4 - self.begun_length).min(bytes.len());
            let (head, rest) = bytes.split_at(missing);
            self.begun[self.begun_length..self.begun_length + missing].copy_from_slice(head);
            self.begun_length += missing;
            bytes = rest;
            if self.begun_length < 4 {
                return;
            }
            self.sums = sum_up(self.sums, &[self.begun], order);
            self.begun_length = 0;
        }
        let (words, rest) = bytes.as_chunks::<4>();
        self.sums = sum_up(self.sums, words, order);
        self.begun[..rest.len()].copy_from_slice(rest);
        self.begun_length = rest.len();
    }

    /// The four sums, as they stand in a record.
    pub(crate) fn sums(&self) -> [u64; 4] {
        self.sums
    }
}

fn sum_up(sums: [u64; 4], words: &[[u8; 4]], order: ByteOrder) -> [u64; 4] {
    // Two loops, so that neither asks for the order at every word.
    match order {
        ByteOrder::Little => sum_up_words(sums, words, u32::from_le_bytes),
        ByteOrder::Big => sum_up_words(sums, words, u32::from_be_bytes),
    }
}

#[inline(always)]
fn sum_up_words(
    [mut a, mut b, mut c, mut d]: [u64; 4],
    words: &[[u8; 4]],
    read: impl Fn([u8; 4]) -> u32,
) -> [u64; 4] {
    for &word in words {
        a = a.wrapping_add(read(word).into());
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(pieces: &[&[u8]], order: ByteOrder) -> [u64; 4] {
        let mut checksum = Fletcher4::default();
        for piece in pieces {
            checksum.update(piece, order);
        }
        checksum.sums()
    }

    #[test]
    fn the_sums_are_those_of_the_definition() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        // a = 1 + 2 + 3; b, c and d are the sums of the running a, b and c.
        assert_eq!(sums(&[&bytes], ByteOrder::Little), [6, 10, 15, 21]);
        let swapped = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(sums(&[&swapped], ByteOrder::Big), [6, 10, 15, 21]);
        assert_eq!(sums(&[], ByteOrder::Big), [0; 4]);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_as_the_whole() {
        let bytes: Vec<u8> = (0..64u32).map(|n| (n * 37 % 251) as u8).collect();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let whole = sums(&[&bytes], order);
            for size in 1..bytes.len() {
                let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
                assert_eq!(sums(&pieces, order), whole, "pieces of {size}");
            }
        }
    }

    #[test]
    fn sums_that_overflow_wrap_around() {
        let ones = vec![0xff; 1 << 20];
        let [a, b, ..] = sums(&[&ones], ByteOrder::Little);
        let n = 1u64 << 18;
        let word = u64::from(u32::MAX);
        assert_eq!(a, n * word);
        assert_eq!(b, (n * (n + 1) / 2).wrapping_mul(word));
    }
}
