//! In-memory chain whose blocks are made without a nonce search.

use astreum_core::atom::MemoryStore;
use astreum_core::chain::{
    Address, Block, Builder, Election, Genesis, Growth, Status, Transaction, Unsigned,
};
use astreum_core::crypto::Signature;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;

/// Chain and its last block.
#[derive(Debug)]
pub(super) struct Chain {
    store: MemoryStore,
    head: Block,
    election: Election,
    counter: u64,
}

impl Chain {
    pub(super) fn new(genesis: &Genesis) -> Self {
        let mut store = MemoryStore::new();
        let Ok(head) = genesis.build(&mut Scalar, &mut store) else {
            panic!("invalid genesis");
        };
        let Ok(election) = Election::read(&store, &head) else {
            panic!("the stakes of a genesis are not readable");
        };
        Self {
            store,
            head,
            election,
            counter: 0,
        }
    }

    pub(super) const fn head(&self) -> &Block {
        &self.head
    }

    /// Creates a transaction without a valid signature, because signatures are not verified here.
    pub(super) fn transaction(
        &mut self,
        sender: Address,
        recipient: Address,
        amount: u64,
        data: &[u8],
    ) -> Transaction {
        self.counter += 1;
        let unsigned = Unsigned {
            chain_id: self.head.chain_id.clone(),
            amount: amount.into(),
            // As long as the timestamps that the commands use as counters.
            counter: (1_700_000_000_000 + self.counter).into(),
            data: data.into(),
            recipient,
        };
        unsigned.signed(sender, Signature::new([7; 64]))
    }

    /// Makes a block of these transactions, all of which must succeed, and returns its state
    /// growth.
    pub(super) fn block(&mut self, transactions: &[Transaction]) -> Growth {
        let mut builder = Builder::new(&self.store, &self.head, &self.election.stakes);
        for transaction in transactions {
            let applied = builder.apply(transaction);
            assert!(matches!(applied, Ok(Ok(Status::Success))), "{applied:?}");
        }
        let Ok(body) = builder.finish(&mut Scalar, Some(self.head.validator)) else {
            panic!("an atom of the state is missing");
        };
        let time = &self.head.timestamp + &Natural::from(2_u64);
        let header = body.header(&self.head, self.head.validator, time, Natural::ONE);
        let growth = Growth::of_block(&header, &body, transactions);
        let block = header.signed(None);
        self.store
            .extend(body.atoms.into_iter().map(|(_, atom)| atom));
        self.election = self.election.child(block.id(), body.stakes);
        self.head = block;
        growth
    }
}
