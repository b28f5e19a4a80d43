//! Code shared by all widths: the compression function, the ids of a trie node's atoms, and hashing
//! of messages, for vectors of any number of 32-bit words.

pub(super) const BLOCK_BYTES: usize = 64;

/// Initial state of a hash, in words.
pub(super) const IV: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
pub(super) const CHUNK_START: u32 = 1;
pub(super) const CHUNK_END: u32 = 2;
pub(super) const ROOT: u32 = 8;
/// Flags of a message of one block.
pub(super) const WHOLE: u32 = CHUNK_START | CHUNK_END | ROOT;

/// Index of the message word used by each step of each round.
pub(super) const SCHEDULE: [[usize; 16]; 7] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8],
    [3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1],
    [10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6],
    [12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4],
    [9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7],
    [11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13],
];

/// Indexes of the state words mixed by each step, for the two halves of a round.
pub(super) const MIXED: [[[usize; 4]; 4]; 2] = [
    [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]],
    [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]],
];

/// Returns the flags of block number `block` of a message of `blocks` blocks.
pub(super) const fn flags(block: usize, blocks: usize) -> u32 {
    let start = if block == 0 { CHUNK_START } else { 0 };
    let end = if block + 1 == blocks {
        CHUNK_END | ROOT
    } else {
        0
    };
    start | end
}

