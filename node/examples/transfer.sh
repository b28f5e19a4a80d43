#!/bin/sh
# Sends a transfer on a development network, waits for it, and shows the recipient's account.
#
#   astreum devnet --dir net             in another terminal
#   node/examples/transfer.sh net
set -eu
directory=${1:?usage: transfer.sh DIRECTORY-OF-THE-DEVNET}
config=$directory/node1/node.toml
recipient=$(astreum keys show "$directory/keys/account2.key" --kind account)

# The exit code is 0 only if the transfer succeeded in a block.
astreum tx send "$recipient" 1_000 --key-file "$directory/keys/account1.key" --config "$config" --wait
astreum account show "$recipient" --config "$config"
