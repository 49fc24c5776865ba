"""Losses, one a file, each with the paper and equation it follows."""
