#!/usr/bin/env python3
"""Driver of the unmodified Python reference over two pipes.

Every line on stdin is a JSON request, every line on stdout the JSON reply to it, in order. Nothing
in the reference is replaced: the driver calls its public functions, reads its state and listens to
its log. The reference's own output goes to stderr.

    reference_driver.py node --port 0 [--seed HOST:PORT]... [--secret HEX] [--config JSON]
        The first line out is {"port":…,"key":…}. Requests are {"cmd":NAME,…}, replies
        {"ok":RESULT} or {"error":TEXT}; the commands are the methods of Node below.

    reference_driver.py answers
        Requests and replies of the conformance protocol: {"id":…,"op":…,"in":{…}} gives
        {"id":…,"out":{…}}; the operations are the functions whose name starts with op_.
"""

import argparse
import collections
import json
import logging
import os
import queue
import socket
import sys
import threading
import time

from astreum.communication.handlers import object_request, object_response
from astreum.communication.incoming_queue import enqueue_incoming
from astreum.communication.models.message import Message, MessageTopic
from astreum.communication.models.peer import Peer
from astreum.communication.models.ping import Ping
from astreum.communication.models.route import Route
from astreum.communication.outgoing_queue import enqueue_outgoing
from astreum.consensus.block.verify import verify_block_head, verify_block_transactions
from astreum.consensus.transaction import (
    atomize_transaction,
    create_transaction,
    send_transaction,
)
from astreum.crypto.ed25519 import verify_signature
from astreum.machine import Expr, parse, tokenize
from astreum.machine.evaluations.low_evaluation import low_eval
from astreum.machine.models.meter import Meter
from astreum.node import Node as ReferenceNode
from astreum.storage.advertisments import advertise_atoms
from astreum.storage.cold.insert import insert_atom_into_cold_storage
from astreum.storage.models.atom import ZERO32, Atom, AtomKind, bytes_list_to_atoms
from astreum.validation.models.accounts import Accounts
from astreum.validation.models.block import Block
from astreum.validation.models.receipt import Receipt
from astreum.validation.validator import current_validator
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

HEX = bytes.fromhex


def expression(expr):
    """Returns an expression in the conformance protocol's JSON form."""
    if isinstance(expr, Expr.Symbol):
        return {"sym": expr.value}
    if isinstance(expr, Expr.Bytes):
        return {"bytes": expr.value.hex()}
    return {"list": [expression(item) for item in expr.elements]}


def from_json(value):
    """Returns the expression of a JSON form."""
    if "sym" in value:
        return Expr.Symbol(value["sym"])
    if "bytes" in value:
        return Expr.Bytes(HEX(value["bytes"]))
    return Expr.ListExpr([from_json(item) for item in value["list"]])


def atom_fields(atom):
    return {"kind": int(atom.kind), "data": atom.data.hex(), "next": atom.next_id.hex()}


class CountingHandler(logging.Handler):
    """Counter of log messages by their unformatted text."""

    def __init__(self):
        super().__init__()
        self.messages = collections.Counter()

    def emit(self, record):
        # The unformatted message is the same for every id and address.
        self.messages[str(record.msg)] += 1


