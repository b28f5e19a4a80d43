//! Operation `apply`.

use super::fields::{Fields, hex, hex_of};
use super::{OpError, OpTable};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::cost::Price;
use astreum_core::chain::{
    Account, Address, Outcome, Position, RecordAtoms, StakeTable, State, Status, Transaction,
    Unsigned,
};
use astreum_core::crypto::Signature;
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};
use serde_json::{Value, json};

pub(super) const OPS: OpTable = &[("apply", apply)];

fn apply(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut store: MemoryStore = fields.atoms("atoms")?.into_iter().collect();
    let (root, mut addresses) = accounts(fields, &mut store)?;
    let transactions = fields.list_of("transactions", "objects", Fields::of)?;
    let transactions: Vec<Transaction> = transactions
        .iter()
        .map(transaction)
        .collect::<Result<_, _>>()?;
    for transaction in &transactions {
        write(transaction.to_atoms(), &mut store);
        addresses.insert(transaction.recipient);
    }
    let parent = fields.object("previous_block")?;
    let position = Position {
        chain_id: natural(fields, "chain_id")?,
        height: natural(fields, "height")?,
        previous: fields.id("previous_block_hash")?,
        previous_timestamp: natural(&parent, "timestamp")?,
        price: Price::new(
            natural(&parent, "cumulative_stake")?,
            natural(&parent, "cumulative_total_fees")?,
        ),
        accounts: root,
        stakes: StakeTable::default(),
    };
    let mut state = State::new(&store, position);
    let (mut statuses, mut applied, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
    for transaction in &transactions {
        match state.apply(transaction).map_err(OpError::new)? {
            Outcome::Applied {
                receipt,
                receipt_id,
            } => {
                statuses.push(match receipt.status {
                    Status::Success => "success",
                    Status::Failed => "failed",
                });
                applied.push(transaction.id());
                receipts.push(receipt_id);
            }
            Outcome::Rejected(_) => statuses.push("rejected"),
        }
    }
    let mut atoms = RecordAtoms::new();
    let sealed = state.seal(&mut Scalar, &mut atoms).map_err(OpError::new)?;
    let records = atoms.get(sealed.record_atoms).unwrap_or_default();
    let records: BTreeSet<AtomId> = records.iter().map(|(id, _)| *id).collect();
    let mut accounts = Vec::new();
    for address in addresses {
        if let Some(account) = state.account(&address).map_err(OpError::new)? {
            accounts.push(account_json(&address, account));
        }
    }
    let ids = |ids: &[AtomId]| ids.iter().map(hex).collect::<Vec<_>>();
    let list = |ids: &[AtomId]| hex(astreum_core::atom::bytes_list(ids).0);
    Ok(json!({
        "status": statuses,
        "transaction_ids": transactions.iter().map(|tx| hex(tx.id())).collect::<Vec<_>>(),
        "receipt_ids": ids(&receipts),
        "transactions_hash": list(&applied),
        "receipts_hash": list(&receipts),
        "accounts_hash": hex(sealed.accounts),
        "accounts": accounts,
        "contract_atoms": records.iter().map(hex).collect::<Vec<_>>(),
        "total_fees": "0",
        "total_mint": state.minted().to_string(),
    })
    .to_string())
}

fn account_json(address: &Address, account: &Account) -> Value {
    json!({
        "address": hex(address),
        "balance": account.balance.to_string(),
        "counter": account.counter.to_string(),
        "code_hash": hex(account.code),
        "data_hash": hex(account.data),
        "channels_hash": hex(account.channels),
    })
}

/// Stores the accounts; returns the root of their trie and their addresses.
fn accounts(
    fields: &Fields<'_>,
    store: &mut MemoryStore,
) -> Result<(AtomId, BTreeSet<Address>), OpError> {
    let mut trie = Trie::new();
    let mut addresses = BTreeSet::new();
    for fields in fields.list_of("accounts", "objects", Fields::of)? {
        let account = Account {
            balance: natural(&fields, "balance")?,
            counter: natural(&fields, "counter")?,
            code: fields.id("code_hash")?,
            data: map(&fields, "data", store)?,
            channels: map(&fields, "channels", store)?,
        };
        let address = address_field(&fields, "address")?;
        let (id, atoms) = account.to_atoms();
        write(atoms, store);
        trie.put(store, address.as_ref(), id.as_ref())
            .map_err(OpError::new)?;
        addresses.insert(address);
    }
    let root = trie.commit(&mut Scalar, store).map_err(OpError::new)?;
    Ok((root, addresses))
}

/// Stores a trie; returns its root.
fn map(fields: &Fields<'_>, name: &str, store: &mut MemoryStore) -> Result<AtomId, OpError> {
    let mut trie = Trie::new();
    for pair in fields.list_of(name, "pairs", Value::as_array)? {
        let [key, value] = pair.as_slice() else {
            return Err(OpError::new("an entry is not a key and a value"));
        };
        let bytes = |value| hex_of(value).ok_or_else(|| OpError::new("an entry is not hex"));
        trie.put(store, &bytes(key)?, &bytes(value)?)
            .map_err(OpError::new)?;
    }
    trie.commit(&mut Scalar, store).map_err(OpError::new)
}

fn transaction(fields: &Fields<'_>) -> Result<Transaction, OpError> {
    let unsigned = Unsigned {
        chain_id: natural(fields, "chain_id")?,
        amount: natural(fields, "amount")?,
        counter: natural(fields, "counter")?,
        data: fields.hex("data")?.as_slice().into(),
        recipient: address_field(fields, "recipient")?,
    };
    let signature = Signature::new(fields.hex_array("signature")?);
    Ok(unsigned.signed(address_field(fields, "sender")?, signature))
}

fn natural(fields: &Fields<'_>, name: &str) -> Result<Natural, OpError> {
    fields.text(name)?.parse().map_err(OpError::new)
}

fn address_field(fields: &Fields<'_>, name: &str) -> Result<Address, OpError> {
    fields.hex_array(name).map(Address::new)
}

fn write(atoms: RecordAtoms, store: &mut MemoryStore) {
    store.extend(atoms.into_iter().map(|(_, atom)| atom));
}
