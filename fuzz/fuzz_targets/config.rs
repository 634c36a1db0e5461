//! Fuzzes [`zanzara_fuzz::config`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::config(data));
