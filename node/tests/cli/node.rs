//! `run`: the node itself, from its first line to its last.
