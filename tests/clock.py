"""A clock that tests turn."""


class Clock:
    """Says what it is set to, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now
