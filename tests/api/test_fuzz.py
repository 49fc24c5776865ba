"""Sound requests, changed at random with a seed: answered or refused, never failed.

A short version runs with every change; `make soak` sends ten times as many (FACEBRIDGE_FUZZ).
"""

import copy
import json
import os
import random
import sys
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.refusals import CANARY, CANARY_NUMBER, JSON, NPY, NPZ, ROW, VALID, assert_clean, post
from tests.api.test_parquet import parquet
from tests.api.world import A, base64_of, feature_set, features, npy, picture_bytes

PARQUET = "application/vnd.apache.parquet"

TIMES = int(os.environ.get("FACEBRIDGE_FUZZ", "1"))
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, 1e308, -1e-308, "", CANARY, "a", "b", "\x00", "é", '":', [], {}, [[]]),
    *([{}], {CANARY: CANARY}, [1.0] * 8, ROW, base64_of(features(1)), "people", float(CANARY_NUMBER)),
]


def odd(rng: random.Random) -> Any:
    """A value of its own, as it may be changed in its turn."""
    return copy.deepcopy(rng.choice(ODD_VALUES))


def mutated(rng: random.Random, document: Any) -> Any:
    """A copy with one or two values replaced, removed, doubled or added."""
    changed = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 2))):
        here = changed
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(here[key], dict | list) and here[key] and rng.random() < 0.6:
                here = here[key]
                continue
            change = rng.randrange(4)
            if change == 0:
                del here[key]
            elif change == 1 and isinstance(here, dict):
                here[rng.choice([CANARY, "feature", "image", "space", "name"])] = odd(rng)
            elif change == 2 and isinstance(here, list):
                here.insert(rng.randrange(len(here) + 1), odd(rng))
            else:
                here[key] = odd(rng)
            break
    return changed


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or put in."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(spoilt) + 1)
        end = min(len(spoilt), start + rng.choice((1, 1, 2, 8, 64)))
        change = rng.randrange(4)
        if change == 0:
            del spoilt[start:end]
        elif change == 1:
            spoilt[start:start] = spoilt[start:end]
        elif change == 2:
            spoilt[start:start] = rng.choice(
                [b'"', b"\\", b"[", b"{", b"}", b"\x00", b"\xff", b"1e400", b"NaN", b":", b","]
            )
        elif start < len(spoilt):
            spoilt[start] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def assert_answer(response: httpx.Response, what: Any) -> bool:
    """A success, or a clean problem; whether it was refused."""
    if response.status_code in (200, 201):
        return False
    assert_clean(response, what)
    return True


async def test_changed_documents_are_answered_or_refused(people: httpx.AsyncClient) -> None:
    rng = random.Random(1)
    num_refused = 0
    num = 1200 * TIMES
    for case in range(num):
        url = rng.choice(list(VALID))
        text = json.dumps(mutated(rng, VALID[url]))
        num_refused += assert_answer(await post(people, url, text), (case, url, text))
    assert num / 2 < num_refused < num
    sys.stdout.write(f"{num} changed documents: {num_refused} refused\n")


@pytest.mark.parametrize(("content_type", "num"), [(JSON, 500), (NPY, 500), (NPZ, 500), (PARQUET, 15)])
async def test_damaged_bytes_are_answered_or_refused(people: httpx.AsyncClient, content_type: str, num: int) -> None:
    rng = random.Random(2)
    num *= TIMES
    binary = {
        NPY: npy(features(3).astype(np.float32)),
        NPZ: feature_set(A, features(3), ["ann", "bob", "ann"]),
        PARQUET: parquet(),
    }
    urls = {
        JSON: list(VALID),
        NPY: ["/translate?source=a&target=b", "/identify?gallery=people&space=a"],
        NPZ: ["/identify?gallery=people", "/galleries/people/templates"],
        PARQUET: ["/identify?gallery=people", "/galleries/people/templates"],
    }
    num_refused = 0
    for case in range(num):
        url = rng.choice(urls[content_type])
        sound = json.dumps(VALID[url]).encode() if content_type == JSON else binary[content_type]
        body = damaged(rng, sound)
        num_refused += assert_answer(await post(people, url, body, content_type), (case, url, body))
    assert num / 5 < num_refused < num
    sys.stdout.write(f"{num} damaged bodies of {content_type}: {num_refused} refused\n")


async def test_damaged_pictures_are_answered_or_refused(people: httpx.AsyncClient) -> None:
    rng = random.Random(3)
    num, num_refused = 200 * TIMES, 0
    for case in range(num):
        picture = damaged(rng, picture_bytes((200, 100, 50), format_=rng.choice(("JPEG", "PNG", "BMP", "WEBP"))))
        body = {"gallery": "people", "probe": {"space": "a", "image": base64_of(picture)}}
        response = await people.post("/identify", json=body)
        if response.status_code != 200:
            num_refused += 1
            assert assert_clean(response, case) == "image-rejected"
    assert 0 < num_refused < num
    sys.stdout.write(f"{num} damaged pictures: {num_refused} refused\n")