class Node:
    """Reference node; each public method is a command."""

    def __init__(self, args):
        config = {
            "incoming_port": args.port,
            "default_seed": args.default_seed,
            "additional_seeds": args.seed,
            **json.loads(args.config),
        }
        if args.secret:
            config["relay_secret_key"] = args.secret
        self._log = CountingHandler()
        self._node = ReferenceNode(config)
        logger = self._node.logger.logger
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self._log)
        failure = self._node.connect()
        if failure is not None:
            raise failure
        # Without a name service the reference does not learn its own address.
        self._node.relay_ip_address = "127.0.0.1"

    def status(self, _):
        node = self._node
        with node.peers_lock:
            peers = dict(node.peers)
        return {
            "port": node.config["incoming_port"],
            "key": node.relay_public_key_bytes.hex(),
            "head": node.latest_block_hash.hex() if node.latest_block_hash else None,
            "alive": all(
                getattr(node, name).is_alive()
                for name in ("incoming_populate_thread", "incoming_process_thread")
            ),
            "pending": len(node.atom_requests),
            "peers": {
                key.hex(): {
                    "address": "%s:%d" % tuple(peer.address[:2]),
                    "difficulty": peer.difficulty,
                    "head": peer.latest_block.hex() if peer.latest_block else None,
                    "seen": peer.timestamp.timestamp(),
                }
                for key, peer in peers.items()
            },
            "route": sorted(
                key.hex() for bucket in node.peer_route.buckets.values() for key in bucket
            ),
            "validators": None
            if node.validation_route is None
            else sorted(
                key.hex() for bucket in node.validation_route.buckets.values() for key in bucket
            ),
        }

    def counts(self, _):
        """Returns the number of times that the node has logged each message since it started."""
        return dict(self._log.messages)

    # -- storage

    def _keep(self, atom):
        atom_id = atom.object_id()
        self._node._hot_storage_set(atom_id, atom)
        return atom_id.hex()

    def put(self, request):
        """Stores one atom; a bytes atom without a link by default."""
        kind = AtomKind(request.get("kind", 1))
        next_id = HEX(request.get("next", "00" * 32))
        return self._keep(Atom(HEX(request["data"]), kind, next_id))

    def put_list(self, request):
        """Stores a bytes list."""
        head, atoms = bytes_list_to_atoms([HEX(item) for item in request["items"]])
        for atom in atoms:
            self._keep(atom)
        return head.hex()

    def put_cold(self, request):
        """Stores bytes atoms in cold storage with levels of this size; returns their number."""
        self._node.config["cold_storage_base_size"] = request["base_size"]
        atoms = [Atom(HEX(item), AtomKind.BYTES) for item in request["items"]]
        return sum(insert_atom_into_cold_storage(self._node, atom) for atom in atoms)

    def put_source(self, request):
        """Parses a source text and stores the atoms of its expression."""
        expr, _ = parse(tokenize(request["source"]))
        head, atoms = expr.to_atoms()
        for atom in atoms:
            self._keep(atom)
        return head.hex()

    def get(self, request):
        """Gets an atom, locally or from the network; null if it is not found in time."""
        started = time.monotonic()
        atom = self._node.get_atom(HEX(request["id"]))
        return {
            "atom": atom_fields(atom) if atom is not None else None,
            "seconds": time.monotonic() - started,
        }

    def get_list(self, request):
        atoms = self._node.get_atom_list(HEX(request["id"]))
        return None if atoms is None else [atom_fields(atom) for atom in atoms]

    def get_local(self, request):
        atom = self._node.get_atom_from_local_storage(HEX(request["id"]))
        return None if atom is None else atom_fields(atom)

    def get_expression(self, request):
        """Rebuilds an expression, fetching every missing atom of it."""
        return expression(Expr.from_atoms(self._node, HEX(request["id"])))

    def advertise(self, request):
        """Tracks an advertisement and sends the due ones."""
        ttl = request.get("ttl")
        expires = None if ttl is None else time.time() + ttl
        entry = (HEX(request["id"]), request.get("type", 1), expires)
        self._node.add_atom_advertisements([entry])
        advertise_atoms(self._node, entries=[entry])

    def providers(self, _):
        """Returns the recorded provider of each atom id."""
        found = {}
        for atom_id, index in dict(self._node.storage_index).items():
            payload = self._node.storage_providers[index]
            key, host, port = object_response.decode_object_provider(payload)
            found[atom_id.hex()] = {"key": key.hex(), "address": f"{host}:{port}"}
        return found

    # -- messages

    def handshake(self, request):
        """Sends a HANDSHAKE to an address."""
        host, port = request["address"].rsplit(":", 1)
        message = Message(
            handshake=True,
            sender=self._node.relay_public_key,
            incoming_port=self._node.config["incoming_port"],
            content=b"",
        )
        return bool(enqueue_outgoing(self._node, (host, int(port)), message=message, difficulty=1))

    def _send(self, address, shared_key, difficulty, topic, content):
        message = Message(topic=topic, content=content, sender=self._node.relay_public_key)
        message.encrypt(shared_key)
        return bool(
            enqueue_outgoing(self._node, address, message=message, difficulty=difficulty)
        )

    def send(self, request):
        """Sends a message to a registered peer (key), or to any node (key and address)."""
        key = HEX(request["key"])
        topic = MessageTopic(request["topic"])
        content = HEX(request["content"])
        if "address" in request:
            host, port = request["address"].rsplit(":", 1)
            public = X25519PublicKey.from_public_bytes(key)
            shared = self._node.relay_secret_key.exchange(public)
            return self._send((host, int(port)), shared, 1, topic, content)
        peer = self._node.get_peer(key)
        if peer is None:
            raise LookupError("not a peer")
        return self._send(peer.address, peer.shared_key_bytes, peer.difficulty, topic, content)

    def ping(self, request):
        head = request.get("head")
        content = Ping(
            is_validator=request.get("validator", False),
            difficulty=request.get("difficulty", 1),
            latest_block=HEX(head) if head else None,
        ).to_bytes()
        return self.send({"key": request["key"], "topic": int(MessageTopic.PING), "content": content.hex()})

    # -- the chain

    def _block(self, block_id):
        """Returns a block with its parent attached, as the verifier requires it."""
        block = Block.from_storage(self._node, block_id)
        if block.previous_block_hash != ZERO32:
            block.previous_block = Block.from_storage(self._node, block.previous_block_hash)
        return block

    def _head(self, request):
        head = request.get("block")
        head = HEX(head) if head else self._node.latest_block_hash
        if head is None:
            raise LookupError("no head")
        return head

    def block(self, request):
        """Returns a block, the head by default, fetched if necessary."""
        head = self._head(request)
        block = Block.from_storage(self._node, head)
        names_bytes = (
            "previous_block_hash", "accounts_hash", "transactions_hash", "receipts_hash",
            "validator_public_key_bytes", "signature", "body_hash",
        )
        names_integers = (
            "version", "chain_id", "height", "timestamp", "difficulty", "nonce", "total_fees",
            "cumulative_total_fees", "cumulative_stake", "cumulative_burn", "cumulative_mint",
        )
        return {
            "id": head.hex(),
            **{name: (getattr(block, name) or b"").hex() for name in names_bytes},
            # As text: they may not fit into a JSON integer.
            **{name: str(getattr(block, name)) for name in names_integers},
        }

    def account(self, request):
        """Returns an account as of a block; null if it does not exist."""
        block = Block.from_storage(self._node, self._head(request))
        account = Accounts(root_hash=block.accounts_hash).get_account(
            HEX(request["address"]), self._node
        )
        if account is None:
            return None
        return {
            "balance": str(account.balance),
            "counter": str(account.counter),
            "data": account.data_hash.hex(),
            "channels": account.channels_hash.hex(),
        }

    def stake(self, request):
        """Returns the value of an address in the treasury's trie as of a block."""
        block = Block.from_storage(self._node, self._head(request))
        treasury = Accounts(root_hash=block.accounts_hash).get_account(b"\x01" * 32, self._node)
        value = treasury.data.get(self._node, HEX(request["address"]))
        return None if value is None else int.from_bytes(value, "little")

    def receipts(self, request):
        """Returns the transactions of a block, each with the content of its receipt."""
        block = Block.from_storage(self._node, self._head(request))
        if block.receipts_hash == ZERO32:
            return []
        transactions = self._node.get_atom_list(block.transactions_hash)
        receipts = self._node.get_atom_list(block.receipts_hash)
        if transactions is None or receipts is None:
            raise LookupError("the lists of the block were not found")
        found = []
        for transaction, atom in zip(transactions, receipts, strict=True):
            receipt = Receipt.from_storage(self._node, atom.data)
            found.append({
                "transaction": transaction.data.hex(),
                "of": receipt.transaction_hash.hex(),
                "status": receipt.status,
                "cost": receipt.cost,
            })
        return found

    def verify_head(self, request):
        """Returns the verdict of verify_block_head, and the parent."""
        block = self._block(self._head(request))
        return {
            "verified": verify_block_head(self._node, block),
            "height": block.height,
            "previous": block.previous_block_hash.hex(),
        }

    def verify_body(self, request):
        """Returns the verdict of verify_block_transactions."""
        return verify_block_transactions(self._node, self._block(self._head(request)))

    def validator_for(self, request):
        """Returns the validator that may make a block at a time after a block."""
        key, _ = current_validator(self._node, self._head(request), request["time"])
        return key.hex()

    def load_head(self, _):
        """Loads the head, which the reference does not do if a ping names one."""
        self._node.latest_block = Block.from_storage(self._node, self._node.latest_block_hash)

    def set_head(self, request):
        """Makes a local block the head that its pings name."""
        self._node.latest_block_hash = HEX(request["block"])

    def put_stored(self, request):
        """Stores atoms given in their stored form; returns their number."""
        for stored in request["atoms"]:
            self._keep(Atom.from_bytes(HEX(stored)))
        return len(request["atoms"])

    def verify(self, _):
        """Starts the verification of its peers' heads."""
        self._node.verify()

    def validate(self, request):
        """Starts block production."""
        self._node.validate(Ed25519PrivateKey.from_private_bytes(HEX(request["secret"])))
        return self._node.validation_public_key.hex()

    def forks(self, _):
        """Returns its verifier's state of each head that peers have named."""
        with self._node.forks_lock:
            return {
                head.hex(): {
                    "root": fork.root.hex(),
                    "headers": (fork.header_verified_up_to or b"").hex(),
                    "transactions": (fork.transactions_verified_up_to or b"").hex(),
                    "bad": fork.malicious_block_hash and fork.malicious_block_hash.hex(),
                }
                for head, fork in self._node.forks.items()
            }

    def send_transaction(self, request):
        """Sends a transaction with its own function, unmodified."""
        sent = send_transaction(
            self._node, HEX(request["recipient"]), HEX(request["secret"]), request["amount"]
        )
        return sent.hex()

    def post_transaction(self, request):
        """Signs, stores, advertises and announces a transaction, as its own function should."""
        key = Ed25519PrivateKey.from_private_bytes(HEX(request["secret"]))
        transaction = create_transaction(
            chain_id=self._node.config["chain_id"],
            amount=request["amount"],
            counter=request["counter"],
            recipient=HEX(request["recipient"]),
            sender=key.public_key().public_bytes_raw(),
            data=HEX(request.get("data", "")),
        )
        body = transaction.sign(key)
        transaction_id, atoms = atomize_transaction(transaction)
        for atom in atoms:
            self._keep(atom)
        entries = [(item, 2, None) for item in (transaction_id, body)]
        self._node.add_atom_advertisements(entries)
        advertise_atoms(self._node, entries=entries)
        self.send({
            "key": request["key"],
            "topic": int(MessageTopic.TRANSACTION),
            "content": transaction_id.hex(),
        })
        return transaction_id.hex()

    def quit(self, _):
        self._node.disconnect()


