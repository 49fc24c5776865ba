"""`make demo`: the README's journey, run as it is written there."""
