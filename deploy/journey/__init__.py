"""`make journey`: the README's journey on real faces, run as it is written there."""
