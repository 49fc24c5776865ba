"""Recipes: each names a trainer with its settings and the way its result is exported."""
