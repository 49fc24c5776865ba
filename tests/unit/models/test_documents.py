import hashlib
import json

import pytest
from pydantic import TypeAdapter

from models.documents import canonical_json, parse_document, readable_json, sha256_hex
from models.errors import BundleError, ContractError, SpaceError

NUMBERS = TypeAdapter(dict[str, list[int]])


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == b'{"a":[1.5,null],"b":1}'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


def test_canonical_json_is_utf8_and_not_escaped() -> None:
    assert canonical_json("Zoë") == b'"Zo\xc3\xab"'


def test_readable_json_holds_the_same_value_and_ends_with_a_newline() -> None:
    value = {"b": {"d": 1, "c": "Zoë"}, "a": [1, 2]}
    text = readable_json(value)
    assert json.loads(text) == value
    assert text.endswith(b"}\n")
    assert text.index(b'"a"') < text.index(b'"b"') < text.index(b'"c"') < text.index(b'"d"')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_numbers_that_json_does_not_know_are_never_written(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)
    with pytest.raises(ValueError, match="JSON"):
        readable_json(value)


def test_a_good_document_is_read() -> None:
    assert parse_document(NUMBERS, b'{"a": [1, 2]}', what="numbers", error=ContractError) == {"a": [1, 2]}


@pytest.mark.parametrize("error", [BundleError, SpaceError])
def test_a_fault_is_raised_as_the_callers_error_with_its_place(error: type[ContractError]) -> None:
    with pytest.raises(error, match=r"^numbers: .* \(at a/1\)$") as failure:
        parse_document(NUMBERS, '{"a": [1, "CANARY"]}', what="numbers", error=error)
    assert type(failure.value) is error
    assert "CANARY" not in str(failure.value)
    assert failure.value.__cause__ is None


@pytest.mark.parametrize("text", ['{"a": ["1"]}', '{"a": [true]}', '{"a": [1.0]}', '{"a": null}'])
def test_reading_is_strict_and_converts_nothing(text: str) -> None:
    with pytest.raises(ContractError, match="numbers"):
        parse_document(NUMBERS, text, what="numbers", error=ContractError)


def test_sha256_is_that_of_the_standard_library() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_hex(b"face") == hashlib.sha256(b"face").hexdigest()
