//! Fuzzes [`zanzara_fuzz::decode_v5`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::decode_v5(data));
