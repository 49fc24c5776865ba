"""A world of procedural faces: identities, pictures and exact labels, all from one seed. Nobody real is in it."""
