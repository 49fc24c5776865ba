"""The web: routes, schemas and problems. The only room, with `app.py`, that knows the web framework."""
