#!/usr/bin/env python3
"""Chains that an unmodified reference verifier can follow, made with the reference's own classes.

The reference's trie loses the parent of a node that it splits below the root. Its verifier then
requests that parent from the network, but it is not part of any finished trie: it existed only
between two puts. The trie here keeps every node of every state. Nothing else is replaced, and only
in this process; the nodes that verify are unmodified.

    reference_chain.py build [--end SECONDS] [--blocks N] [--transactions N]
        Prints a chain as one JSON object: its blocks, and all atoms that a verifier asks for.

    reference_chain.py genesis --validator SECRET --balances JSON --channels JSON
        Prints a genesis in the same way. Balances are by public key; the accounts in the list of
        channels have one placeholder entry, because the reference cannot put into an empty trie.

    reference_chain.py replay --seed HOST:PORT [--config JSON]
        Runs a node that fetches blocks from HOST:PORT and verifies them one by one. Requests on
        stdin are {"block": ID}, replies {"ok": {"verified": BOOL, "atoms": [HEX...]}} with the
        nodes of the tries' states that have not been reported yet, or {"error": TEXT}.
"""

import argparse
import hashlib
import json
import os
import sys
import time

import astreum.consensus.account.create as account_create
import astreum.validation.models.accounts as accounts_model
from astreum.consensus.account import create_account
from astreum.consensus.block.verify import verify_block_head, verify_block_transactions
from astreum.consensus.transaction import (
    apply_transaction,
    atomize_transaction,
    create_transaction,
)
from astreum.node import Node
from astreum.storage.models.atom import ZERO32, bytes_list_to_atoms
from astreum.storage.models.trie import Trie
from astreum.utils.integer import int_to_bytes
from astreum.validation.constants import BURN_ADDRESS, TREASURY_ADDRESS
from astreum.validation.models.accounts import Accounts
from astreum.validation.models.block import Block
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HEX = bytes.fromhex

# Atoms of every trie node that existed after any put, by the node's id.
STATES = {}


class WholeTrie(Trie):
    """Trie of the reference that keeps the parents that it loses."""

    def put(self, storage_node, key, value):
        super().put(storage_node, key, value)
        for node_id, node in list(self.nodes.items()):
            if node_id not in STATES:
                STATES[node_id] = node.to_atoms()[1]

    def _split_and_insert(self, node, stack, key, key_pos, value):
        parents = [parent for parent, _, _ in stack]
        super()._split_and_insert(node, stack, key, key_pos, value)
        for parent in parents:
            self.nodes[parent.hash()] = parent


account_create.Trie = WholeTrie
accounts_model.Trie = WholeTrie


def public(key):
    return key.public_key().public_bytes_raw()


class Builder:
    """Builder of a chain, in the order in which a verifier repeats it."""

    def __init__(self, validator, chain_id=0):
        self.node = Node({"default_seed": None, "incoming_port": 0, "chain_id": chain_id})
        self.validator = validator
        self.chain_id = chain_id
        self.atoms = {}
        self.blocks = []

    def keep(self, atoms):
        for atom in atoms:
            self.node._hot_storage_set(atom.object_id(), atom)
            self.atoms[atom.object_id()] = atom

    def keep_states(self):
        for atoms in STATES.values():
            self.keep(atoms)

    def trie(self, entries):
        trie = WholeTrie()
        for key, value in entries.items():
            trie.put(self.node, key, value)
        return trie

    def genesis(self, timestamp, balances, with_channels=()):
        accounts = Accounts()
        treasury = create_account()
        treasury.data = self.trie({public(self.validator): int_to_bytes(1)})
        accounts.set_account(TREASURY_ADDRESS, treasury)
        burn = create_account()
        # The reference cannot put into a trie whose root is zero.
        burn.data = self.trie({hashlib.sha256(b"burn").digest(): ZERO32})
        accounts.set_account(BURN_ADDRESS, burn)
        for key, balance in balances.items():
            account = create_account(balance=balance)
            if key in with_channels:
                account.channels = self.trie({hashlib.sha256(b"nobody").digest(): ZERO32})
            accounts.set_account(key, account)
        self.keep(accounts.update_trie(self.node))
        self.keep_states()
        block = Block(
            chain_id=self.chain_id, previous_block_hash=ZERO32, previous_block=None, height=0,
            timestamp=timestamp, accounts_hash=accounts.root_hash, total_fees=0,
            cumulative_total_fees=1, cumulative_stake=0, cumulative_burn=0, cumulative_mint=0,
            transactions_hash=ZERO32, receipts_hash=ZERO32, difficulty=0,
            validator_public_key_bytes=public(self.validator), nonce=0, signature=b"",
            accounts=accounts, transactions=[], receipts=[],
        )
        self.keep(block.atomize()[1])
        self.blocks.append(block)

    def transaction(self, sender, recipient, amount, counter):
        transaction = create_transaction(
            chain_id=self.chain_id, amount=amount, counter=counter, recipient=recipient,
            sender=public(sender),
        )
        transaction.sign(sender)
        transaction_id, atoms = atomize_transaction(transaction)
        self.keep(atoms)
        return transaction_id

    def block(self, timestamp, transactions):
        parent = self.blocks[-1]
        accounts = Accounts(root_hash=parent.accounts_hash)
        block = Block(
            chain_id=self.chain_id, previous_block_hash=parent.atom_hash, previous_block=parent,
            height=parent.height + 1, timestamp=timestamp, accounts_hash=parent.accounts_hash,
            total_fees=0, cumulative_total_fees=0, cumulative_stake=0, cumulative_burn=0,
            cumulative_mint=0, transactions_hash=None, receipts_hash=None, difficulty=None,
            validator_public_key_bytes=public(self.validator), nonce=0, signature=None,
            accounts=accounts, transactions=[], receipts=[],
        )
        fees = sum(apply_transaction(self.node, block, item) for item in transactions)
        block.total_fees = fees
        block.cumulative_total_fees = parent.cumulative_total_fees + fees
        block.cumulative_mint = parent.cumulative_mint + block.total_mint
        treasury = accounts.get_account(TREASURY_ADDRESS, self.node)
        burn = accounts.get_account(BURN_ADDRESS, self.node)
        block.cumulative_stake = parent.cumulative_stake + treasury.balance
        block.cumulative_burn = parent.cumulative_burn + burn.balance
        block.transactions_hash, atoms = bytes_list_to_atoms([t.hash for t in block.transactions])
        self.keep(atoms)
        receipts = [receipt.atomize() for receipt in block.receipts]
        for _, atoms in receipts:
            self.keep(atoms)
        block.receipts_hash, atoms = bytes_list_to_atoms([receipt for receipt, _ in receipts])
        self.keep(atoms)
        self.keep(accounts.update_trie(self.node))
        self.keep(getattr(block, "contract_atoms", None) or [])
        self.keep_states()
        block.accounts_hash = accounts.root_hash
        block.difficulty = Block.calculate_block_difficulty(
            previous_timestamp=parent.timestamp, current_timestamp=timestamp,
            previous_difficulty=parent.difficulty,
        )
        while True:
            # The signature covers the nonce too.
            block.atomize()
            block.signature = self.validator.sign(block.body_hash)
            block_id, atoms = block.atomize()
            if Block._leading_zero_bits(block_id) >= max(1, parent.difficulty):
                break
            block.nonce += 1
        self.keep(atoms)
        self.blocks.append(block)

    def told(self):
        return {
            "blocks": [
                {"id": block.atom_hash.hex(), "height": block.height, "timestamp": block.timestamp}
                for block in self.blocks
            ],
            "atoms": [atom.to_bytes().hex() for atom in self.atoms.values()],
        }


