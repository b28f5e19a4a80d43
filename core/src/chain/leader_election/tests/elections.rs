//! Elections read from headers and the state, and the cache of them.

use super::*;

/// Blocks of a chain whose stakes change with every block.
struct Chain {
    store: MemoryStore,
    blocks: Vec<Block>,
    elections: Vec<Election>,
}

fn chain(len: u64) -> Chain {
    let mut store = MemoryStore::new();
    let (mut blocks, mut elections): (Vec<Block>, Vec<Election>) = (Vec::new(), Vec::new());
    for height in 0..len {
        let stakes: Stakes = (0..4)
            .map(|owner| (Address::new([owner; 32]), (height / 7 + 1).into()))
            .collect();
        let root = stored(&mut store, &stakes);
        let accounts = treasury_with(&mut store, root);
        let previous = blocks.last().map_or(AtomId::ZERO, Block::id);
        let block = header(height, previous, accounts).signed(None);
        block.write(&mut store).unwrap();
        let stakes = StakeTable::from(&stakes);
        elections.push(match elections.last() {
            Some(parent) => parent.child(block.id(), stakes),
            None => Election::genesis(block.id(), stakes),
        });
        blocks.push(block);
    }
    Chain {
        store,
        blocks,
        elections,
    }
}

#[test]
fn elections_are_read_from_the_headers_and_the_state() {
    let chain = chain(2 * EPOCH_BLOCKS + 1_030);
    for height in [0, 1, 5, 1_023, 1_024, 2_047, 2_048, 3_071, 3_072, 3_077] {
        let (block, expected) = (&chain.blocks[height], &chain.elections[height]);
        assert_eq!(Election::read(&chain.store, block).as_ref(), Ok(expected));
        // Reads only the needed atoms, one step at a time.
        let source = Fetching::new(&chain.store);
        let mut loader = ElectionLoader::new(block, None);
        assert_eq!(loader.block(), block.id());
        let found = loop {
            match loader.run(&source, None, 1) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => source.fetch(&error),
            }
        };
        assert_eq!(found, *expected);
        let first = SeedRun::first_height(height as u64);
        let lowest = chain.blocks.iter().position(|block| {
            // The block itself was passed in, not read.
            source.here.borrow().contains(&block.id())
        });
        let lowest = lowest.unwrap_or(height);
        assert_eq!(lowest as u64, first, "height {height}");
    }
}

#[test]
fn loading_stops_at_a_known_election() {
    let chain = chain(40);
    let mut cache = ElectionCache::default();
    cache.insert(chain.elections[30].clone());
    cache.insert(chain.elections[20].clone());
    let source = Fetching::new(&chain.store);
    let mut loader = ElectionLoader::new(&chain.blocks[34], None);
    let found = loop {
        match loader.run(&source, Some(&cache), 1) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(error) => source.fetch(&error),
        }
    };
    assert_eq!(found, chain.elections[34]);
    let read = |height: usize| source.here.borrow().contains(&chain.blocks[height].id());
    assert!(read(33) && read(31) && !read(29));
    assert_eq!(
        cache.get(&chain.blocks[30].id()),
        Some(&chain.elections[30])
    );
}

#[test]
fn cache_loads_several_elections_in_parallel() {
    let chain = chain(40);
    let source = Fetching::new(&chain.store);
    let mut cache = ElectionCache::default();
    let wanted = [12, 25, 39];
    let mut calls = 0;
    for height in wanted.into_iter().cycle() {
        let block = &chain.blocks[height];
        let found = match cache.load(&source, block, 3) {
            Ok(found) => found,
            Err(error) => {
                // Two of the blocks may miss the same atom.
                if source.atom(&error.missing().unwrap()).is_err() {
                    source.fetch(&error);
                }
                None
            }
        };
        if let Some(found) = found {
            assert_eq!(found, chain.elections[height]);
            assert_eq!(cache.get(&block.id()), Some(&found));
        }
        let is_known = |height: usize| cache.get(&chain.blocks[height].id()).is_some();
        if wanted.into_iter().all(is_known) {
            break;
        }
        calls += 1;
        assert!(calls < 10_000, "{calls} calls");
    }
}

#[test]
fn nearest_table_has_the_same_root_or_height() {
    let chain = chain(200);
    let mut cache = ElectionCache::default();
    assert_eq!(cache.nearest_stakes(AtomId::ZERO, 3), None);
    for height in [10, 50, 90] {
        cache.insert(chain.elections[height].clone());
    }
    let other = AtomId::new([3; 32]);
    let nearest = |height| cache.nearest_stakes(other, height).unwrap();
    assert_eq!(nearest(0), chain.elections[10].stakes);
    assert_eq!(nearest(60), chain.elections[50].stakes);
    assert_eq!(nearest(1_000), chain.elections[90].stakes);
    let root = chain.elections[10].stakes.root();
    let same = cache.nearest_stakes(root, 1_000).unwrap();
    assert_eq!(same, chain.elections[10].stakes);
    for election in &chain.elections {
        cache.insert(election.clone());
    }
    let kept = chain.blocks.iter().map(Block::id);
    let kept: Vec<bool> = kept.map(|id| cache.get(&id).is_some()).collect();
    let count = kept.iter().filter(|kept| **kept).count();
    assert_eq!(count, MAX_CACHED_ELECTIONS, "the others were dropped");
    assert!(kept[200 - MAX_CACHED_ELECTIONS..].iter().all(|kept| *kept));
}

#[test]
fn headers_whose_heights_do_not_descend_are_malformed() {
    let mut store = MemoryStore::new();
    let stakes = stored(&mut store, &stakes(&[Natural::ONE]));
    let accounts = treasury_with(&mut store, stakes);
    let genesis = header(0, AtomId::ZERO, accounts).signed(None);
    genesis.write(&mut store).unwrap();
    let skips = header(2, genesis.id(), accounts).signed(None);
    let error = Election::read(&store, &skips).unwrap_err();
    assert!(
        matches!(error, RecordError::Malformed { record, .. } if record == genesis.id()),
        "{error}"
    );
    // Invalid are a block without a parent above height 0 and a block with a parent at height 0.
    let high = header(5, AtomId::ZERO, accounts).signed(None);
    let low = header(0, genesis.id(), accounts).signed(None);
    for block in [high, low] {
        let error = Election::read(&store, &block).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { record, .. } if record == block.id()),
            "{error}"
        );
    }
}
