//! Fuzzes [`zanzara_fuzz::ws`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::ws(data));
