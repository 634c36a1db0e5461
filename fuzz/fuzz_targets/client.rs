//! Fuzzes [`zanzara_fuzz::client`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::client(data));
