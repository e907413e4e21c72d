//! The Merkle tree of RFC 6962 section 2.1: hashes, the growing right edge, and proofs.

use ring::digest::{Context, SHA256};

/// A SHA-256.
pub type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of a leaf: SHA-256 of a zero byte and the record's bytes.
pub fn leaf_hash(record: &[u8]) -> Hash {
    sha256(&[&[0], record])
}

/// The hash of an inner node: SHA-256 of a one byte and both children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The bytes are no [`Frontier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the stored edge of a Merkle tree")]
pub struct FrontierError;

/// The right edge of a tree: its size, and the roots of the complete subtrees that it consists of,
/// largest first, one for each bit of the size. Enough to append and to compute the root, so that
/// a start never rehashes the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves the tree has; the next leaf gets this as its sequence number.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash. Two hashes on average, at most one for each bit of the size.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf, |_, _| ());
    }

    /// Appends a complete subtree of `2^height` leaves, of which the size has to be a multiple, and
    /// hands over the height and root of every larger one that is complete by it.
    pub(super) fn push_subtree(
        &mut self,
        height: u32,
        root: Hash,
        mut completed: impl FnMut(u32, Hash),
    ) {
        let mut hash = root;
        for step in 1..=(self.size >> height).trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
            }
            completed(height + step, hash);
        }
        self.hashes.push(hash);
        self.size += 1 << height;
    }

    /// The root of the tree; for the empty one the SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut from_right = self.hashes.iter().rev();
        let Some(last) = from_right.next() else {
            return sha256(&[]);
        };
        from_right.fold(*last, |right, left| node_hash(left, &right))
    }

    /// For storing: the size as 8 bytes, big endian, then the hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.hashes.iter().flatten());
        bytes
    }

    /// What [`Frontier::to_bytes`] gave.
    ///
    /// # Errors
    /// The bytes do not have the length that their size asks for.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let (size, hashes) = bytes.split_first_chunk().ok_or(FrontierError)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, rest) = hashes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != size.count_ones() as usize {
            return Err(FrontierError);
        }
        Ok(Self {
            size,
            hashes: hashes.to_vec(),
        })
    }
}

/// The root of a tree of these leaf hashes.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (size - 1).ilog2()
}

/// Proof that leaf `index` is in the tree of these leaf hashes (RFC 6962 section 2.1.1), from the
/// leaf up; nothing if there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, sibling) = if index < left.len() {
        (inclusion_proof(left, index)?, right)
    } else {
        (inclusion_proof(right, index - left.len())?, left)
    };
    proof.push(root_of(sibling));
    Some(proof)
}

/// Whether `proof` shows that `leaf` stands at `index` in the tree of `size` leaves with `root`
/// (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            // Skip the levels on which this edge node has no sibling.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Proof that the first `old` of these leaf hashes were a tree of the same log (RFC 6962 section
/// 2.1.2); nothing unless `old` is between 1 and their number.
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    fn subproof(leaves: &[Hash], old: usize, complete: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if complete {
                Vec::new()
            } else {
                vec![root_of(leaves)]
            };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, sibling) = if old <= left.len() {
            (subproof(left, old, complete), right)
        } else {
            (subproof(right, old - left.len(), false), left)
        };
        proof.push(root_of(sibling));
        proof
    }
    (1..=leaves.len())
        .contains(&old)
        .then(|| subproof(leaves, old, true))
}

/// Why a proof does not show that a log only grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// The later tree has fewer leaves than the earlier one: something was cut off.
    #[error("the later size is below the earlier one")]
    Shrunk,
    /// The proof has more or fewer hashes than these two sizes need.
    #[error("the proof does not have the length that the two sizes need")]
    Length,
    /// Put together, the proof does not give the earlier root: what was there has changed.
    #[error("the proof does not lead to the earlier root")]
    EarlierRoot,
    /// Put together, the proof does not give the later root.
    #[error("the proof does not lead to the later root")]
    LaterRoot,
}

/// Checks that `proof` shows that the log with `to_root` at `to` leaves only appended to the one
/// with `from_root` at `from` leaves (RFC 9162 section 2.1.4.2, whose proofs are those of RFC 6962
/// section 2.1.2). Equal sizes need equal roots and an empty proof; the empty tree is the beginning
/// of every tree. The roots have to come from signed heads: a proof says nothing about who made it.
///
/// # Errors
/// It does not show that.
pub fn verify_consistency(
    from: u64,
    to: u64,
    from_root: &Hash,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), ConsistencyError> {
    use ConsistencyError::{EarlierRoot, LaterRoot, Length, Shrunk};
    let fits = |holds: bool, otherwise| if holds { Ok(()) } else { Err(otherwise) };
    if from > to {
        return Err(Shrunk);
    }
    if from == to {
        fits(proof.is_empty(), Length)?;
        return fits(from_root == to_root, EarlierRoot);
    }
    if from == 0 {
        fits(proof.is_empty(), Length)?;
        return fits(*from_root == sha256(&[]), EarlierRoot);
    }
    let mut steps = proof.iter();
    // A complete earlier tree is itself the first step, and is then not sent.
    let first = if from.is_power_of_two() {
        Some(from_root)
    } else {
        steps.next()
    };
    let first = first.ok_or(Length)?;
    let (mut node, mut last) = (from - 1, to - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_hash, mut to_hash) = (*first, *first);
    for step in steps {
        fits(last != 0, Length)?;
        if node & 1 == 1 || node == last {
            from_hash = node_hash(step, &from_hash);
            to_hash = node_hash(step, &to_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            to_hash = node_hash(&to_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    fits(last == 0, Length)?;
    fits(from_hash == *from_root, EarlierRoot)?;
    fits(to_hash == *to_root, LaterRoot)
}