def tell(args, value):
    print(json.dumps(value), file=args.replies, flush=True)


def build(args):
    validator = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
    sender = Ed25519PrivateKey.from_private_bytes(b"\x44" * 32)
    recipient = b"\x33" * 32
    spacing = 2
    end = args.end if args.end is not None else int(time.time())
    builder = Builder(validator)
    builder.genesis(
        end - spacing * args.blocks, {public(validator): 0, public(sender): 10**9, recipient: 5}
    )
    for number in range(args.blocks):
        builder.block(
            builder.blocks[-1].timestamp + spacing,
            [
                builder.transaction(sender, recipient, 1, number * 1000 + item)
                for item in range(args.transactions)
            ],
        )
    tell(args, {**builder.told(), "sender": public(sender).hex(), "recipient": recipient.hex()})


def genesis(args):
    builder = Builder(Ed25519PrivateKey.from_private_bytes(HEX(args.validator)))
    balances = {HEX(key): balance for key, balance in json.loads(args.balances).items()}
    builder.genesis(int(time.time()) - 2, balances, [HEX(key) for key in json.loads(args.channels)])
    tell(args, builder.told())


class Replay:
    def __init__(self, args):
        config = {
            "incoming_port": 0,
            "default_seed": None,
            "additional_seeds": [args.seed],
            "atom_fetch_interval": 0.01,
            "atom_fetch_retries": 400,
            **json.loads(args.config),
        }
        self.node = Node(config)
        failure = self.node.connect()
        if failure is not None:
            raise failure
        self.told = set()
        deadline = time.monotonic() + 10
        while not self.node.peers:
            if time.monotonic() > deadline:
                raise TimeoutError("the seed does not answer")
            time.sleep(0.01)

    def block(self, block_id):
        block = Block.from_storage(self.node, block_id)
        if block.previous_block_hash != ZERO32:
            block.previous_block = Block.from_storage(self.node, block.previous_block_hash)
        verified = verify_block_head(self.node, block)
        verified = verify_block_transactions(self.node, block) and verified
        new = [node_id for node_id in STATES if node_id not in self.told]
        self.told.update(new)
        atoms = [atom.to_bytes().hex() for node_id in new for atom in STATES[node_id]]
        return {"verified": verified, "atoms": atoms}


def replay(args):
    node = Replay(args)
    tell(args, {"ok": None})
    for line in sys.stdin:
        try:
            reply = {"ok": node.block(HEX(json.loads(line)["block"]))}
        except Exception as failure:  # evaluated by the test
            reply = {"error": f"{type(failure).__name__}: {failure}"}
        tell(args, reply)


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    build_mode = modes.add_parser("build")
    build_mode.add_argument("--end", type=int)
    build_mode.add_argument("--blocks", type=int, default=5)
    build_mode.add_argument("--transactions", type=int, default=1)
    genesis_mode = modes.add_parser("genesis")
    genesis_mode.add_argument("--validator", required=True)
    genesis_mode.add_argument("--balances", required=True)
    genesis_mode.add_argument("--channels", required=True)
    replay_mode = modes.add_parser("replay")
    replay_mode.add_argument("--seed", required=True)
    replay_mode.add_argument("--config", default="{}")
    args = parser.parse_args()
    # The reference's own output goes to stderr.
    args.replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    {"build": build, "genesis": genesis, "replay": replay}[args.mode](args)


if __name__ == "__main__":
    main()
