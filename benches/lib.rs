//! What is measured: named cases, run by criterion for time (`cargo bench`) and by valgrind for instructions
//! (`cargo xtask bench --instructions`).
//!
//! Invariant: a case does the same work in each call, so that counts can be divided by calls.
#![allow(missing_docs)] // a case says what it is by its name

pub mod broker;
pub mod codec;
pub mod trie;

/// One thing that is measured.
pub struct Case {
    /// `group/work`, peers with their crate's name in front of the work.
    pub name: String,
    /// Sets up, and returns the work of one call.
    pub build: Box<dyn Fn() -> Work>,
}

/// The work of one call.
pub type Work = Box<dyn FnMut()>;

/// A case whose set-up is `build`.
pub fn case<F: FnMut() + 'static>(name: impl Into<String>, build: impl Fn() -> F + 'static) -> Case {
    Case { name: name.into(), build: Box::new(move || Box::new(build())) }
}

/// Every case, in groups.
pub fn all() -> Vec<Case> {
    [codec::cases(), trie::cases(), broker::cases()].into_iter().flatten().collect()
}
