//! Map for values that are identified by their addresses in memory.

use crate::sorted_map::SortedMap;

/// Map from an address and a number that distinguishes its uses, to an index.
///
/// One type for all such maps, because each other type of map is more machine code. Its order, which
/// depends on addresses, decides nothing: it is never iterated.
pub(crate) type AddressMap = SortedMap<(usize, usize), usize>;
