//! What a structure holds, in numbers.

/// The heap memory that a structure holds, in bytes of capacity, whether in use or not.
///
/// What values own on the heap themselves, and what the allocator adds to each block, is not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// All of it.
    pub bytes: usize,
    /// Values with their keys, and the places kept for them.
    pub values: usize,
    /// Nodes of the tree, and the edges between them.
    pub nodes: usize,
    /// Texts of levels and of exact filters, and the tables that find them.
    pub texts: usize,
    /// Number of nodes of the tree, its root included.
    pub node_count: usize,
}
