use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use crate::audit::merkle::*;

/// RFC 6962 section 2.1 word for word, as the reference.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => digest(&SHA256, b"").as_ref().try_into().unwrap(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let (left, right) = leaves.split_at(k);
            let mut bytes = vec![1];
            bytes.extend(naive_root(left));
            bytes.extend(naive_root(right));
            digest(&SHA256, &bytes).as_ref().try_into().unwrap()
        }
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn the_known_tree_of_eight_leaves_has_its_known_roots() {
    let inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(hex::encode(frontier.root()), roots[0]);
    for (input, root) in inputs.iter().zip(&roots[1..]) {
        frontier.push(leaf_hash(&hex::decode(input).unwrap()));
        assert_eq!(hex::encode(frontier.root()), *root);
    }
    assert_eq!(frontier.size(), 8);
}

#[test]
fn a_stored_frontier_is_read_strictly() {
    for size in 0..70 {
        let mut frontier = Frontier::new();
        leaves(size)
            .into_iter()
            .for_each(|leaf| frontier.push(leaf));
        let bytes = frontier.to_bytes();
        assert_eq!(Frontier::from_bytes(&bytes), Ok(frontier));
        assert!(Frontier::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Frontier::from_bytes(&longer).is_err());
        longer.extend([0; 31]);
        assert!(Frontier::from_bytes(&longer).is_err());
    }
}

#[test]
fn every_proof_of_small_trees_holds_and_no_other() {
    let all = leaves(17);
    for size in 1..=all.len() {
        let tree = &all[..size];
        let root = naive_root(tree);
        for index in 0..size {
            let proof = inclusion_proof(tree, index).unwrap();
            for claimed in 0..size {
                assert_eq!(
                    verify_inclusion(&tree[index], claimed as u64, size as u64, &root, &proof),
                    claimed == index
                );
            }
        }
        assert!(inclusion_proof(tree, size).is_none());
        for old in 1..=size {
            let proof = consistency_proof(tree, old).unwrap();
            let old_root = naive_root(&all[..old]);
            let (old, size) = (old as u64, size as u64);
            let verify = verify_consistency;
            assert_eq!(verify(old, size, &old_root, &root, &proof), Ok(()));
            if old < size {
                use ConsistencyError::*;
                let other = leaf_hash(b"other");
                // The root of a complete earlier tree is the first step of both ways.
                let wrong = verify(old, size, &other, &root, &proof);
                let first = if old.is_power_of_two() {
                    LaterRoot
                } else {
                    EarlierRoot
                };
                assert_eq!(wrong, Err(first));
                let wrong = verify(old, size, &old_root, &other, &proof);
                assert_eq!(wrong, Err(LaterRoot));
                let wrong = verify(size, old, &root, &old_root, &proof);
                assert_eq!(wrong, Err(Shrunk));
                let mut longer = proof.clone();
                longer.push(other);
                let wrong = verify(old, size, &old_root, &root, &longer);
                assert_eq!(wrong, Err(Length));
                let wrong = verify(old, size, &old_root, &root, &proof[..proof.len() - 1]);
                assert_eq!(wrong, Err(Length));
                assert!(verify(old, size, &old_root, &root, &proof[1..]).is_err());
            } else {
                let other = leaf_hash(b"other");
                assert!(verify(old, size, &other, &root, &[]).is_err());
                assert!(verify(old, size, &root, &root, &[other]).is_err());
            }
        }
        assert!(consistency_proof(tree, 0).is_none());
        assert!(consistency_proof(tree, size + 1).is_none());
        let (empty, size) = (naive_root(&[]), size as u64);
        assert_eq!(verify_consistency(0, size, &empty, &root, &[]), Ok(()));
        assert!(verify_consistency(0, size, &root, &root, &[]).is_err());
        assert!(verify_consistency(0, size, &empty, &root, &[root]).is_err());
    }
}

proptest! {
    #[test]
    fn the_frontier_equals_the_naive_tree(size in 0_usize..600, stop in 0_usize..600) {
        let all = leaves(size);
        let mut frontier = Frontier::new();
        for (index, leaf) in all.iter().enumerate() {
            if index == stop {
                frontier = Frontier::from_bytes(&frontier.to_bytes()).unwrap();
            }
            frontier.push(*leaf);
        }
        prop_assert_eq!(frontier.root(), naive_root(&all));
        prop_assert_eq!(root_of(&all), naive_root(&all));
    }

    #[test]
    fn proofs_of_random_pairs(new in 1_usize..400, old in 1_usize..400, flip: u8, at: usize) {
        let old = 1 + old % new;
        let all = leaves(new);
        let (root, old_root) = (naive_root(&all), naive_root(&all[..old]));
        let index = old - 1;
        let mut proof = inclusion_proof(&all, index).unwrap();
        let (index, size, old_size) = (index as u64, new as u64, old as u64);
        let leaf = all[old - 1];
        prop_assert!(verify_inclusion(&leaf, index, size, &root, &proof));
        let mut consistency = consistency_proof(&all, old).unwrap();
        let verified = verify_consistency(old_size, size, &old_root, &root, &consistency);
        prop_assert_eq!(verified, Ok(()));
        let bit = 1 << (flip % 8);
        if !proof.is_empty() {
            let step = at % proof.len();
            proof[step][at % 32] ^= bit;
            prop_assert!(!verify_inclusion(&leaf, index, size, &root, &proof));
        }
        if !consistency.is_empty() {
            let step = at % consistency.len();
            consistency[step][at % 32] ^= bit;
            let verified = verify_consistency(old_size, size, &old_root, &root, &consistency);
            prop_assert!(verified.is_err());
        }
    }
}
