"""The README does what it says: its journey is run as a stranger would, on the real faces."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.journey.script import journey_blocks, journey_script

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_journey_has_every_step() -> None:
    text = "\n".join(block for _, block in journey_blocks(README))
    for step in (
        "extract",
        "fit",
        "evaluate",
        "package",
        "serve",
        "/galleries",
        "/identify",
        "/translate",
        "/verify",
        "/erasures",
        "migrate start",
        "migrate rollback",
    ):
        assert step in text


@pytest.mark.real
def test_the_journey_enrols_a_thousand_subjects_and_identifies_them_from_the_other_encoder(
    tmp_path: Path, shared: Path
) -> None:
    (tmp_path / "shared").symlink_to(shared.resolve())
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    port = free_port()
    script = journey_script(README).replace("localhost:8000", f"localhost:{port}")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FACEBRIDGE_PORT": str(port),
    }
    environment.pop("FACEBRIDGE_SHARED", None)
    ran = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = re.search(r"^(\d+) probes, 1000 subjects, rank-1 (0\.\d+)$", ran.stdout, re.MULTILINE)
    assert found, ran.stdout[-2000:]
    assert int(found[1]) > 1000
    assert float(found[2]) >= 0.95
    drawn, plain = (
        [float(share) for share in shares]
        for shares in re.findall(r"^193 sketches, .*: rank-1 (0\.\d+), rank-5 (0\.\d+)$", ran.stdout, re.MULTILINE)
    )
    assert all(one > other + 0.05 for one, other in zip(drawn, plain, strict=True))
    assert "then 1000 people, now 999" in ran.stdout
    assert re.search(r"^sound: erasure of .+ from gallery people at ", ran.stdout, re.MULTILINE)
    assert '{"is_sound":true,' in ran.stdout
    native = re.search(
        r"^rank-1 of native probes: (0\.\d+) predicted \((0\.\d+) to ([01]\.\d+)\), (0\.\d+) found in generation 2$",
        ran.stdout,
        re.MULTILINE,
    )
    assert native, ran.stdout[-2000:]
    predicted, low, high, found_natively = map(float, native.groups())
    assert abs(predicted - found_natively) <= 0.02
    assert low <= found_natively <= high
    assert re.search(r"^job [0-9a-f]{16} is rolled-back$", ran.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/layouts.md",
        "docs/benchmarks.md",
        "docs/reliability.md",
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
