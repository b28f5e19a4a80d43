"""Times the reference: applies the transactions of one block like its validator and its verifier,
and searches for a block's nonce.

Reads a line of values (accounts root, previous block, chain id, height, previous timestamp,
cumulative stake, cumulative fees), a line of transaction ids, and one atom per line, all as hex or
decimal. Prints seconds, the root of the accounts, and nonces per second.
"""

import sys
import time

import astreum.consensus.account.create as account_create
from astreum.consensus.transaction import apply_transaction
from astreum.storage.models.atom import ZERO32, Atom
from astreum.storage.models.trie import Trie
from astreum.validation.models.accounts import Accounts
from astreum.validation.models.block import Block


class RepairedTrie(Trie):
    """Trie without two errors of the reference: lost nodes from four keys on, no put if empty."""

    def __init__(self, root_hash=None):
        super().__init__(root_hash=None if root_hash in (b"", ZERO32) else root_hash)

    def _split_and_insert(self, node, stack, key, key_pos, value):
        parents = [parent for parent, _, _ in stack]
        super()._split_and_insert(node, stack, key, key_pos, value)
        for parent in parents:
            self.nodes[parent.hash()] = parent


account_create.Trie = RepairedTrie


class Store:
    """Part of a node that applying uses: atoms, at the cost of a dictionary."""

    def __init__(self, atoms):
        self.atoms = {atom.object_id(): atom for atom in atoms}

    def get_atom(self, atom_id):
        return self.atoms.get(atom_id)

    def get_atom_list(self, root_hash):
        found = []
        while root_hash != ZERO32:
            atom = self.atoms.get(root_hash)
            if atom is None:
                return None
            found.append(atom)
            root_hash = atom.next_id
        return found


class Bare:
    """Block with only the fields that are set."""


def run(store, facts, transactions):
    block, previous = Bare(), Bare()
    block.accounts = Accounts()
    block.accounts._trie = RepairedTrie(root_hash=bytes.fromhex(facts[0]))
    block.previous_block_hash = bytes.fromhex(facts[1])
    block.chain_id, block.height = int(facts[2]), int(facts[3])
    previous.timestamp, previous.cumulative_stake = int(facts[4]), int(facts[5])
    previous.cumulative_total_fees = int(facts[6])
    block.previous_block = previous
    block.transactions, block.receipts, block.total_mint = [], [], 0
    start = time.perf_counter()
    for transaction in transactions:
        apply_transaction(store, block, transaction)
    block.accounts.update_trie(store)
    return time.perf_counter() - start, block.accounts.root_hash


def nonces_a_second(start):
    hashes = {name: bytes([7]) * 32 for name in ("accounts_hash", "transactions_hash", "receipts_hash")}
    totals = ("total_fees", "cumulative_total_fees", "cumulative_stake", "cumulative_burn")
    block = Block(
        chain_id=1,
        previous_block_hash=bytes([2]) * 32,
        previous_block=None,
        height=1_000_000,
        timestamp=1_700_000_000,
        cumulative_mint=1_000,
        difficulty=16,
        validator_public_key_bytes=bytes([9]) * 32,
        nonce=start,
        accounts=Bare(),
        **hashes,
        **dict.fromkeys(totals, 1_000_000_000),
    )
    began = time.perf_counter()
    found = block.generate_nonce(difficulty=10)
    return (found - start + 1) / (time.perf_counter() - began)


lines = sys.stdin.read().split("\n")
facts = lines[0].split()
transactions = [bytes.fromhex(line) for line in lines[1].split()]
store = Store(Atom.from_bytes(bytes.fromhex(line)) for line in lines[2:] if line)
rounds = [run(store, facts, transactions) for _ in range(3)]
nonces = max(nonces_a_second(start << 20) for start in range(20))
print(min(seconds for seconds, _ in rounds), rounds[0][1].hex(), nonces)
