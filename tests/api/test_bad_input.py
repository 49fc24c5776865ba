"""Whatever is sent, the answer is a problem that says what is wrong and repeats nothing of what was sent."""

import asyncio
import base64
import contextlib
import io
import json
import random
import struct
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import pytest_asyncio

from models.npy import write_npy
from service.api import bodies
from service.api.problems import Problem
from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.conftest import MakeApp
from tests.api.refusals import CANARY, CANARY_NUMBER, JSON, NPY, NPZ, ROW, VALID, assert_clean, post
from tests.api.world import A, base64_of, feature_set, features, npy, npz, picture_bytes, running

URLS = (
    "/translate?source=a&target=b",
    "/verify",
    "/identify?gallery=people&space=a",
    "/galleries",
    "/galleries/people/templates",
    "/galleries/people/erasures",
    "/galleries/people/restore",
)
READ = (JSON, NPY, NPZ, "Application/JSON; charset=utf-16")
OTHERS = (
    "text/plain",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    f"{CANARY}/{CANARY}",
    ";;;",
    "",
    None,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small(bundles: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An app whose limits are small: 4 KiB of JSON, 8 KiB of binary, pictures of 20,000 pixels."""
    settings = Settings(bundles=bundles, device="cpu", max_json_bytes=4096, max_binary_bytes=8192, max_pixels=20_000)
    async with running(create_app(settings, store=OracleGalleryStore())) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        yield client


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def zip_bomb(num_bytes: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feature.npy", bytes(num_bytes))
    return stream.getvalue()


RAW: dict[str, bytes] = {
    "empty": b"",
    "space": b"  \n",
    "a byte order mark": b'\xef\xbb\xbf{"name": "x", "space": "a"}',
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "NaN": b'{"source":"a","target":"b","features":[[NaN,0.7182818284]]}',
    "Infinity": b'{"source":"a","target":"b","features":[[Infinity]]}',
    "minus Infinity": b'{"source":"a","target":"b","features":[[-Infinity]]}',
    "a number beyond float64": b'{"source":"a","target":"b","features":[[1e400]]}',
    "a number far below zero": b'{"fmr":-1e400}',
    "an integer of 5000 digits": b'{"fmr":' + b"9" * 5000 + b"}",
    "an integer beyond 64 bits": b'{"top_k":18446744073709551616}',
    "leading zero": b'{"fmr":00.1}',
    "hexadecimal": b'{"fmr":0x10}',
    "an escaped lone surrogate": b'{"name":"Canary7Qx\\ud800","space":"a"}',
    "an escaped low surrogate": b'{"name":"\\udc00Canary7Qx","space":"a"}',
    "an escaped lone surrogate as key": b'{"\\ud800":1}',
    "a raw surrogate": b'{"name":"Canary7Qx\xed\xa0\x80","space":"a"}',
    "invalid UTF-8": b'{"name":"Canary7Qx\xff","space":"a"}',
    "overlong UTF-8": b'{"name":"\xc0\xaf","space":"a"}',
    "a raw control character": b'{"name":"Canary7Qx\x01"}',
    "an escaped NUL": b'{"name":"Canary7Qx\\u0000","space":"a"}',
    "a key twice": b'{"name":"x","name":"Canary7Qx","space":"a"}',
    "a key twice, once escaped": b'{"name":"x","n\\u0061me":"Canary7Qx","space":"a"}',
    "a key twice, inside": b'{"a":{"space":"a","space":"b"},"b":{}}',
    "a key twice, in a list": b'{"space":"a","templates":[{"subject":"a","subject":"b"}]}',
    "nested 17 deep": b'{"x":' + b"[" * 17 + b"]" * 17 + b"}",
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 1,000 deep": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "left open 100,000 deep": b"[" * 100_000,
    "truncated": b'{"source":"a","target":"b","feat',
    "trailing comma": b'{"name":"Canary7Qx",}',
    "two documents": b"{}{}",
    "a comment": b'{"name":"x"} // Canary7Qx',
    "single quotes": b"{'name':'Canary7Qx'}",
    "null": b"null",
    "a number": b"0.7182818284",
    "a string": b'"Canary7Qx"',
    "a list": b'["Canary7Qx"]',
    "an empty object": b"{}",
    "unknown keys": b'{"Canary7Qx":1,"Canary7Qx/~":{"Canary7Qx":2}}',
    "many unknown keys": b"{" + b",".join(b'"Canary7Qx%d":1' % i for i in range(5000)) + b"}",
    "binary": bytes(range(256)),
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.",
    "an npy cut short": write_npy(np.ones((4, 8), dtype=np.float32))[:-1],
    "an npy header cut short": write_npy(np.ones((4, 8), dtype=np.float32))[:40],
    "an npy with more bytes than it says": write_npy(np.ones((4, 8), dtype=np.float32)) + b"Canary7Qx",
    "an npy of objects": npy(np.array([{"Canary7Qx": 1}], dtype=object)),
    "an npy of integers": npy(np.ones((2, 8), dtype=np.int64)),
    "an npy of booleans": npy(np.ones((2, 8), dtype=bool)),
    "an npy of complex numbers": npy(np.ones((2, 8), dtype=np.complex64)),
    "an npy of text": npy(np.array([[CANARY] * 8])),
    "an npy of bytes": npy(np.array([[CANARY.encode()] * 8])),
    "an npy of records": npy(np.ones(2, dtype=[(CANARY, "f4")])),
    "an npy of dates": npy(np.zeros((2, 8), dtype="M8[s]")),
    "an npy without axes": npy(np.array(1.0)),
    "an npy of one axis": npy(np.ones(8)),
    "an npy of three axes": npy(np.ones((1, 1, 8))),
    "an npy without rows": npy(np.ones((0, 8))),
    "an npy without columns": npy(np.ones((3, 0))),
    "an npy of the wrong dimension": npy(np.ones((2, 9))),
    "an npy of NaN": npy(np.full((2, 8), np.nan)),
    "an npy of infinity": npy(np.full((2, 8), -np.inf, dtype=np.float16)),
    "an npy of long doubles beyond float64": npy(np.full((2, 8), np.longdouble("1e4000"))),
    "an npy of zeros": npy(np.zeros((2, 8), dtype=np.float32)),
    "an npy of denormal numbers": npy(np.full((2, 8), 5e-324)),
    "an npy with a huge shape": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }".ljust(117)
    + b"\n",
    "an npy with a negative shape": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }".ljust(117)
    + b"\n",
    "an npy with code in its header": b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': __import__('os').system('true'), 'shape': (1,)}".ljust(117)
    + b"\n",
    "an npz cut short": feature_set(A, features(3), ["a", "b", "c"])[:-30],
    "an npz with a flipped byte": bytes(
        byte ^ (64 if place == 300 else 0) for place, byte in enumerate(feature_set(A, features(3), ["a", "b", "c"]))
    ),
    "an npz without features": npz(A, {"image": np.array([CANARY]), "subject": np.array([CANARY])}),
    "an npz with an unknown column": feature_set(A, features(1), ["a"], Canary7Qx=np.ones(1)),
    "an npz with a spoilt label": feature_set(A, features(1), ["a"], label_Canary7Qx=np.ones((1, 2))),
    "an npz with a picture twice": npz(
        A, {"feature": features(2), "image": np.array([CANARY, CANARY]), "subject": np.array(["a", "b"])}
    ),
    "an npz with a quote in a key": npz(
        A, {"feature": features(2), "image": np.array([f"it's \"{CANARY}"] * 2), "subject": np.array(["a", "b"])}
    ),
    "an npz with some subjects": feature_set(A, features(2), [CANARY, ""]),
    "an npz with a bad space": npz(f'{{"{CANARY}": 1}}', {"feature": features(1)}),
    "an npz whose space is no JSON": npz(CANARY, {"feature": features(1)}),
    "an npz whose space has an unknown key": npz(
        json.dumps({"name": "a", "dimension": 8, "encoder": "external:x", f"{CANARY} (at x)": CANARY}),
        {"feature": features(1), "image": np.array(["x"]), "subject": np.array(["x"])},
    ),
    "an npz of another dimension than its space": npz(
        json.dumps({"name": CANARY.lower(), "dimension": 9, "encoder": "external:x"}),
        {"feature": features(1), "image": np.array(["x"]), "subject": np.array(["x"])},
    ),
    "an npz of zeros": feature_set(A, 0 * features(1), [CANARY]),
    "an npz of objects": npz(A, {"feature": np.array([{CANARY: 1}], dtype=object)}),
    "an empty zip": b"PK\5\6" + bytes(18),
}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", RAW)
async def test_bytes_that_nobody_should_send_get_a_problem_however_they_are_called(
    people: httpx.AsyncClient, url: str, name: str
) -> None:
    for content_type in READ:
        assert_clean(await post(people, url, RAW[name], content_type), (name, content_type))


@pytest.mark.parametrize(
    "name",
    [
        *("NaN", "Infinity", "minus Infinity", "a number beyond float64", "invalid UTF-8", "a raw surrogate"),
        *("an escaped lone surrogate", "a key twice", "a key twice, once escaped", "a key twice, inside"),
        *("a key twice, in a list", "nested 17 deep", "nested 100,000 deep", "truncated", "empty", "a byte order mark"),
        *("many unknown keys", "two documents"),
    ],
)
async def test_what_is_not_json_is_called_so(people: httpx.AsyncClient, name: str) -> None:
    response = await post(people, "/galleries", RAW[name])
    assert (response.status_code, assert_clean(response)) == (400, "malformed-json")


@pytest.mark.parametrize("content_type", OTHERS)
@pytest.mark.parametrize("url", URLS)
async def test_other_content_types_are_unsupported(
    people: httpx.AsyncClient, url: str, content_type: str | None
) -> None:
    for body in (b"", b"{}", f'{{"name": "{CANARY}"}}'.encode()):
        response = await post(people, url, body, content_type)
        assert (response.status_code, assert_clean(response)) == (415, "unsupported-media-type")


class TestRepeatedKeys:
    @pytest.mark.parametrize(
        "document",
        [
            {"a": '":', "b": '"b":'},
            {"a": 'x":"y', 'b":': "c"},
            {"a": "\\", "b": '\\"', "c": '\\\\":'},
            ['":', ":", '":'],
            ["x", ":", "y", ":"],
            {":": ":", "::": [":", '":']},
            {"": "", " ": " : "},
            {'"': {'"': {'"': '"'}}},
            {"\\": {"\\\\": '\\":'}},
            [{"a": 1}, {"a": 1}, {"a": {"a": 1}}],
            {"é": 1, "日本": '":', "\u2028": 2},
            {"a\nb": "\n:", "c": "\t:"},
        ],
    )
    @pytest.mark.parametrize(("item", "key"), [(",", ":"), (" ,\n", "\t: "), (",", " \r\n :")])
    def test_text_that_looks_like_keys_is_not_counted(self, document: Any, item: str, key: str) -> None:
        for ascii_only in (True, False):
            data = json.dumps(document, separators=(item, key), ensure_ascii=ascii_only).encode()
            assert bodies.decode_json(data) == document

    @pytest.mark.parametrize(
        "text",
        [
            r'{"a":1,"a":1}',
            r'{"a":1,"\u0061":1}',
            r'{"a" :1,"\u0061"' + "\n\t:2}",
            r'{"\"":1,"\u0022":2}',
            r'{"x":"v",":":1,"x":2}',
            r'{"x":"\\","x":2}',
            r'[{"a":{"b":1,"b":2}}]',
            r'{"":1,"":2}',
            r'{"/":1,"\/":2}',
        ],
    )
    def test_a_key_is_the_same_however_it_is_written(self, text: str) -> None:
        with pytest.raises(Problem, match="same key twice"):
            bodies.decode_json(text.encode())

    def test_random_documents_are_never_refused(self) -> None:
        rng = random.Random(0)

        def value(depth: int) -> Any:
            kind = rng.randrange(6 if depth < 4 else 3)
            if kind > 3:
                return {text(): value(depth + 1) for _ in range(rng.randrange(4))}
            if kind == 3:
                return [value(depth + 1) for _ in range(rng.randrange(4))]
            return rng.choice([text(), 1.5, None])

        def text() -> str:
            return "".join(rng.choice('":\\, {}[]aé\n') for _ in range(rng.randrange(6)))

        for _ in range(2000):
            document = value(0)
            assert bodies.decode_json(json.dumps(document).encode()) == document

    @pytest.mark.parametrize("unit", [b'\\"', b'\\\\\\"', b'",":', b'" :"', b"\\u0022"])
    def test_checking_takes_time_in_proportion_to_the_length(self, unit: bytes) -> None:
        def seconds(num_units: int) -> float:
            data = b'["' + unit * num_units + b'"]'
            started = time.process_time()
            with contextlib.suppress(Problem):
                bodies.decode_json(data)
            return time.process_time() - started

        # Quadratic, this would take minutes: 40 kB of escaped quotes took 5 s.
        assert seconds(200_000) < 2


def wrong_bodies() -> Iterator[tuple[str, dict[str, Any] | str]]:
    """One thing wrong with each, in a body that is otherwise sound."""
    wrong_features: list[Any] = [
        *(
            None,
            True,
            1,
            CANARY,
            "",
            "====",
            "AAA",
            "é" * 4,
            {},
            {CANARY: 1},
            [],
            [[]],
            [None],
            [True],
            ["1"],
            [CANARY],
        ),
        *([0.0] * 8, [1.0] * 7, [1.0] * 9, [1e-300] * 8, [1] * 70_000, base64_of(b"\x00\x00\xc0\x7f" * 8)),
        *(base64_of(b"abc"), base64_of(bytes(32)), base64_of(b"\x01" * 36), [[1.0]], [float(CANARY_NUMBER)] * 5),
    ]
    names: list[Any] = [
        None,
        1,
        True,
        [],
        {},
        CANARY,
        f"{CANARY}\x00",
        "a" * 65,
        "\x7f",
        "../a",
        "a\u0000b",
        f"%00{CANARY}",
        "a\n",
    ]
    for feature in wrong_features:
        yield "/verify", {"a": {"space": "a", "feature": feature}, "b": {"space": "a", "feature": ROW}}
        yield "/identify", {"gallery": "people", "probe": {"space": "a", "feature": feature}}
        yield "/galleries/people/templates", {"space": "a", "templates": [{"subject": "x", "feature": feature}]}
        if feature != [1.0] * 7:
            yield "/translate", {"source": "a", "target": "b", "features": [ROW, feature]}
        if isinstance(feature, list) or feature not in ("",):
            yield "/translate", {"source": "a", "target": "b", "features": feature}
    for name in names:
        yield "/translate", {"source": name, "target": "b", "features": [ROW]}
        yield "/translate", {"source": "a", "target": name, "features": [ROW]}
        yield "/verify", {"a": {"space": name, "feature": ROW}, "b": {"space": "a", "feature": ROW}}
        yield "/identify", {"gallery": name, "probe": {"space": "a", "feature": ROW}}
        yield "/identify", {"gallery": "people", "probe": {"space": name, "feature": ROW}}
        yield "/galleries", {"name": name, "space": "a"}
        yield "/galleries", {"name": "new", "space": name}
        yield "/galleries/people/templates", {"space": name, "templates": [{"subject": "x", "feature": ROW}]}
    for subject in (None, 1, "", "a\x00b", f"{CANARY}\n", "x" * 129, f"{CANARY}\x7f", [CANARY]):
        yield "/galleries/people/templates", {"space": "a", "templates": [{"subject": subject, "feature": ROW}]}
    rates: list[Any] = [0, 1, -0.1, 2, True, CANARY, [], float(CANARY_NUMBER), 1e-300, 5e-324, 10**30]
    counts: list[Any] = [0, -1, 1001, 10**18, 2**63, 10**30, 1.0, 1.5, True, None, "5", CANARY, [], -(10**18)]
    lists: list[Any] = [None, {}, [], [None], [[]], [{}], [{}] * 20, "x", 1, [{"subject": "x"}]]
    for top_k in counts:
        yield "/identify", json.dumps({"gallery": "people", "probe": {"space": "a", "feature": ROW}, "top_k": top_k})
    for fmr in rates:
        yield "/verify", json.dumps(VALID["/verify"] | {"fmr": fmr})
    for image in wrong_images():
        sample = {"image": image}
        yield "/verify", {"a": {"space": "a"} | sample, "b": {"space": "a", "feature": ROW}}
        yield "/identify", {"gallery": "people", "probe": {"space": "a"} | sample}
        yield "/galleries/people/templates", {"space": "a", "templates": [{"subject": "x"} | sample]}
    for landmarks in wrong_landmarks():
        sample = {"image": base64_of(picture_bytes((9, 8, 7))), "landmarks": landmarks}
        yield "/identify", json.dumps({"gallery": "people", "probe": {"space": "a"} | sample})
    picture = base64_of(picture_bytes((9, 8, 7)))
    for probe in (
        {"space": "a"},
        {"space": "a", "feature": ROW, "image": picture},
        {"space": "a", "feature": ROW, "landmarks": [[1, 2]] * 5},
        {"feature": ROW},
        {"space": "a", "feature": ROW, CANARY: 1},
    ):
        yield "/identify", {"gallery": "people", "probe": probe}
    for templates in lists:
        yield "/galleries/people/templates", {"space": "a", "templates": templates}


def wrong_images() -> list[Any]:
    jpeg = picture_bytes((9, 8, 7))
    gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    wrong = [
        *(b"", b"x", CANARY.encode(), jpeg[: len(jpeg) // 2], jpeg[:20], png_of_size(60_000, 60_000)),
        *(png_of_size(10_000, 9_500), png_of_size(0, 0), png_of_size(2**31 - 1, 2**31 - 1), png_of_size(112, 112)),
        *(gif, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"BM" + bytes(60), b"RIFF\xff\xff\xff\xffWEBPVP8 "),
        *(b"%!PS-Adobe", b"II*\x00" + bytes(40), picture_bytes((1, 2, 3), format_="GIF"), b"\xff\xd8\xff"),
    ]
    return [None, 1, [], CANARY, "é", "A===", *(base64.b64encode(data).decode() for data in wrong)]


def wrong_landmarks() -> list[Any]:
    return [
        *(1, "x", [], [[1, 2]] * 4, [[1, 2]] * 6, [[1, 2]] * 5, [[0.0, 0.0]] * 5, [[1]] * 5, [[1, 2, 3]] * 5),
        *([[True, 1]] * 5, [["1", "2"]] * 5, [[1e308, float(i)] for i in range(5)], [[1e7 * i, i] for i in range(5)]),
        *([[10**30, i] for i in range(5)], {"0": 1}, [None] * 5),
    ]


async def test_each_single_fault_in_a_sound_body_is_refused(people: httpx.AsyncClient) -> None:
    num_cases = 0
    for url, body in wrong_bodies():
        text = body if isinstance(body, str) else json.dumps(body)
        assert_clean(await post(people, url, text), (url, text[:200]))
        num_cases += 1
    assert num_cases > 250
    assert (await people.get("/galleries/people")).json()["num_templates"] == 0
    assert len((await people.get("/galleries")).json()["galleries"]) == 1


PATHS = [
    *("%00", "%0a", "%ed%a0%80", "%ff", "%2e%2e", "%2F", "a%2Fb", ".", "%20", "-x", CANARY, "x" * 64, "x" * 5000),
    *("%C3%A9", "%F0%9F%98%80", "a%00b", f"{CANARY}%0d%0aset-cookie:x", "%25", "a;b", "%E2%80%AE"),
]


@pytest.mark.parametrize("part", PATHS)
async def test_odd_names_in_paths_are_refused_or_not_found(client: httpx.AsyncClient, part: str) -> None:
    assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    requests = [
        ("GET", f"/galleries/{part}/templates"),
        ("DELETE", f"/galleries/{part}/templates/x"),
        ("DELETE", f"/galleries/{part}/subjects/x"),
        ("DELETE", f"/galleries/people/templates/{part}"),
        ("DELETE", f"/galleries/people/subjects/{part}"),
        ("POST", f"/galleries/{part}/templates"),
    ]
    for method, path in requests:
        url = httpx.URL("http://facebridge", raw_path=path.encode())
        body = json.dumps(VALID["/galleries/people/templates"]) if method == "POST" else None
        response = await client.request(method, url, content=body, headers={"content-type": JSON})
        assert assert_clean(response, path) in ("not-found", "invalid-name", "invalid-request", "method-not-allowed")


@pytest.mark.parametrize(
    "query",
    [
        *(f"cursor={cursor}" for cursor in ("f" * 16, "9" * 32, "9" * 33, "-1", "%00", CANARY, "0x7f", "1%0a", "%ff")),
        *(f"limit={limit}" for limit in ("0", "-1", "1001", "9" * 5000, "1.5", "NaN", CANARY, "%00", "")),
        *(f"subject={subject}" for subject in ("x" * 129, CANARY * 20)),
    ],
)
async def test_odd_queries_are_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    assert_clean(await client.get(f"/galleries/people/templates?{query}"), query)


@pytest.mark.parametrize("subject", ["%00", "%ed%a0%80", "%ff", "..", "%27%20OR%201=1--", "", CANARY])
async def test_odd_subjects_in_queries_match_nobody(client: httpx.AsyncClient, subject: str) -> None:
    assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    body = {"space": "a", "templates": [{"subject": "ann", "feature": ROW}]}
    assert (await client.post("/galleries/people/templates", json=body)).status_code == 201
    response = await client.get(f"/galleries/people/templates?subject={subject}")
    assert (response.status_code, response.json()["templates"]) == (200, [])


@pytest.mark.parametrize(
    "query",
    [
        *("gallery=people&space=a&top_k=0", "gallery=people&space=a&top_k=9" + "9" * 60, f"gallery={CANARY}&space=a"),
        *("gallery=people&space=", f"gallery=people&space={CANARY}", "gallery=&space=a", "gallery=%00&space=%00"),
        *("gallery=people&space=%ed%a0%80", "gallery=people", "space=a", f"gallery=people&space=a&top_k={CANARY}"),
        *("gallery=" + "x" * 5000 + "&space=a", "gallery=people&space=" + "x" * 5000),
    ],
)
async def test_odd_queries_beside_an_array_are_refused(people: httpx.AsyncClient, query: str) -> None:
    assert_clean(await post(people, f"/identify?{query}", npy(features(1)), NPY), query)
    translate = query.replace("gallery=", "source=").replace("space=", "target=")
    assert_clean(await post(people, f"/translate?{translate}", npy(features(1)), NPY), query)


class TestLimits:
    async def test_a_body_that_does_not_come_is_given_up(self, make_app: MakeApp) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield b'{"name":'
            await asyncio.Event().wait()

        async with running(make_app(body_seconds=0.05)) as client:
            response = await client.post("/galleries", content=half(), headers={"content-type": JSON})
            assert (response.status_code, assert_clean(response)) == (408, "request-timeout")

    async def test_probes_times_candidates_are_bounded(self, make_app: MakeApp) -> None:
        async with running(make_app(max_candidates=6)) as client:
            await client.post("/galleries", json={"name": "people", "space": "a"})
            body, url = npy(features(3).astype(np.float32)), "/identify?gallery=people&space=a&top_k="
            assert (await client.post(url + "2", content=body, headers={"content-type": NPY})).status_code == 200
            response = await post(client, url + "3", body, NPY)
            assert (response.status_code, assert_clean(response)) == (413, "batch-too-large")

    @pytest.mark.parametrize(
        ("url", "content_type", "limit"),
        [
            ("/galleries", JSON, 4096),
            ("/verify", JSON, 4096),
            ("/translate?source=a&target=b", JSON, 4096),
            ("/translate?source=a&target=b", NPY, 8192),
            ("/identify?gallery=people&space=a", NPY, 8192),
            ("/identify?gallery=people", NPZ, 8192),
            ("/galleries/people/templates", NPZ, 8192),
            ("/galleries/people/templates", JSON, 4096),
        ],
    )
    async def test_a_body_beyond_the_limit_is_too_large_declared_or_not(
        self, small: httpx.AsyncClient, url: str, content_type: str, limit: int
    ) -> None:
        sent = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(1000):
                sent += 1024
                yield b" " * 1024

        for body in (b" " * (limit + 1), chunks()):
            response = await small.post(url, content=body, headers={"content-type": content_type})
            assert (response.status_code, assert_clean(response)) == (413, "payload-too-large")
        # Read no further than needed.
        assert sent <= limit + 2048
        within = await small.post(url, content=b" " * limit, headers={"content-type": content_type})
        assert within.status_code in (400, 422)

    @pytest.mark.parametrize("declared", ["9" * 18, "9" * 5000, "0" * 100 + "99999"])
    async def test_a_declared_length_beyond_the_limit_is_enough(self, small: httpx.AsyncClient, declared: str) -> None:
        headers = {"content-type": JSON, "content-length": declared}
        response = await small.post("/galleries", content=b"{}", headers=headers)
        assert (response.status_code, assert_clean(response)) == (413, "payload-too-large")

    @pytest.mark.parametrize(
        "declared", [b"-1", b"", b"0", b"1", b"1e9", b"\xb2", b"\xb9\xb2\xb3", b"0x10", b"+5", b"NaN"]
    )
    async def test_a_false_length_changes_nothing(self, small: httpx.AsyncClient, declared: bytes) -> None:
        headers = [(b"content-type", JSON.encode()), (b"content-length", declared)]
        assert_clean(await small.post("/galleries", content=b"{}", headers=headers))
        response = await small.post("/galleries", content=b" " * 5000, headers=headers)
        assert (response.status_code, assert_clean(response)) == (413, "payload-too-large")

    async def test_a_zip_that_unpacks_to_more_than_the_limit_is_refused(self, small: httpx.AsyncClient) -> None:
        for url in ("/identify?gallery=people", "/galleries/people/templates"):
            response = await post(small, url, zip_bomb(5_000_000), NPZ)
            assert (response.status_code, "unpacks" in response.text) == (422, True)
            assert_clean(response)

    async def test_a_picture_of_more_pixels_than_the_limit_is_refused(self, small: httpx.AsyncClient) -> None:
        stream = picture_bytes((1, 2, 3), size=150)
        body = {"gallery": "people", "probe": {"space": "a", "image": base64_of(stream)}}
        response = await small.post("/identify", json=body)
        assert (response.status_code, assert_clean(response)) == (422, "image-rejected")


async def test_a_million_faults_cost_no_more_than_a_few(people: httpx.AsyncClient) -> None:
    floods = [
        ("/translate", b'{"source":"a","target":"b","features":[' + b",".join([b"[null,null,null]"] * 60_000) + b"]}"),
        ("/translate", b'{"source":"a","target":"b","features":[[' + b",".join([b"null"] * 200_000) + b"]]}"),
        ("/galleries/people/templates", b'{"space":"a","templates":[' + b",".join([b"{}"] * 200_000) + b"]}"),
    ]
    for url, body in floods:
        started = time.process_time()
        assert_clean(await post(people, url, body))
        assert time.process_time() - started < 1.5


async def test_nothing_that_was_sent_is_logged(
    people: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    for url in URLS:
        for body in RAW.values():
            await post(people, url, body, rng_type(body))
    await people.get(f"/galleries/{quote(CANARY.lower())}/templates?subject={CANARY}")
    served = [record.getMessage() for record in caplog.records if record.name == "facebridge.requests"]
    assert len(served) == len(URLS) * len(RAW) + 1
    captured = capfd.readouterr()
    told = " ".join(served) + captured.out + captured.err
    assert CANARY.lower() not in told.lower()
    assert CANARY_NUMBER not in told


def rng_type(body: bytes) -> str:
    """The content type that fits the body best."""
    return NPY if body.startswith(b"\x93NUMPY") else NPZ if body.startswith(b"PK") else JSON


async def test_an_uploaded_body_of_zeros_is_no_feature_of_anybody(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        for body in (bytes(32), bytes(8192)):
            assert_clean(await post(client, "/identify?gallery=people&space=a", body, NPY))