# -- the conformance protocol


def op_tokenize(given):
    return {"tokens": tokenize(given["source"])}


def op_parse(given):
    expr, rest = parse(tokenize(given["source"]))
    return {"expr": expression(expr), "rest": rest}


def op_low_eval(given):
    code = [HEX(item) for item in given["code"]]
    meter = Meter(limit=given["limit"])
    return {"expr": expression(low_eval(OFFLINE, code, meter)), "used": meter.used}


def op_atom(given):
    atom = Atom(HEX(given["data"]), AtomKind(given["kind"]), HEX(given["next"]))
    return {"id": atom.object_id().hex(), "bytes": atom.to_bytes().hex()}


def op_atom_decode(given):
    return atom_fields(Atom.from_bytes(HEX(given["bytes"])))


def op_expr_atoms(given):
    head, atoms = Expr.to_atoms(from_json(given["expr"]))
    return {"id": head.hex(), "atoms": [atom.to_bytes().hex() for atom in atoms]}


class AtomsOnly:
    """Part of a node that Expr.from_atoms uses."""

    def __init__(self, atoms):
        self.atoms = {atom.object_id(): atom for atom in atoms}

    def get_atom(self, atom_id):
        return self.atoms.get(atom_id)


def op_expr_from_atoms(given):
    source = AtomsOnly([Atom.from_bytes(HEX(item)) for item in given["atoms"]])
    return {"expr": expression(Expr.from_atoms(source, HEX(given["id"])))}


