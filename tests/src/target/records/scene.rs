//! Atoms of arbitrary meaning, linked to each other by their ids.

use super::{OPERATIONS, other};
use crate::target::input::Input;
use astreum_core::atom::{Atom, AtomId, AtomKind, MemoryStore, bytes_list};
use astreum_core::chain::channel::withdrawal_message;
use astreum_core::chain::{
    Account, Address, BURN, Block, Header, Receipt, RecordAtoms, Status, TREASURY, Transaction,
    Unsigned,
};
use astreum_core::crypto::{Signature, SigningKey};
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};

/// Maximum number of building steps.
const MAX_STEPS: usize = 160;
/// Names of record types.
const NAMES: [&str; 6] = ["block", "transaction", "account", "receipt", "trie", "list"];

/// Atoms that were built so far.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) store: MemoryStore,
    pub(super) ids: Vec<AtomId>,
    steps: usize,
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

/// Returns the account that sends transactions.
pub(super) fn sender() -> Address {
    Address::from(key(1).verifying_key())
}

/// Returns a well-known or arbitrary address.
fn address(code: u8) -> Address {
    match code {
        0 => TREASURY,
        1 => BURN,
        2 => sender(),
        3..8 => other(code),
        code => Address::new([code; 32]),
    }
}

fn number(input: &mut Input<'_>) -> Natural {
    let len = usize::from(input.byte().unwrap_or(1)) % 40;
    Natural::from_bytes_le(input.bytes(len)).unwrap_or(Natural::ONE)
}

impl Scene {
    fn push(&mut self, atoms: impl IntoIterator<Item = Atom>, id: AtomId) {
        self.store.extend(atoms);
        self.ids.push(id);
    }

    fn push_record(&mut self, id: AtomId, atoms: RecordAtoms) {
        self.push(atoms.into_iter().map(|(_, atom)| atom), id);
    }

    fn push_atom(&mut self, atom: Atom) -> AtomId {
        let id = atom.id();
        self.push([atom], id);
        id
    }

    /// Returns an id that was built, the last first; the zero id if there is none.
    fn pick(&self, input: &mut Input<'_>) -> AtomId {
        let back = usize::from(input.byte().unwrap_or(u8::MAX));
        self.ids.iter().rev().nth(back).copied().unwrap_or_default()
    }

    fn trie(&mut self, pairs: &[(Vec<u8>, Vec<u8>)]) {
        let mut trie = Trie::new();
        for (key, value) in pairs {
            let put = trie.put(&self.store, key, value);
            assert!(put.is_ok(), "a new trie has no missing atom: {put:?}");
        }
        let Ok(root) = trie.commit(&mut Scalar, &mut self.store);
        self.ids.push(root);
    }

