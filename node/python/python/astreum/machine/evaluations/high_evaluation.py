"""Function `high_eval` of the reference, which takes the node as its first argument."""

from astreum.node import Node

high_eval = Node.high_eval_raw

__all__ = ["high_eval"]