def op_ping_decode(given):
    ping = Ping.from_bytes(HEX(given["bytes"]))
    return {
        "is_validator": ping.is_validator,
        "difficulty": ping.difficulty,
        "latest_block": ping.latest_block.hex() if ping.latest_block else None,
    }


def op_object_request_decode(given):
    request = object_request.ObjectRequest.from_bytes(HEX(given["bytes"]))
    return {
        "type": int(request.type),
        "atom_id": request.atom_id.hex(),
        "payload_type": request.payload_type,
        "data": request.data.hex(),
    }


def op_object_response_decode(given):
    response = object_response.ObjectResponse.from_bytes(HEX(given["bytes"]))
    return {
        "type": int(response.type),
        "atom_id": response.atom_id.hex(),
        "data": response.data.hex(),
    }


def op_provider_decode(given):
    key, host, port = object_response.decode_object_provider(HEX(given["bytes"]))
    return {"public_key": key.hex(), "address": host, "port": port}


def op_route(given):
    route = Route(X25519PublicKey.from_public_bytes(HEX(given["own"])))
    for key in given["peers"]:
        route.add_peer(HEX(key), HEX(key))
    for key in given.get("remove", []):
        route.remove_peer(HEX(key))
    closest = route.closest_peer_for_hash(HEX(given["target"]))
    return {
        "buckets": [
            [index, [key.hex() for key in bucket]]
            for index, bucket in sorted(route.buckets.items())
            if bucket
        ],
        "closest": closest.hex() if closest else None,
    }


