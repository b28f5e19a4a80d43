"""Function `low_eval` of the reference, which takes the node as its first argument."""

from astreum.node import Node

low_eval = Node.low_eval

__all__ = ["low_eval"]
