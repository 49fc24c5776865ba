"""What a user of `facebridge-train` can get wrong. Each message is one line: what, where, and what to do."""


class TrainingError(ValueError):
    """The command cannot do what was asked with what was given."""


class EncoderError(TrainingError):
    """An encoder, its description, or what it puts out."""


class SourceError(TrainingError):
    """A folder, archive or list of pictures."""


class JoinError(TrainingError):
    """Two feature sets that should be of the same pictures."""


class ExportError(TrainingError):
    """A model that does not give the same numbers after export."""


class SyntheticError(TrainingError):
    """A world that cannot be made as asked."""