/// Generates the functions of one width. The invoking module must define `Vector`, `LANES`, and
/// `add`, `xor`, `rotate_right`, `shifted_in`, `select`, `columns` and `rows`, compiled for
/// `$feature`.
macro_rules! kernel {
    ($feature:literal) => {
        /// Words of one hash per lane.
        type Hashes = [Vector; 8];

        /// Returns the ids of all atoms of the nodes, one node per lane.
        #[target_feature(enable = $feature)]
        pub(super) fn node_ids(nodes: &[&NodeInput; LANES]) -> [[[u8; 32]; LANES]; 5] {
            let [value_id, one_id, zero_id, key_id, type_id] = atoms(nodes);
            [
                rows(&value_id),
                rows(&one_id),
                rows(&zero_id),
                rows(&key_id),
                rows(&type_id),
            ]
        }

        /// Returns the ids of the nodes, one node per lane.
        #[target_feature(enable = $feature)]
        pub(super) fn root_ids(nodes: &[&NodeInput; LANES]) -> [[u8; 32]; LANES] {
            let [.., type_id] = atoms(nodes);
            rows(&type_id)
        }

        /// Returns the ids of the value, child 1, child 0, key and type atoms, one node per lane.
        ///
        /// Parts that are empty in all lanes, as in most nodes the value, the bits or the children,
        /// are not hashed.
        #[target_feature(enable = $feature)]
        fn atoms(nodes: &[&NodeInput; LANES]) -> [Hashes; 5] {
            let value_id = if nodes.iter().all(|node| node.value.len == 0) {
                constant(EMPTY_VALUE_ID.as_bytes())
            } else {
                let (hash, lens) = data_hash(&nodes.map(|node| &node.value));
                atom(AtomKind::Bytes, &hash, &constant(&[0; 32]), lens)
            };
            let mut child_hashes = [constant(&ABSENT_CHILD_HASH); 2];
            if nodes.iter().any(|node| node.children != [AtomId::ZERO; 2]) {
                let words = columns(&nodes.map(|node| {
                    let ids = node.children.map(|id| *id.as_bytes());
                    bytemuck::cast(ids)
                }));
                for (hash, ids) in child_hashes.iter_mut().zip(words.as_chunks::<8>().0) {
                    let mut words = [splat(0); 16];
                    for (to, from) in words.iter_mut().zip(ids) {
                        *to = *from;
                    }
                    *hash = compress::<8>(&IV.map(splat), &words, splat(32), WHOLE);
                }
            }
            let [zero_hash, one_hash] = child_hashes;
            let one_id = atom(AtomKind::Bytes, &one_hash, &value_id, splat(32));
            let zero_id = atom(AtomKind::Bytes, &zero_hash, &one_id, splat(32));
            let (key_hash, key_lens) = if nodes.iter().any(|node| node.has_bits()) {
                data_hash(&nodes.map(|node| &node.key))
            } else {
                (constant(&EMPTY_KEY_HASH), splat(2))
            };
            let key_id = atom(AtomKind::Bytes, &key_hash, &zero_id, key_lens);
            let type_id = atom(AtomKind::Symbol, &constant(&TYPE_HASH), &key_id, splat(4));
            [value_id, one_id, zero_id, key_id, type_id]
        }

        /// Returns the hash of the data in each lane, and its length in bytes.
        #[inline]
        #[target_feature(enable = $feature)]
        fn data_hash(inputs: &[&HashInput; LANES]) -> (Hashes, Vector) {
            let words = columns(&inputs.map(|input| input.block));
            // The caller has checked that the lengths are below 2^24.
            let lens = inputs.map(|input| u32::try_from(input.len).unwrap_or_default());
            let lens = vector(lens);
            let longest = inputs.iter().map(|input| input.len).max().unwrap_or(0);
            let mut hashes = if longest <= 32 {
                compress::<8>(&IV.map(splat), &words, lens, WHOLE)
            } else {
                compress::<16>(&IV.map(splat), &words, lens, WHOLE)
            };
            if inputs.iter().any(|input| input.is_hashed()) {
                let hashed = vector(inputs.map(|input| if input.is_hashed() { !0 } else { 0 }));
                for (hash, word) in hashes.iter_mut().zip(&words) {
                    *hash = select(hashed, *word, *hash);
                }
            }
            (hashes, lens)
        }

        /// Returns the ids of the atoms with these parts; `lens` are below 2^24.
        ///
        /// An id is the hash of kind (1 byte), data hash (32), next (32) and length (8). The words
        /// of the message are thus offset from the words of its parts by one byte, and only one
        /// word of its second block is not zero.
        #[inline]
        #[target_feature(enable = $feature)]
        fn atom(kind: AtomKind, hash: &Hashes, next: &Hashes, lens: Vector) -> Hashes {
            let mut words = [splat(0); 16];
            let mut before = splat(u32::from(kind.code()) << 24);
            for (to, word) in words.iter_mut().zip(hash.iter().chain(next)) {
                *to = shifted_in(*word, before);
                before = *word;
            }
            let chain = compress::<16>(&IV.map(splat), &words, splat(64), CHUNK_START);
            let mut words = [splat(0); 16];
            words[0] = shifted_in(lens, before);
            compress::<1>(&chain, &words, splat(9), CHUNK_END | ROOT)
        }

        /// Hashes one message in each lane; all have `blocks` blocks.
        #[target_feature(enable = $feature)]
        pub(super) fn hash(messages: &[&[u8]; LANES], blocks: usize) -> [[u8; 32]; LANES] {
            let mut chain = IV.map(splat);
            for block in 0..blocks {
                let mut padded = [[0; BLOCK_BYTES]; LANES];
                let mut lens = [0; LANES];
                for ((message, row), len) in messages.iter().zip(&mut padded).zip(&mut lens) {
                    let rest = message.get(block * BLOCK_BYTES..).unwrap_or_default();
                    match rest.first_chunk() {
                        Some(whole) => *row = *whole,
                        None => row.iter_mut().zip(rest).for_each(|(to, from)| *to = *from),
                    }
                    *len = u32::try_from(rest.len().min(BLOCK_BYTES)).unwrap_or_default();
                }
                let words = columns(&padded);
                chain = compress::<16>(&chain, &words, vector(lens), flags(block, blocks));
            }
            rows(&chain)
        }

        /// Compresses one block in each lane: `lens` bytes of `words`, of which those from `WORDS`
        /// on are zero.
        #[target_feature(enable = $feature)]
        fn compress<const WORDS: usize>(
            chain: &Hashes,
            words: &[Vector; 16],
            lens: Vector,
            flags: u32,
        ) -> Hashes {
            let mut v = [splat(0); 16];
            for (to, from) in v.iter_mut().zip(chain.iter().chain(&IV.map(splat)[..4])) {
                *to = *from;
            }
            // The chunk counter is zero: there is only one chunk.
            v[14] = lens;
            v[15] = splat(flags);
            round::<WORDS, 0>(&mut v, words);
            round::<WORDS, 1>(&mut v, words);
            round::<WORDS, 2>(&mut v, words);
            round::<WORDS, 3>(&mut v, words);
            round::<WORDS, 4>(&mut v, words);
            round::<WORDS, 5>(&mut v, words);
            round::<WORDS, 6>(&mut v, words);
            let mut out = [splat(0); 8];
            let (low, high) = v.split_at(8);
            for (to, (a, b)) in out.iter_mut().zip(low.iter().zip(high)) {
                *to = xor(*a, *b);
            }
            out
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn round<const WORDS: usize, const ROUND: usize>(
            v: &mut [Vector; 16],
            words: &[Vector; 16],
        ) {
            half_round::<WORDS, ROUND, 0>(v, words);
            half_round::<WORDS, ROUND, 1>(v, words);
        }

        /// Runs four independent mixing functions in step, so that the processor can overlap them:
        /// each alone is one long dependency chain.
        #[inline]
        #[target_feature(enable = $feature)]
        #[expect(clippy::indexing_slicing, reason = "the constants are below 16")]
        fn half_round<const WORDS: usize, const ROUND: usize, const HALF: usize>(
            v: &mut [Vector; 16],
            words: &[Vector; 16],
        ) {
            for second in [0, 1] {
                for (at, [a, b, ..]) in MIXED[HALF].into_iter().enumerate() {
                    let word = SCHEDULE[ROUND][HALF * 8 + at * 2 + second];
                    if word < WORDS {
                        v[a] = add(v[a], words[word]);
                    }
                    v[a] = add(v[a], v[b]);
                }
                for [a, _, _, d] in MIXED[HALF] {
                    let mixed = xor(v[d], v[a]);
                    v[d] = if second == 0 {
                        rotate_right::<16>(mixed)
                    } else {
                        rotate_right::<8>(mixed)
                    };
                }
                for [_, _, c, d] in MIXED[HALF] {
                    v[c] = add(v[c], v[d]);
                }
                for [_, b, c, _] in MIXED[HALF] {
                    let mixed = xor(v[b], v[c]);
                    v[b] = if second == 0 {
                        rotate_right::<12>(mixed)
                    } else {
                        rotate_right::<7>(mixed)
                    };
                }
            }
        }

        /// Returns the same hash in all lanes.
        #[inline]
        fn constant(hash: &[u8; 32]) -> Hashes {
            let mut words = [splat(0); 8];
            for (to, word) in words.iter_mut().zip(hash.as_chunks::<4>().0) {
                *to = splat(u32::from_le_bytes(*word));
            }
            words
        }

        #[inline]
        fn splat(word: u32) -> Vector {
            vector([word; LANES])
        }

        #[inline]
        fn vector(words: [u32; LANES]) -> Vector {
            bytemuck::cast(words)
        }
    };
}
pub(super) use kernel;
