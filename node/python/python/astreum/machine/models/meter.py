"""Meters."""

from __future__ import annotations


class Meter:
    """Amount charged to programs, and its limit.

    A charge is refused if the limit would be reached. A meter that is not enabled counts nothing.
    """

    def __init__(self, enabled: bool = True, limit: int | None = None) -> None:
        self.enabled = enabled
        self.limit = limit
        self.used = 0

    def charge_bytes(self, n: int) -> bool:
        """Charges `n`; returns whether the limit allows it."""
        if not self.enabled:
            return True
        n = max(n, 0)
        if self.limit is not None and self.used + n >= self.limit:
            return False
        self.used += n
        return True

    def remaining(self) -> int | None:
        """Returns the limit for the next program, or `None` if there is none."""
        if not self.enabled or self.limit is None:
            return None
        return min(max(self.limit - self.used, 0), (1 << 64) - 1)

    def add(self, used: int) -> None:
        """Adds what a program was charged."""
        if self.enabled:
            self.used += used

    def __repr__(self) -> str:
        return f"Meter(enabled={self.enabled}, limit={self.limit}, used={self.used})"
