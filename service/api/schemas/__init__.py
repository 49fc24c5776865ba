"""What goes over the wire, validated strictly: no unknown keys, no guessed types."""
