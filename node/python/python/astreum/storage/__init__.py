"""Atoms and tries."""
