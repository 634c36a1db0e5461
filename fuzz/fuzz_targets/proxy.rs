//! Fuzzes [`zanzara_fuzz::proxy`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::proxy(data));
