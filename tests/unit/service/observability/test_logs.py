"""Lines of the log."""

import io
import logging
from collections.abc import Iterator
from datetime import datetime

import orjson
import pytest

from service.observability import logs
from service.observability.logs import FACTS
from service.observability.stages import Took, unwatch, watch


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as JSON."""
    root, own = logging.getLogger(), logging.getLogger("facebridge")
    before, levels = root.handlers[:], (root.level, own.level)
    root.handlers.clear()
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def test_a_line_is_one_object_that_says_of_which_request_it_is(lines: io.StringIO) -> None:
    token = watch(Took("abc"))
    logging.getLogger("facebridge.requests").info('said "%s"', "a\nb", extra={FACTS: {"status": 200}})
    unwatch(token)
    logging.getLogger("facebridge.jobs").warning("no request")
    first, second = map(orjson.loads, lines.getvalue().splitlines())
    at = datetime.fromisoformat(first.pop("at"))
    assert at.tzinfo is not None
    said = {"level": "info", "logger": "facebridge.requests", "message": 'said "a\nb"', "request_id": "abc"}
    assert first == said | {"status": 200}
    assert "request_id" not in second


def test_a_failure_is_on_one_line_too(lines: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("facebridge").exception("it failed")
    (line,) = map(orjson.loads, lines.getvalue().splitlines())
    assert line["level"] == "error"
    assert "ValueError: broken" in line["exception"]


def test_others_are_heard_from_warnings_on(lines: io.StringIO) -> None:
    logging.getLogger("PIL").debug("what a picture holds")
    logging.getLogger("PIL").info("more of it")
    logging.getLogger("facebridge").debug("own")
    assert [orjson.loads(line)["message"] for line in lines.getvalue().splitlines()] == ["own"]
