"""What can go wrong between a client and its service."""

from collections.abc import Sequence


class ClientError(Exception):
    """A request was not answered as it was meant."""


class UnreachableError(ClientError):
    """No answer came, however often it was asked."""


class StrangerError(ClientError):
    """What answers is no Facebridge, or another version of it."""


class ProblemError(ClientError):
    """The service refused, or failed (RFC 9457)."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        errors: Sequence[tuple[str, str]] = (),
        *,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{slug}: {detail}" + "".join(f"; {pointer}: {reason}" for pointer, reason in errors))
        self.status = status
        self.slug = slug
        """The end of the problem's type, such as `space-mismatch`."""
        self.detail = detail
        self.errors = tuple(errors)
        """JSON pointers into what was sent, and reasons."""
        self.retry_after = retry_after
        """Seconds, where it may be asked again."""
        self.request_id = request_id
        """By which the service's log knows the request."""
