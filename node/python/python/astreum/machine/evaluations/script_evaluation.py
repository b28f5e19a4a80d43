"""Function `script_eval` of the reference, which takes the node as its first argument."""

from astreum.node import Node

script_eval = Node.script_eval

__all__ = ["script_eval"]
