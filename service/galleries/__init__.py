"""Galleries: templates searchable in one space, behind the port in `port.py`."""
