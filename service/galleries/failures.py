"""How SQLite tells that it failed."""

import sqlite3

FAILURES = (sqlite3.Error, MemoryError)
"""Of SQLite; Python has a name of its own for the memory that it did not get."""


def reason_of(failure: Exception) -> str:
    """SQLite's code only: its own words may quote what is stored."""
    return getattr(failure, "sqlite_errorname", type(failure).__name__)
