import sys

import pytest
import torch

from benchmarks import __main__ as program
from benchmarks import vector_stores


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_what_needs_a_gpu_is_refused_in_one_line_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "speed-cuda"])
    with pytest.raises(SystemExit):
        program.main()
    assert "speed-cuda needs a GPU" in capsys.readouterr().err


@pytest.fixture
def no_other_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_stores, "has_others", lambda: False)


@pytest.mark.usefixtures("no_other_stores")
def test_what_needs_the_extra_is_refused_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "vector-stores"])
    with pytest.raises(SystemExit):
        program.main()
    assert "vector-stores needs other stores of vectors: pip install" in capsys.readouterr().err


@pytest.mark.usefixtures("no_gpu", "no_other_stores")
def test_all_means_what_can_be_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def write(path: object, name: str, text: str) -> None:
        measured.append(name)

    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    monkeypatch.setattr(program, "BENCHMARKS", {name: lambda faces: "figures" for name in program.BENCHMARKS})
    monkeypatch.setattr(program, "write_section", write)
    program.main()
    assert measured == [name for name in program.BENCHMARKS if name not in ("speed-cuda", "vector-stores")]
