"""Runs jobs: one after the other, beside requests."""
