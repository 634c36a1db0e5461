//! Masking (RFC 6455 section 5.3).
//!
//! Invariant: masking twice with the same key and offset gives the bytes back.

/// Bytes that are masked at once; the compiler makes vector instructions of it.
const WIDTH: usize = size_of::<u128>();

/// Masks, or unmasks, the part of a payload that begins `offset` bytes into it.
pub(crate) fn apply(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let mut key = key;
    key.rotate_left((offset % 4) as usize);
    let word = u128::from_ne_bytes(core::array::from_fn(|index| key[index % 4]));
    let (chunks, rest) = bytes.as_chunks_mut::<WIDTH>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn it_is_the_formula_of_the_standard_at_every_length_and_offset() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for length in 0..70_u8 {
            for offset in 0..9_u64 {
                let plain: Vec<u8> = (0..length).collect();
                let mut masked = plain.clone();
                apply(&mut masked, key, offset);
                let formula: Vec<u8> =
                    (offset..).zip(&plain).map(|(index, byte)| byte ^ key[(index % 4) as usize]).collect();
                assert_eq!(masked, formula, "{length} bytes at {offset}");
            }
        }
    }
}
