"""Trainers: from pairs of features to a fitted translator. Each is one file with the published form it follows."""
