//! The codec, driven through its public face: one module for each part of its behaviour. The test that counts allocations is
//! a program of its own.
mod common;
#[path = "common/packets.rs"]
mod packets;

mod decoder;
mod encode;
mod framing;
mod image_lengths;
mod mutation;
mod properties;
mod round_trip;
mod shared;
mod text;
mod vectors;
mod zero_copy;
