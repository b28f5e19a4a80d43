//! Map for things that are identified by where they are in memory.

use alloc::collections::BTreeMap;

/// Map from an address and a number that distinguishes its uses, to an index.
///
/// One type for all such maps: each other type of map is several kilobytes of code, which counts on
/// a microcontroller and in a WebAssembly module. Its order, which depends on addresses, decides
/// nothing: it is never iterated.
pub(crate) type AddressMap = BTreeMap<(usize, usize), usize>;
