"""Lines of the log, as text or as JSON, each with the id of the request that it is about."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

from service.observability.stages import watched

LogFormat = Literal["text", "json"]
FACTS = "facts"
"""The attribute of a record with what else is known, by name: `log.info("...", extra={FACTS: {...}})`."""
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: when, how grave, who says what, of which request, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        took = watched()
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if took is not None and took.request_id:
            line["request_id"] = took.request_id
        line |= getattr(record, FACTS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Log to standard error: everything of the service from a level on, and warnings of everybody else: at debug, decoders of
    pictures log what pictures hold.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("facebridge").setLevel(level.upper())
