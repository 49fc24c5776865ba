"""A service that is told to stop under load answers what it has begun, and is gone within half a minute.

A short version runs with every change; `make crash` does it fifty times (FACEBRIDGE_CRASHES).
"""

import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.access.audit import check_audit, read_audit
from service.access.keys import SCOPES, make_key
from service.galleries.embedded import EmbeddedGalleryStore
from tests.api.world import features, write_world
from tests.serving import serving

ROUNDS = 50 if int(os.environ.get("FACEBRIDGE_CRASHES", "6")) >= 20 else 3
CLIENTS = 16
GONE_SECONDS = 30.0
ROWS = features(64)


@dataclass
class Ledger:
    """What clients know of their requests, by the ids that they gave them."""

    enrolled: dict[str, str] = field(default_factory=dict)
    """Whom each request to enrol was about."""
    answered: dict[str, int] = field(default_factory=dict)
    """By which status, of those whose answer came to its end."""
    refused: list[str] = field(default_factory=list)
    """Who found nobody that listens any more."""
    cut_off: list[str] = field(default_factory=list)
    """What was sent while its connection was closed."""
    num_told: int = 0
    """Who heard from their last answer that there will be none after it over this connection."""


def client(url: str, key: str, name: str, ledger: Ledger) -> None:
    """Asks and enrols by turns, over one connection, until it is told that the service stops or hears nothing more."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=GONE_SECONDS)
    connection.connect()
    for number in range(1_000_000):
        request_id = f"{name}.{number}"
        feature = ROWS[number % len(ROWS)].tolist()
        body: dict[str, Any]
        if number % 3 == 0:
            path, subject = "/galleries/people/templates", f"s{request_id}"
            body = {"space": "a", "templates": [{"subject": subject, "feature": feature}]}
            ledger.enrolled[request_id] = subject
        else:
            path, body = "/identify", {"gallery": "people", "probe": {"space": "a", "feature": feature}}
        try:
            headers = {"content-type": "application/json", "x-api-key": key, "x-request-id": request_id}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
        except ConnectionRefusedError:
            ledger.refused.append(request_id)
            break
        except (OSError, http.client.HTTPException):
            ledger.cut_off.append(request_id)
            break
        ledger.answered[request_id] = response.status
        ledger.num_told += response.getheader("connection") == "close"
        if response.status == 503:
            break
    connection.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("bundles"))


def test_what_is_begun_is_answered(bundles: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys.json", "clients", SCOPES).text
    random.seed(5)
    num_answered, num_refused, num_cut_off, slowest = 0, 0, 0, 0.0
    everybody: dict[str, int] = {}
    for turn in range(ROUNDS):
        ledger = Ledger()
        with serving(bundles, tmp_path, "--log-level", "warning") as served:
            if turn == 0:
                begin(served.url, key)
            threads = [
                threading.Thread(target=client, args=(served.url, key, f"{turn}.{number}", ledger))
                for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            began = time.monotonic()
            while len(ledger.answered) <= CLIENTS:
                assert time.monotonic() < began + GONE_SECONDS
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.6))
            told = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(GONE_SECONDS) == 0
            slowest = max(slowest, time.monotonic() - told)
            for thread in threads:
                thread.join()
            assert served.process.stdout is not None
            # Nothing was given up: a server that does says so.
            assert "Cancel" not in served.process.stdout.read()
        assert set(ledger.answered.values()) <= {200, 201, 503}
        assert_nothing_was_dropped(tmp_path, turn, ledger)
        everybody |= {ledger.enrolled[one]: status for one, status in ledger.answered.items() if one in ledger.enrolled}
        num_answered += len(ledger.answered)
        # Nobody who asks all the time sends into a connection that is closed meanwhile.
        assert ledger.num_told >= CLIENTS // 2
        num_refused += len(ledger.refused)
        num_cut_off += len(ledger.cut_off)
    store = EmbeddedGalleryStore(tmp_path)
    there = {template.subject for template in store.templates("people", limit=1_000_000).templates}
    store.close()
    # Whoever was not told so is not there, and the other way round.
    assert there == {subject for subject, status in everybody.items() if status == 201}
    counts = f"{ROUNDS} stops, {num_answered:,} answers, then {num_refused} refused, {num_cut_off} cut off unseen"
    sys.stdout.write(f"{counts}; slowest {slowest:.1f} s\n")


def begin(url: str, key: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    headers = {"content-type": "application/json", "x-api-key": key}
    connection.request("POST", "/galleries", json.dumps({"name": "people", "space": "a"}), headers)
    assert connection.getresponse().status == 201
    connection.close()


def assert_nothing_was_dropped(data: Path, turn: int, ledger: Ledger) -> None:
    """What the service did is in its audit log; all of it has come to whoever asked."""
    check_audit(data / "audit")
    ids = [str(entry.get("request_id", "")) for entry in read_audit(data / "audit")]
    done = {one for one in ids if one.startswith(f"{turn}.")}
    assert done <= ledger.answered.keys()
    assert {one for one, status in ledger.answered.items() if status != 503} <= done
