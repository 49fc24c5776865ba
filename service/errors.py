"""What can go wrong, in the words of the domain; `service/api/problems.py` gives each its status, once.

    FacebridgeError
    |- InvalidInputError        the request cannot be meant
    |  |- DimensionMismatchError, NonFiniteVectorError, ZeroNormVectorError, InvalidNameError, ImageRejectedError
    |  |- NoRouteError          no chain of translators leads from one space to the other
    |  |- NoOperatingPointError no threshold is known at the asked rate
    |  |- LowConfidenceError    a translation can be trusted less than was asked for
    |  |- LowNormError          a feature is shorter than those of good pictures
    |  |- SnapshotCorruptError  a snapshot is not what was written
    |- NotFoundError
    |- AlreadyExistsError
    |- DuplicateSubjectError    a face is enrolled under another name
    |- SpaceMismatchError       vectors of two spaces would have been compared
    |  |- SuspectedSpaceError   vectors that claim a space do not look like it
    |- GenerationChangedError   what was meant is of another generation of a gallery
    |- MigrationInProgressError a gallery is being migrated, and this has to wait
    |- JobStateError            a job is not in a state in which this can be done
    |  |- GatesFailedError      a migration has not been good enough to cut over by itself
    |  |- RollbackIncompleteError  going back would leave templates out
    |- RollbackExpiredError     the generation before is not there any more
    |- BatchTooLargeError
    |- OverloadedError          try again later
    |  |- QueueFullError, DrainingError
    |- EngineError              a model failed on valid input
    |- StorageError             a write could not be recorded
    |  |- InsufficientStorageError, ReadOnlyError
    |  |- StateAwayError       what replicas share cannot be reached
    |  |- DamagedError          what is on disk is not what was put there
    |- StartupError             the service cannot start as configured

Messages name what the service knows (spaces, routes, limits) and never repeat what came in.
"""

from collections.abc import Sequence


class FacebridgeError(Exception):
    """Anything the service refuses or fails to do."""

    def __init__(self, message: str = "", rows: Sequence[tuple[int, str]] = ()) -> None:
        """`rows` are what is wrong with single rows of what came in."""
        super().__init__(message)
        self.rows = tuple(rows)


class InvalidInputError(FacebridgeError):
    """The input cannot be what was meant."""


class DimensionMismatchError(InvalidInputError):
    """A vector has not as many numbers as its space."""


class NonFiniteVectorError(InvalidInputError):
    """A vector holds NaN or infinity."""


class ZeroNormVectorError(InvalidInputError):
    """A vector has no direction."""


class InvalidNameError(InvalidInputError):
    """A name has characters or a length that names may not have."""


class ImageRejectedError(InvalidInputError):
    """The bytes are not a picture that can be used, or no encoder is there for it."""


class NoRouteError(InvalidInputError):
    """No chain of translators leads from the source to the target space."""


class NoOperatingPointError(InvalidInputError):
    """No threshold was measured at the asked false-match rate."""


class LowConfidenceError(InvalidInputError):
    """A translation can be trusted less than was asked for."""


class LowNormError(InvalidInputError):
    """A feature is shorter than those of good pictures."""


class SnapshotCorruptError(InvalidInputError):
    """A snapshot is not what was written."""


class GenerationChangedError(FacebridgeError):
    """What was meant is of another generation of a gallery than the active one."""


class MigrationInProgressError(FacebridgeError):
    """A gallery is being migrated; what was asked for has to wait until that has ended."""


class JobStateError(FacebridgeError):
    """A job is not in a state in which what was asked for can be done."""


class GatesFailedError(JobStateError):
    """A migration has not been good enough to be cut over without being forced to."""


class RollbackIncompleteError(JobStateError):
    """Going back would leave templates out."""


class RollbackExpiredError(FacebridgeError):
    """The generation before is not there any more."""


class NotFoundError(FacebridgeError):
    """There is no such thing, or not for this caller."""


class AlreadyExistsError(FacebridgeError):
    """Something of that name is there already."""


class DuplicateSubjectError(FacebridgeError):
    """A face is enrolled under another name."""


class SpaceMismatchError(FacebridgeError):
    """Vectors of two spaces would have been compared."""


class SuspectedSpaceError(SpaceMismatchError):
    """What arrives under the name of a space does not look like features of it."""


class BatchTooLargeError(FacebridgeError):
    """More rows than one request may hold."""


class OverloadedError(FacebridgeError):
    """The service cannot take this now; the same request may succeed later."""


class QueueFullError(OverloadedError):
    """As much work is waiting as may wait."""


class DrainingError(OverloadedError):
    """The service is stopping and takes nothing new."""


class EngineError(FacebridgeError):
    """A model failed on input that was valid."""


class StorageError(FacebridgeError):
    """A write could not be recorded, or what is recorded not read."""


class StateAwayError(StorageError):
    """What replicas share cannot be reached just now."""


class InsufficientStorageError(StorageError):
    """The disk is full; nothing of the write was kept."""


class ReadOnlyError(StorageError):
    """Nothing is written any more, as the disk failed; whether this was kept is known after the next start."""


class DamagedError(StorageError):
    """What is on disk is not what was put there."""


class StartupError(FacebridgeError):
    """The service cannot start as configured; the message is one line for the operator."""
