#!/usr/bin/env python3
"""Sends a transfer on a development network and waits for it.

    astreum devnet                      in another terminal
    python3 node/examples/transfer.py

The command line signs, so that no key is handled here; the transaction is followed over the control
socket of a node. Only the standard library is needed. An argument names the directory of a network
that was started with --dir.
"""

import json
import socket
import struct
import subprocess
import sys


def astreum(*arguments):
    """Runs a command and returns its JSON."""
    command = ["astreum", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def request(path, method, **params):
    """Sends a JSON-RPC request to the control socket of a node and returns the result."""
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        # A frame: length of what follows, kind 0 (a message), the message.
        connection.sendall(struct.pack(">IB", len(message) + 1, 0) + message)
        stream = connection.makefile("rb")
        length, _kind = struct.unpack(">IB", stream.read(5))
        reply = json.loads(stream.read(length - 1))
    if "error" in reply:
        raise RuntimeError(reply["error"]["message"])
    return reply["result"]


def main():
    at = ["--dir", sys.argv[1]] if len(sys.argv) > 1 else []
    network = astreum("devnet", "show", *at)
    accounts = {account["name"]: account for account in network["accounts"]}
    sender, recipient = accounts["account1"], accounts["account2"]
    # Sent through the last node, followed at the first one.
    first, last = network["nodes"][0], network["nodes"][-1]
    sent = astreum(
        "tx", "send", recipient["address"], "1_000",
        "--key-file", sender["key_file"], "--config", last["config"],
    )
    print("sent", sent["id"])
    status = {"state": "unknown"}
    for _ in range(6):
        status = request(
            first["control_socket"], "transaction_status", id=sent["id"], wait_seconds=10
        )
        if status["block"]:
            break
    print(status["state"], "at height", status["height"])
    account = request(first["control_socket"], "account", account=recipient["address"])
    print("balance", account["balance"])
    return 0 if status["state"] == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
