"""Expressions, environments and meters."""
