//! Where written bytes end: unused space is zeros, and there are megabytes of it.

/// Compared at once, which is as fast in a debug build as in any.
const PAGE: [u8; 4096] = [0; 4096];

/// Bytes up to and with the last one that is not zero.
pub fn used(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while end >= PAGE.len() && bytes[end - PAGE.len()..end] == PAGE {
        end -= PAGE.len();
    }
    bytes[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Zero bytes at the start.
pub fn leading(bytes: &[u8]) -> usize {
    let mut start = 0;
    while bytes.len() - start >= PAGE.len() && bytes[start..start + PAGE.len()] == PAGE {
        start += PAGE.len();
    }
    let rest = bytes[start..].iter().position(|byte| *byte != 0);
    rest.map_or(bytes.len(), |first| start + first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_byte_is_found_wherever_it_is() {
        for len in [0, 1, 8, 4095, 4096, 4097, 12_288, 12_300] {
            let mut bytes = vec![0; len];
            assert_eq!((used(&bytes), leading(&bytes)), (0, len));
            for at in (0..len).step_by(7) {
                bytes[at] = 1;
                assert_eq!((used(&bytes), leading(&bytes)), (at + 1, at), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
