import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from models.documents import canonical_json
from models.errors import SpaceError
from models.space import InputPreparation, Space, parse_space

PREPARATION = InputPreparation(
    size=(112, 112),
    crop=(8, 0, 104, 112),
    resize=(128, 128),
    colour="BGR",
    mean=(127.5, 127.5, 127.5),
    std=(128.0, 128.0, 128.0),
    detector="yunet",
)
SPACE = Space("reid-256", 256, "sha256:" + "ab" * 32, PREPARATION)


def document(**changes: Any) -> str:
    return json.dumps(SPACE.to_json() | changes)


def prepared(**changes: Any) -> str:
    return document(preparation=asdict(PREPARATION) | changes)


def test_a_space_survives_the_round_trip_through_json() -> None:
    assert parse_space(canonical_json(SPACE.to_json())) == SPACE
    assert parse_space(json.dumps(SPACE.to_json()).encode()) == SPACE
    bare = Space("cloud", 512, "external:vendor v7")
    assert parse_space(canonical_json(bare.to_json())) == bare


def test_the_fingerprint_is_the_head_of_sha256_over_sorted_json_without_the_name() -> None:
    text = '{"dimension":2,"encoder":"external:e","metric":"cosine","preparation":null}'
    assert Space("n", 2, "external:e").fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_fingerprint_ignores_the_name() -> None:
    assert replace(SPACE, name="another").fingerprint == SPACE.fingerprint


def test_the_fingerprint_changes_with_every_other_field() -> None:
    spaces = [
        SPACE,
        replace(SPACE, dimension=255),
        replace(SPACE, encoder="sha256:" + "ac" * 32),
        replace(SPACE, encoder="external:e"),
        replace(SPACE, preparation=None),
        *(
            replace(SPACE, preparation=replace(PREPARATION, **change))
            for change in (
                {"size": (113, 112)},
                {"crop": (8, 0, 104, 111)},
                {"crop": (0, 8, 104, 112)},
                {"resize": (128, 127)},
                {"colour": "RGB"},
                {"mean": (127.5, 127.5, 127.0)},
                {"std": (128.0, 128.0, 127.5)},
                {"detector": None},
                {"detector": "scrfd"},
            )
        ),
    ]
    assert len({space.fingerprint for space in spaces}) == len(spaces)


def test_integers_and_floats_and_negative_zero_give_the_same_fingerprint() -> None:
    as_floats = Space("a", 8, "external:e", InputPreparation(mean=(0.0, 1.0, 0.0), std=(1.0, 2.0, 3.0)))
    as_integers = Space("a", 8, "external:e", InputPreparation(mean=(0, 1, 0), std=(1, 2, 3)))
    negative = Space("a", 8, "external:e", InputPreparation(mean=(-0.0, 1.0, 0.0), std=(1.0, 2.0, 3.0)))
    assert as_floats.fingerprint == as_integers.fingerprint == negative.fingerprint
    read = parse_space(
        '{"name":"a","dimension":8,"encoder":"external:e","preparation":{"mean":[0,1,-0.0],"std":[1,2,3]}}'
    )
    assert read.fingerprint == as_floats.fingerprint


def test_omitted_fields_have_the_documented_defaults() -> None:
    space = parse_space('{"name":"a","dimension":1,"encoder":"external:e","preparation":{}}')
    assert space == Space("a", 1, "external:e", InputPreparation())
    assert space.metric == "cosine"


@pytest.mark.parametrize(
    "text",
    [
        document(dimensions=256),
        document(**{"evil\nkey\x1b[2J": 1}),
        document(**{"k" * 100_000: 1}),
        prepared(colour="GRAY"),
        prepared(alignment="none"),
        prepared(scale=2),
        *(document(name=name) for name in ("", "Upper", "-dash", ".dot", "a b", "a/b", "a\n", "a" * 64, "é", None, 3)),
        *(document(dimension=value) for value in (0, -1, 65537, 1.5, 128.0, "128", True, None, [1])),
        *(
            document(encoder=value)
            for value in ("", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "external:", "external:a\nb", "md5:1")
        ),
        document(encoder="external:" + "x" * 201),
        document(metric="l2"),
        *(
            prepared(mean=value)
            for value in ([float("nan"), 0, 0], [float("inf"), 0, 0], [0, 0], [0] * 4, ["1", 0, 0], "000")
        ),
        *(prepared(std=value) for value in ([0, 1, 1], [-1, 1, 1], [float("inf"), 1, 1])),
        *(prepared(size=value) for value in ([-1, 112], [4097, 4097], [112.5, 112], [0, 0])),
        *(
            prepared(crop=value)
            for value in ([0, 0, 113, 112], [0, 0, 112, 113], [5, 0, 5, 112], [9, 0, 8, 112], [-1, 0, 9, 9])
        ),
        *(prepared(resize=value) for value in ([0, 112], [112, 0], [-1, 112])),
        "",
        "{",
        "null",
        "[]",
        '["a",1,"external:e"]',
        "NaN",
        "[" * 100_000,
        '{"name":"a"}',
        '{"name":"a","dimension":' + "9" * 10_000 + ',"encoder":"external:e"}',
        '{"name":"\\ud800","dimension":1,"encoder":"external:e"}',
        '{"name":"\ud800","dimension":1,"encoder":"external:e"}',
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_a_malformed_space_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(SpaceError) as failure:
        parse_space(text, what="space of the gallery")
    message = str(failure.value)
    assert message.startswith("space of the gallery: ")
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("text", [b"\xff\xfe", b'{"name":"\xed\xa0\x80"}', b'{"name":"\xff"}', b"\0"])
def test_bytes_that_are_not_utf8_json_are_refused(text: bytes) -> None:
    with pytest.raises(SpaceError, match=r"^space: "):
        parse_space(text)


@pytest.mark.parametrize(
    ("text", "canary"),
    [
        (document(name="CANARY"), "CANARY"),
        (document(encoder="CANARY"), "CANARY"),
        (document(metric="CANARY"), "CANARY"),
    ],
)
def test_a_refusal_names_the_place_and_never_the_value(text: str, canary: str) -> None:
    with pytest.raises(SpaceError, match=r"\(at (name|encoder|metric)\)$") as failure:
        parse_space(text)
    assert canary not in str(failure.value)


def test_a_preparation_made_in_code_is_checked_too() -> None:
    with pytest.raises(SpaceError, match="crop"):
        InputPreparation(crop=(0, 0, 113, 112))
    with pytest.raises(SpaceError, match="resize"):
        InputPreparation(resize=(0, 112))