    /// Builds the next object; returns `None` at the end of the bytes.
    pub(super) fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let code = input.byte()?;
        if self.steps == MAX_STEPS {
            return None;
        }
        self.steps += 1;
        let len = usize::from(code >> 4);
        match code & 15 {
            0 => {
                let kind = AtomKind::from_code(input.byte()? % 3).unwrap_or(AtomKind::Bytes);
                let data = input.bytes(len * 3);
                let next = self.pick(input);
                self.push_atom(Atom::new(kind, data, next));
            }
            1 => {
                let name = NAMES.get(len % NAMES.len()).copied().unwrap_or_default();
                let next = self.pick(input);
                self.push_atom(Atom::new(AtomKind::Symbol, name.as_bytes(), next));
            }
            2 | 3 => {
                let kind = if code & 1 == 0 {
                    AtomKind::Bytes
                } else {
                    AtomKind::List
                };
                let (held, next) = (self.pick(input), self.pick(input));
                self.push_atom(Atom::new(kind, *held.as_bytes(), next));
            }
            4 => {
                let account = Account {
                    balance: number(input),
                    counter: number(input),
                    code: self.pick(input),
                    data: self.pick(input),
                    channels: self.pick(input),
                };
                let (id, atoms) = account.to_atoms();
                self.push_record(id, atoms);
            }
            5 => {
                let receipt = Receipt {
                    transaction: self.pick(input),
                    status: if len.is_multiple_of(2) {
                        Status::Success
                    } else {
                        Status::Failed
                    },
                    cost: number(input),
                    logs: self.pick(input),
                };
                let (id, atoms) = receipt.to_atoms();
                self.push_record(id, atoms);
            }
            6 => {
                let unsigned = Unsigned {
                    chain_id: number(input),
                    amount: number(input),
                    counter: number(input),
                    data: input.bytes(len).into(),
                    recipient: address(input.byte()?),
                };
                let transaction = unsigned.signed(sender(), Signature::new([7; 64]));
                self.push_record(transaction.id(), transaction.to_atoms());
            }
            7 => {
                let header = self.header(input);
                let block = header.signed((len > 3).then(|| Signature::new([7; 64])));
                self.push_record(block.id(), block.to_atoms());
            }
            8 => {
                // A trie under addresses, of ids or numbers.
                let mut pairs = Vec::new();
                for _ in 0..=len % 6 {
                    let owner = address(input.byte()?);
                    let value = match input.byte()? {
                        0 => number(input).to_bytes_le(),
                        _ => self.pick(input).as_bytes().to_vec(),
                    };
                    pairs.push((owner.as_bytes().to_vec(), value));
                }
                self.trie(&pairs);
            }
            9 | 10 => self.node(input, len)?,
            11 => {
                // A list of numbers and bytes, as channels and contracts have it.
                let mut values = Vec::new();
                for _ in 0..len % 8 {
                    values.push(match input.byte()? {
                        0 => self.pick(input).as_bytes().to_vec(),
                        byte => input.bytes(usize::from(byte) % 34).to_vec(),
                    });
                }
                let (id, atoms) = bytes_list(&values);
                self.push(atoms, id);
            }
            12 => {
                // Nodes that each refer to the previous one twice: few atoms, many entries.
                for _ in 0..len * 16 {
                    let below = self.ids.last().copied().unwrap_or_default();
                    self.link_node(&[0, 0], [below; 2], &[]);
                }
            }
            _ => {
                // Accounts with a treasury, a burn account and a sender.
                let data = self.pick(input);
                let mut pairs = Vec::new();
                for owner in [TREASURY, BURN, sender(), other(0)] {
                    let account = Account {
                        balance: number(input),
                        data,
                        channels: self.pick(input),
                        ..Account::default()
                    };
                    let (id, atoms) = account.to_atoms();
                    self.push_record(id, atoms);
                    pairs.push((owner.as_bytes().to_vec(), id.as_bytes().to_vec()));
                }
                self.trie(&pairs);
            }
        }
        Some(())
    }

    /// Builds a trie node, valid or not.
    fn node(&mut self, input: &mut Input<'_>, len: usize) -> Option<()> {
        let bits = u16::from(input.byte()?);
        let mut bytes = input.bytes(usize::from(bits).div_ceil(8).min(40)).to_vec();
        if let Some(last) = bytes.last_mut()
            && !len.is_multiple_of(4)
            && !bits.is_multiple_of(8)
        {
            *last &= 0xff << (8 - bits % 8);
        }
        let mut key = bits.to_be_bytes().to_vec();
        key.append(&mut bytes);
        let children = [self.pick(input), self.pick(input)];
        let value = match len / 4 {
            0 => Vec::new(),
            1 => number(input).to_bytes_le(),
            2 => self.pick(input).as_bytes().to_vec(),
            _ => input.bytes(len).to_vec(),
        };
        self.link_node(&key, children, &value);
        Some(())
    }

    fn link_node(&mut self, key: &[u8], children: [AtomId; 2], value: &[u8]) {
        let parts = [value, children[1].as_ref(), children[0].as_ref(), key];
        let mut next = AtomId::ZERO;
        for part in parts {
            let atom = Atom::new(AtomKind::Bytes, part, next);
            next = self.store.insert(atom);
        }
        self.push_atom(Atom::new(AtomKind::Symbol, *b"trie", next));
    }

    fn header(&self, input: &mut Input<'_>) -> Header {
        Header {
            chain_id: Natural::from(u64::from(input.byte().unwrap_or(0) / 128)),
            height: number(input),
            previous: self.pick(input),
            timestamp: number(input),
            difficulty: number(input),
            cumulative_stake: number(input),
            cumulative_burn: number(input),
            cumulative_mint: number(input),
            cumulative_total_fees: number(input),
            total_fees: number(input),
            accounts: self.pick(input),
            transactions: self.pick(input),
            receipts: self.pick(input),
            validator: sender(),
            nonce: number(input),
        }
    }

    /// Returns a block with these accounts.
    pub(super) fn parent(&self, accounts: AtomId) -> Block {
        let one = || Natural::ONE;
        let header = Header {
            chain_id: one(),
            height: one(),
            previous: AtomId::ZERO,
            timestamp: 1_000_u64.into(),
            difficulty: one(),
            cumulative_stake: one(),
            cumulative_burn: one(),
            cumulative_mint: one(),
            cumulative_total_fees: 1_000_u64.into(),
            total_fees: one(),
            accounts,
            transactions: AtomId::ZERO,
            receipts: AtomId::ZERO,
            validator: sender(),
            nonce: one(),
        };
        header.signed(None)
    }

    /// Returns signed transactions that read every record of a state.
    pub(super) fn transactions(&self, accounts: AtomId) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        let mut add = |recipient, amount: u64, data: &[u8]| {
            let unsigned = Unsigned {
                chain_id: Natural::ONE,
                amount: amount.into(),
                counter: Natural::from(transactions.len() as u64),
                data: data.into(),
                recipient,
            };
            transactions.push(unsigned.sign(&key(1)));
        };
        add(other(0), 1, b"");
        add(TREASURY, 5, b"");
        let named = self.ids.iter().rev().nth(1).copied().unwrap_or(accounts);
        let message = withdrawal_message(&Natural::ONE, &sender(), &sender(), 200, 1);
        let signature = key(1).sign(&message.unwrap_or_default());
        for (is_channel, operation) in OPERATIONS {
            let (recipient, rest) = match (is_channel, operation) {
                (true, 2) => {
                    let numbers = [200_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
                    let parts = [sender().as_ref(), &numbers, signature.as_bytes()].concat();
                    (sender(), parts)
                }
                (true, _) => (sender(), other(0).as_ref().to_vec()),
                (false, 0) => (BURN, named.as_ref().to_vec()),
                (false, _) => (BURN, [named.as_ref(), &[0; 96]].concat()),
            };
            let amount = u64::from(is_channel && operation == 1);
            add(recipient, amount, &[&[operation][..], &rest].concat());
        }
        transactions
    }
}
