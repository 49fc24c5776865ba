"""The commands of `facebridge-train`, one a file: `add_arguments(parser)` and `run(options)`."""
