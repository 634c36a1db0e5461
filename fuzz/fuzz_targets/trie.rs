//! Fuzzes [`zanzara_fuzz::trie`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zanzara_fuzz::trie(data));
