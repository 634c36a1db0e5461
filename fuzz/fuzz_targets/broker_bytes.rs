//! Fuzzes [`zanzara_fuzz::broker_bytes`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::broker_bytes(data));