def op_verify(given):
    try:
        key = Ed25519PublicKey.from_public_bytes(HEX(given["key"]))
        return {"holds": verify_signature(key, HEX(given["message"]), HEX(given["signature"]))}
    except ValueError:  # invalid key or signature
        return {"holds": False}


def op_requests(given):
    """Answers many requests at once, because a line for each would dominate the time."""
    return {"answers": [answer_one(request) for request in given["requests"]]}


class Receiver:
    """Part of a node that the reference's queue uses; only this class takes from the queue."""

    def __init__(self):
        self.logger = logging.getLogger("receiver")
        self.logger.disabled = True
        self.incoming_queue = queue.Queue()
        self.incoming_queue_size = 0
        self.incoming_queue_size_limit = 1 << 40
        self.incoming_queue_timeout = 0
        self.incoming_queue_size_lock = threading.Lock()
        self.peers = {}

    def read(self, secret, datagram):
        """Returns the content of a datagram as a list; None if the reference drops it.

        Reads it like process_incoming_messages and its handlers. Parts that those decode in place
        (route messages and the kind of a found object) are decoded here in the same way.
        """
        if not enqueue_incoming(self, ("127.0.0.1", 9), datagram):
            return None
        data, _, _ = self.incoming_queue.get_nowait()
        try:
            message = Message.from_bytes(data)
            if message.incoming_port is None:
                return None
            sender = message.sender_public_key_bytes
            if sender not in self.peers:
                public = X25519PublicKey.from_public_bytes(sender)
                self.peers[sender] = Peer(node_secret_key=secret, peer_public_key=public)
            of = [sender.hex(), message.incoming_port]
            if message.handshake:
                return ["handshake", *of, message.content.hex()]
            message.decrypt(self.peers[sender].shared_key_bytes)
            return self.content(message.topic, message.content, of)
        except Exception:  # the reference's handlers catch everything as well
            return None

    def content(self, topic, content, of):
        if topic == MessageTopic.PING:
            ping = Ping.from_bytes(content)
            head = ping.latest_block.hex() if ping.latest_block else None
            return ["ping", *of, ping.is_validator, ping.difficulty, head]
        if topic == MessageTopic.OBJECT_REQUEST:
            request = object_request.ObjectRequest.from_bytes(content)
            atom_id, kind = request.atom_id.hex(), request.payload_type
            return ["request", *of, int(request.type), atom_id, kind, request.data.hex()]
        if topic == MessageTopic.OBJECT_RESPONSE:
            return self.response(object_response.ObjectResponse.from_bytes(content), of)
        if topic == MessageTopic.ROUTE_REQUEST:
            return ["route request", *of, content[0]] if content[0] in (0, 1) else None
        if topic == MessageTopic.ROUTE_RESPONSE:
            if not content or len(content) % 6:
                return None
            entries = [content[at : at + 6] for at in range(0, len(content), 6)]
            text = [
                f"{socket.inet_ntop(socket.AF_INET, entry[:4])}:{int.from_bytes(entry[4:], 'big')}"
                for entry in entries
            ]
            return ["routes", *of, text]
        return ["transaction", *of, content.hex()]

    def response(self, response, of):
        of = [*of, response.atom_id.hex()]
        if response.type == object_response.ObjectResponseType.OBJECT_PROVIDER:
            key, host, port = object_response.decode_object_provider(response.data)
            return ["provider", *of, key.hex(), host, port]
        if response.type == object_response.ObjectResponseType.OBJECT_NEAREST_PEER:
            return ["nearest", *of]
        kind, body = response.data[0], response.data[1:]
        if kind == object_response.OBJECT_FOUND_ATOM_PAYLOAD:
            atoms = [Atom.from_bytes(body)]
        elif kind == object_response.OBJECT_FOUND_LIST_PAYLOAD:
            atoms = object_response.decode_object_found_list_payload(body)
        else:
            return None
        if atoms[0].object_id() != response.atom_id:
            return None
        return ["found", *of, [atom.to_bytes().hex() for atom in atoms]]


