"""State that replicas share, on Redis. It may be lost at any moment: what was acknowledged is in a journal on disk too."""
