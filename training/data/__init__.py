"""Pictures in, features out, and pairs of feature sets."""