RECEIVER = Receiver()


def op_datagrams(given):
    secret = X25519PrivateKey.from_private_bytes(HEX(given["secret"]))
    return {"verdicts": [RECEIVER.read(secret, HEX(packet)) for packet in given["packets"]]}


OFFLINE = None


def answer(line):
    return answer_one(json.loads(line))


def answer_one(request):
    try:
        out = globals()["op_" + request["op"]](request["in"])
    except Exception as failure:  # the protocol compares only its presence
        out = {"error": f"{type(failure).__name__}: {failure}"}
    return {"id": request["id"], "out": out}


def command(node, line):
    request = json.loads(line)
    try:
        return {"ok": getattr(node, request["cmd"])(request)}
    except Exception as failure:  # evaluated by the test
        return {"error": f"{type(failure).__name__}: {failure}"}


def main():
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("answers")
    node_mode = modes.add_parser("node")
    node_mode.add_argument("--port", type=int, default=0)
    node_mode.add_argument("--seed", action="append", default=[])
    node_mode.add_argument("--default-seed", default=None)
    node_mode.add_argument("--secret")
    node_mode.add_argument("--config", default="{}")
    args = parser.parse_args()

    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(value):
        replies.write(json.dumps(value) + "\n")

    if args.mode == "answers":
        global OFFLINE
        sys.setrecursionlimit(20_000)
        OFFLINE = ReferenceNode({"default_seed": None})
        for line in sys.stdin:
            reply(answer(line))
        return

    node = Node(args)
    status = node.status({})
    reply({"port": status["port"], "key": status["key"]})
    for line in sys.stdin:
        reply(command(node, line))


if __name__ == "__main__":
    main()
