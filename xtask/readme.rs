//! The examples of the project's README, as doc tests; nothing uses this library.
#![doc = include_str!("../README.md")]
