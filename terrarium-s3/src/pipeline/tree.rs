//! The BLAKE3 of a stream, from what was hashed of each part by itself.
//!
//! BLAKE3 is a tree, so that parts whose size is a power of two are nodes of it: each is hashed once, by whoever works on
//! it, for the stream and for the journal.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hash, Hasher};

/// What a part is in the tree.
#[derive(Clone, Copy)]
pub(super) struct Node {
    value: ChainingValue,
    /// If it is the first: what the hash of the stream is if there is no other.
    alone: Option<Hash>,
}

impl Node {
    /// Of a part that is not empty, in a stream of parts of that size, if such parts are nodes.
    pub(super) fn new(bytes: &[u8], number: u32, part_size: usize) -> Option<Self> {
        if !are_nodes(part_size) || bytes.is_empty() || bytes.len() > part_size {
            return None;
        }
        let mut hasher = Hasher::new();
        // It starts at a multiple of its size, as a node does.
        hasher.set_input_offset(u64::from(number).checked_mul(part_size as u64)?);
        hasher.update(bytes);
        Some(Self {
            value: hasher.finalize_non_root(),
            alone: (number == 0).then(|| hasher.finalize()),
        })
    }

    /// Something that is the same for the same bytes at the same place in a stream.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.value
    }
}

/// Whether parts of that size are nodes of the tree.
pub(super) fn are_nodes(part_size: usize) -> bool {
    part_size.is_power_of_two() && part_size >= CHUNK_LEN
}

/// The hash of the stream; `nodes` are all its parts, of which only the last may be shorter.
pub(super) fn root(nodes: &[Node]) -> Option<Hash> {
    match nodes {
        [] => None,
        [one] => one.alone,
        _ => {
            let (left, right) = nodes.split_at(left(nodes.len()));
            let (left, right) = (value(left)?, value(right)?);
            Some(merge_subtrees_root(&left, &right, Mode::Hash))
        }
    }
}

fn value(nodes: &[Node]) -> Option<ChainingValue> {
    match nodes {
        [] => None,
        [one] => Some(one.value),
        _ => {
            let (left, right) = nodes.split_at(left(nodes.len()));
            let (left, right) = (value(left)?, value(right)?);
            Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
        }
    }
}

/// The left side of two or more is as large as a full tree can be that leaves something for the right one.
fn left(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_the_parts_is_that_of_the_stream() {
        let stream: Vec<u8> = (0..41_000_u32)
            .map(|at| (at * 31 + at / 255) as u8)
            .collect();
        for part_size in [1024, 2048, 4096, 16_384, 65_536] {
            let around = [1, 2, 3, 4, 5, 7, 8, 9].map(|count| count * part_size);
            let around = around.iter().flat_map(|size| [size - 1, *size, size + 1]);
            for size in around.chain([1, stream.len()]) {
                let Some(stream) = stream.get(..size) else {
                    continue;
                };
                let nodes = stream
                    .chunks(part_size)
                    .enumerate()
                    .map(|(number, part)| Node::new(part, number as u32, part_size));
                let nodes: Option<Vec<_>> = nodes.collect();
                let found = root(&nodes.expect("nodes"));
                assert_eq!(found, Some(blake3::hash(stream)), "{size} by {part_size}");
            }
        }
    }

    #[test]
    fn parts_of_other_sizes_are_no_nodes() {
        for part_size in [1, 512, 60_000, 3 << 20] {
            assert!(!are_nodes(part_size));
            assert!(Node::new(b"bytes", 0, part_size).is_none());
        }
        assert!(Node::new(b"", 0, 4096).is_none());
        assert!(Node::new(&[0; 4097], 0, 4096).is_none());
        assert!(root(&[]).is_none());
    }
}
