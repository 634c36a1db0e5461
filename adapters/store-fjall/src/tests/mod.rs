//! What needs a look inside: codec, damage, and a disk that fails.
mod codec;
mod damage;
mod failing;
mod transfer;
