//! Numbers that look random and are the same in every run.

/// Draw `number` of a seed: SplitMix64, whose every output differs.
pub fn draw(seed: u64, number: u64) -> u64 {
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let mut drawn = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(step));
    drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    drawn ^ (drawn >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly_and_repeat() {
        let mut counts = [0_u32; 10];
        (0..10_000).for_each(|number| counts[(draw(1, number) % 10) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(8, 3));
    }
}
