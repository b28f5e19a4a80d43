"""Evaluators as functions of a node, under the import paths of the reference."""
