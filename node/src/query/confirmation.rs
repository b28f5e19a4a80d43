//! Confirmation state of a block.

use super::QueryError;
use astreum_core::atom::AtomSource;
use astreum_core::chain::Block;
use astreum_core::chain::confirmations::{Confirmation, Confirmations, slots_since};
use astreum_core::chain::fork_choice::StakeView;
use core::convert::Infallible;

/// Maximum number of blocks counted below the head: a block that is not settled after so many is
/// unlikely to settle.
const MAX_BLOCKS: u64 = 2_048;
/// Number of blocks between two checks of the state.
const CHECK_BLOCKS: u64 = 32;

/// Returns the confirmation state of `block`, which is on the chain that ends in `head`. `stakes`
/// are the stakes after its parent, `now` is the wall time in seconds. For a block far below the
/// head, only the newest blocks above it are counted, which can make the result weaker but never
/// stronger.
///
/// # Errors
/// Fails if a header is missing.
pub fn confirmation<S, V>(
    source: &S,
    stakes: V,
    head: &Block,
    block: &Block,
    now: u64,
) -> Result<Confirmation, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
    V: StakeView,
{
    let timestamp = block.timestamp.to_u64().unwrap_or(now);
    let slots = slots_since(timestamp, now);
    let mut seen = Confirmations::new(stakes);
    let mut at = head.clone();
    loop {
        seen.add(at.validator);
        let is_last = at.height <= block.height || seen.blocks() >= MAX_BLOCKS;
        if is_last || seen.blocks().is_multiple_of(CHECK_BLOCKS) {
            let state = seen.state(slots);
            if is_last || state == Confirmation::Settled {
                return Ok(state);
            }
        }
        at = Block::read(source, at.previous)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::{AtomId, MemoryStore};
    use astreum_core::chain::{Address, Header};
    use astreum_core::integer::Natural;
    use astreum_core::testkit::header;

    /// Three validators with a stake of 100 each.
    struct Stakes;

    impl StakeView for Stakes {
        fn stake(&self, _: &Address) -> Natural {
            Natural::from(100_u64)
        }

        fn total(&self) -> Natural {
            Natural::from(300_u64)
        }
    }

    /// Writes a chain of `blocks` blocks two seconds apart, by `validators` validators in turn.
    fn chain(store: &mut MemoryStore, blocks: u64, validators: u8) -> Vec<Block> {
        let (mut previous, mut chain) = (AtomId::ZERO, Vec::new());
        for height in 0..blocks {
            let by = u8::try_from(height % u64::from(validators)).unwrap();
            let block = Header {
                validator: Address::new([by; 32]),
                ..header(height, previous, 1_000 + 2 * height)
            };
            let block = block.signed(None);
            previous = block.write(store).unwrap();
            chain.push(block);
        }
        chain
    }

    #[test]
    fn block_is_included_then_safe_then_settled() {
        let mut store = MemoryStore::new();
        let chain = chain(&mut store, 60, 3);
        let of = |head: usize, block: usize| {
            let now = 1_000 + 2 * head as u64;
            confirmation(&store, Stakes, &chain[head], &chain[block], now).unwrap()
        };
        let undo_stake = Natural::from(13_u64);
        assert_eq!(of(10, 10), Confirmation::Included { undo_stake });
        let undo_stake = Natural::from(38_u64);
        assert_eq!(of(24, 10), Confirmation::Included { undo_stake });
        assert_eq!(of(25, 10), Confirmation::Safe);
        assert_eq!(of(40, 10), Confirmation::Safe);
        assert_eq!(of(41, 10), Confirmation::Settled);
        // Counts from the head, and no further than needed: the blocks below are not in the store.
        let mut above = MemoryStore::new();
        for block in &chain[28..] {
            block.write(&mut above).unwrap();
        }
        let settled = confirmation(&above, Stakes, &chain[59], &chain[1], 2_000).unwrap();
        assert_eq!(settled, Confirmation::Settled);
        let missing = confirmation(&above, Stakes, &chain[58], &chain[1], 2_000);
        assert_eq!(missing, Err(QueryError::Missing(chain[27].id())));
    }

    #[test]
    fn one_third_of_the_stake_makes_no_block_safe() {
        let mut store = MemoryStore::new();
        let chain = chain(&mut store, 100, 1);
        let state = confirmation(&store, Stakes, &chain[99], &chain[1], 1_198).unwrap();
        assert!(matches!(state, Confirmation::Included { .. }), "{state:?}");
    }
}
