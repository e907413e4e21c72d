//! How much the time of a comparison says.

#[path = "../../../tests/support/welch.rs"]
mod welch;

use crate::crypto::MacKey;

/// A measurement, printed and not judged: a tag that is wrong at its first byte, and one that is
/// wrong at its last. `scripts/soak timing`.
#[test]
#[ignore = "a measurement: scripts/soak timing"]
fn soak_timing_of_a_wrong_tag() {
    let key = MacKey::new(&super::key(1));
    let good = key.tag("row", &[b"message"]);
    let (mut first, mut last) = (good, good);
    first[0] ^= 1;
    last[31] ^= 1;
    let mut samples = welch::Samples::default();
    for n in 0..400_000_u32 {
        // Two bits of a multiplicative hash choose, so that neither follows the other.
        let heads = n.wrapping_mul(0x9e37_79b9) >> 31 == 1;
        let tag = std::hint::black_box(if heads { &first } else { &last });
        let begun = std::time::Instant::now();
        let verified = std::hint::black_box(key.verify("row", &[b"message"], tag));
        let nanos = begun.elapsed().as_nanos() as f64;
        assert!(!verified);
        match heads {
            true => samples.first.push(nanos),
            false => samples.second.push(nanos),
        }
    }
    println!(
        "{}",
        samples
            .compare()
            .line("a tag wrong at its first byte, at its last")
    );
}
