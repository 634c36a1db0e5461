//! Fuzzes [`zanzara_fuzz::tls`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::tls(data));
