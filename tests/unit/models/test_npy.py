import io
import random
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.npy import NpyError, is_unicode, read_npy, write_npy

DTYPES = [
    "<f2",
    "<f4",
    "<f8",
    ">f4",
    ">f8",
    "|i1",
    "<i2",
    "<i4",
    "<i8",
    ">i4",
    "|u1",
    "<u8",
    "|b1",
    "<U1",
    "<U7",
    ">U5",
]


def saved(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def handmade(header: str, payload: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1")
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + payload


def described(descr: str, shape: str, payload: bytes = b"") -> bytes:
    return handmade(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n", payload)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (6,), (2, 3), (3, 0, 2), (2, 1, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reading_agrees_with_numpy(dtype: str, shape: tuple[int, ...], order: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, size=shape)
    array = np.asarray(values.astype(dtype), order="F" if order == "F" else "C")
    data = saved(array)
    read, expected = read_npy(data), np.load(io.BytesIO(data))
    assert read.dtype == expected.dtype
    assert read.shape == expected.shape
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_numpy_reads_what_is_written(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 100, size=shape).astype(dtype)
    for variant in (array, array.T):
        loaded = np.load(io.BytesIO(write_npy(variant)))
        assert loaded.shape == variant.shape
        assert loaded.dtype == variant.dtype
        np.testing.assert_array_equal(loaded, variant)


def test_the_same_array_is_written_to_the_same_bytes() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert write_npy(array) == write_npy(np.asfortranarray(array)) == write_npy(array.copy())


def test_version_2_is_read_and_version_3_refused() -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"
    payload = np.float32(2.5).tobytes()
    assert read_npy(handmade(header, payload, (2, 0))).tolist() == [2.5]
    with pytest.raises(NpyError):
        read_npy(handmade(header, payload, (3, 0)))
    with pytest.raises(NpyError):
        read_npy(handmade(header, payload, (9, 9)))


def test_the_array_is_a_read_only_view_of_the_bytes() -> None:
    data = saved(np.arange(1000.0))
    array = read_npy(data)
    assert not array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(data, dtype=np.uint8))


@pytest.mark.parametrize("array", [np.arange(6, dtype="<f4").reshape(2, 3), np.array(["Zoë", "b"]), np.array(7)])
def test_every_truncation_and_every_extension_is_refused(array: npt.NDArray[Any]) -> None:
    data = saved(array)
    for length in range(len(data)):
        with pytest.raises(NpyError):
            read_npy(data[:length])
    for extra in (b"\0", b"\0" * 4, data):
        with pytest.raises(NpyError):
            read_npy(data + extra)


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(100000, 100000, 100000)", f"({10**30},)", f"({2**63},)", f"({2**32}, {2**32})"]
)
def test_a_huge_declared_shape_with_little_data_is_refused_without_allocation(shape: str) -> None:
    data = described("'<f4'", shape, b"abcd")
    tracemalloc.start()
    try:
        with pytest.raises(NpyError, match="do not agree"):
            read_npy(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        saved(np.array([{"a": 1}, None])),
        saved(np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")])),
        described("'O'", "(1,)", b"x" * 8),
        described("'|O'", "(1,)", b"cos\nsystem\n(S'true'\ntR."),
    ],
)
def test_object_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(NpyError, match="never objects"):
        read_npy(data)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1 + 2j]),
        np.array([b"bytes"]),
        np.array(["2024-01-01"], dtype="M8[D]"),
        np.array([1], dtype="m8[s]"),
        np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
        np.zeros(2, dtype="V4"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_anything_but_numbers_and_text_are_refused(array: npt.NDArray[Any]) -> None:
    with pytest.raises(NpyError, match="plain numbers or text"):
        read_npy(saved(array))


@pytest.mark.parametrize(
    "data",
    [
        described("'<f4'", f"(0, {10**30})"),
        described("'<f4'", f"(0, {2**62}, {2**62})"),
        described("'<f4'", "(" + "1, " * 65 + ")", b"abcd"),
        described("'<f4'", "(True,)", b"abcd"),
        described("'<f4'", "(-1, -1)", b"abcd"),
        described("'<f4'", "(-1,)"),
        described("'<f4'", "1", b"abcd"),
        described("'<f4'", "(1.0,)", b"abcd"),
        described("'<f4'", "None", b"abcd"),
        described("'<U0'", "(5,)"),
        described("'<U0'", f"({10**30},)"),
        described("'<U2147483647'", "(1,)"),
        described("'<U99999999999999999999'", "(1,)"),
        described("()", "(1,)"),
        described("[]", "(1,)"),
        described("{}", "(1,)"),
        described("None", "(1,)"),
        described("1.5", "(1,)"),
        described("('<f4', (2,))", "(1,)", b"x" * 8),
        described("('<f4', 99999999999999999999)", "(1,)"),
        described("[(1, 2, 3, 4)]", "(1,)"),
        described("[('a', '<f4'), ('a', '<f4')]", "(1,)", b"x" * 8),
        described("'<f3'", "(1,)", b"xxx"),
        described("'|V99999999999999999999'", "(1,)"),
        handmade(""),
        handmade("{}"),
        handmade("[]"),
        handmade("{1: 2, 'a': 3, 'b': 4}"),
        handmade("{[]: 2}"),
        handmade("'''"),
        handmade("  {}\n {}"),
        handmade("{'descr': '<f4\0'}"),
        handmade("# -*- coding: utf-99 -*-\n{}"),
        handmade("__import__('os').abort()"),
        handmade("\xff\xfe\xfd"),
        handmade("{'descr': '<f4', 'fortran_order': 2, 'shape': ()}", b"abcd"),
        handmade("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'extra': 1}", b"abcd"),
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04",
        b"\x80\x04cposix\nsystem\n.",
    ],
    ids=range(41),
)
def test_a_garbage_header_is_refused(data: bytes) -> None:
    with pytest.raises(NpyError):
        read_npy(data)


@pytest.mark.parametrize("pair", ["()", "[]", "{}"])
@pytest.mark.parametrize("depth", [90, 500, 1900, 30_000])
def test_a_nesting_bomb_in_the_header_is_refused(pair: str, depth: int) -> None:
    bomb = pair[0] * depth + pair[1] * depth
    for header in (bomb, f"{{'descr': {bomb}, 'fortran_order': False, 'shape': ()}}", "-" * depth + "1"):
        with pytest.raises(NpyError):
            read_npy(handmade(header[:65_535]))


@pytest.mark.filterwarnings("ignore")
def test_random_damage_gives_an_array_or_npy_error_and_nothing_else() -> None:
    dice = random.Random(0)
    seeds = [saved(np.arange(6, dtype="<f4").reshape(2, 3)), saved(np.array(["Zoë", "b"])), saved(np.arange(3))]
    outcomes = {"array": 0, "refused": 0}
    for _ in range(3000):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice([1, 1, 2, 4])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            outcomes["array"] += isinstance(read_npy(bytes(data)), np.ndarray)
        except NpyError:
            outcomes["refused"] += 1
    assert outcomes["array"] + outcomes["refused"] == 3000
    assert outcomes["refused"] > 1000


@pytest.mark.parametrize("code", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
@pytest.mark.parametrize("order", ["<", ">"])
def test_text_that_is_not_unicode_is_refused(code: int, order: str) -> None:
    column = np.array([0x61, code], dtype=f"{order}u4").view(f"{order}U1")
    assert not is_unicode(column)
    with pytest.raises(NpyError, match="not Unicode"):
        read_npy(saved(column))


def test_text_at_the_edges_of_unicode_is_read() -> None:
    text = np.array(["\ud7ff\ue000", "\U0010ffff", "", "日本"])
    assert read_npy(saved(text)).tolist() == text.tolist()


def test_a_message_never_carries_what_was_sent() -> None:
    with pytest.raises(NpyError) as failure:
        read_npy(handmade("{'descr': 'CANARY', 'fortran_order': False, 'shape': ()}"))
    assert "CANARY" not in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__
