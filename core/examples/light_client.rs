//! Light client: follows the headers of a chain from a trusted block and checks accounts by proof.
//!
//! It holds one header, the election seeds and the stakes. It executes no transaction and stores no
//! state; atoms of the stakes trie that changed are fetched one by one.
//!
//! ```text
//! cargo run -p astreum-core --example light_client
//! ```

use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::chain::{
    AccountProof, Address, Block, Builder, Election, Genesis, HeaderVerifier, Miner, SLOT_SECONDS,
    Transaction, Unsigned, difficulty, validator_at, write_atoms,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use core::cell::Cell;
use core::convert::Infallible;
use core::error::Error;

/// Time of the genesis, in seconds since 1970.
const BEGINNING: u64 = 1_700_000_000;
/// Number of blocks after the genesis.
const BLOCKS: u64 = 20;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut node = FullNode::new()?;
    let alice = Address::new([0xa1; 32]);

    // The client trusts one block: here the genesis. It knows the stakes as of this block.
    let network = Network {
        node: &node,
        fetched: Cell::new(0),
    };
    let mut client = HeaderVerifier::load(&network, node.head().clone(), 1_000)?;
    println!(
        "trusted block {}: {} atoms fetched",
        client.head().id(),
        network.fetched.get()
    );

    for height in 1..=BLOCKS {
        node.produce(height, &alice)?;
    }
    let latest = node.head().timestamp.clone();
    let network = Network {
        node: &node,
        fetched: Cell::new(0),
    };
    for header in &node.blocks {
        client.push(&network, header.clone(), &latest)?;
    }
    assert_eq!(client.head().height, Natural::from(BLOCKS));
    println!(
        "head {}: {} atoms fetched",
        client.head().height,
        network.fetched.get()
    );

    // Any peer can serve the proof; the id of the verified head is enough to check it.
    let proof = AccountProof::prove(&node.store, node.head(), &alice)?;
    let proven = proof.verify(client.head().id(), &alice)?;
    let (_, account) = proven.account.ok_or("the account does not exist")?;
    println!("the account has {}", account.balance);
    assert_eq!(account.balance, Natural::from(7 * BLOCKS));
    // The absence of an account is proven in the same way.
    let unknown = Address::new([0xb0; 32]);
    let absent = AccountProof::prove(&node.store, node.head(), &unknown)?;
    assert_eq!(absent.verify(client.head().id(), &unknown)?.account, None);
    // A proof of an older state is not one of the head, and no proof holds for another account.
    assert!(proof.verify(node.genesis.id(), &alice).is_err());
    assert!(proof.verify(client.head().id(), &unknown).is_err());

    // A header that the scheduled validator did not sign is rejected, and the head stays.
    let forged = node.forge()?;
    let error = client.push(&network, forged, &(&latest + &Natural::from(60_u64)));
    println!(
        "forged header: {}",
        error.as_ref().err().ok_or("it was accepted")?
    );
    assert!(error.is_err_and(|error| error.invalid().is_some()));
    assert_eq!(client.head().id(), node.head().id());
    Ok(())
}

/// Access to the atoms of a full node; a real client requests them from peers.
struct Network<'n> {
    node: &'n FullNode,
    fetched: Cell<u64>,
}

impl AtomSource for Network<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.fetched.set(self.fetched.get() + 1);
        self.node.store.atom(id)
    }
}

/// Full node with the only validator of its chain.
struct FullNode {
    key: SigningKey,
    store: MemoryStore,
    genesis: Block,
    /// Blocks after the genesis.
    blocks: Vec<Block>,
    election: Election,
}

impl FullNode {
    fn new() -> Result<Self, Box<dyn Error>> {
        let key = SigningKey::from_seed(&[1; 32]);
        let owner = Address::from(key.verifying_key());
        let mut store = MemoryStore::new();
        let genesis = Genesis::new(owner, Natural::ZERO, Natural::from(BEGINNING));
        let block = genesis.build(&mut Scalar, &mut store)?;
        block.write(&mut store)?;
        let election = Election::read(&store, &block)?;
        Ok(Self {
            key,
            store,
            genesis: block,
            blocks: Vec::new(),
            election,
        })
    }

    fn head(&self) -> &Block {
        self.blocks.last().unwrap_or(&self.genesis)
    }

    /// Returns the next block with these transactions, signed by `key`.
    fn block(
        &self,
        transactions: &[Transaction],
        key: &SigningKey,
    ) -> Result<(Block, MemoryStore, Election), Box<dyn Error>> {
        let (parent, owner) = (self.head(), Address::from(key.verifying_key()));
        let time = &parent.timestamp + &Natural::from(SLOT_SECONDS);
        let mut builder = Builder::new(&self.store, parent, &self.election.stakes);
        for transaction in transactions {
            builder.apply(transaction)??;
        }
        let body = builder.finish(&mut Scalar, Some(owner))?;
        let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
        let header = body.header(parent, owner, time, asked);
        let mut miner = Miner::new(header, key.clone(), &parent.difficulty);
        let block = miner.try_nonces(u64::MAX, &mut Scalar).ok_or("no nonce")?;
        let election = self.election.child(block.id(), body.stakes);
        let mut atoms = MemoryStore::new();
        write_atoms(body.atoms, &mut atoms)?;
        block.write(&mut atoms)?;
        Ok((block, atoms, election))
    }

    /// Produces a block with a transfer of 7 to `recipient`.
    fn produce(&mut self, height: u64, recipient: &Address) -> Result<(), Box<dyn Error>> {
        let parent = self.head();
        let time = &parent.timestamp + &Natural::from(SLOT_SECONDS);
        let seed = self.election.seeds.next_slot_seed();
        let scheduled = validator_at(&self.election.stakes, seed, &parent.timestamp, &time)?;
        assert_eq!(scheduled, Address::from(self.key.verifying_key()));
        let transfer = Unsigned {
            chain_id: Natural::ZERO,
            amount: Natural::from(7_u64),
            counter: Natural::from(height),
            data: [].as_slice().into(),
            recipient: *recipient,
        };
        let (block, atoms, election) = self.block(&[transfer.sign(&self.key)], &self.key)?;
        self.store
            .extend(atoms.iter().map(|(_, atom)| atom.clone()));
        self.blocks.push(block);
        self.election = election;
        Ok(())
    }

    /// Returns a child of the head that is signed by a key without a stake.
    fn forge(&self) -> Result<Block, Box<dyn Error>> {
        Ok(self.block(&[], &SigningKey::from_seed(&[2; 32]))?.0)
    }
}
