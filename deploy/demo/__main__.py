"""Run the demo, and leave its service running."""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from deploy.demo.answers import Answer, draw_answers
from deploy.demo.journeys import Journeys, Line
from deploy.demo.people import BUNDLES, CLOUD, EDGE, NAMES, People
from deploy.demo.running import LOG, ServiceError, check_port, start_service, stop_service

_SHOWN_PEOPLE = 2
_MOST_PEOPLE = 10_000
_MARK = "made-by-make-demo"
_SHOWN_CANDIDATES = 5
_PAGE_WIDTH = 120


def main() -> None:
    """Make people, serve, ask, and give account."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("run/demo"), help="made anew (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="of the service (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=1000, help="people in the gallery (default: %(default)s)")
    parser.add_argument("--stop", action="store_true", help="stop the service that an earlier demo left, and leave")
    options = parser.parse_args()
    if options.stop:
        print("stopped" if stop_service(options.folder) else "no demo service was running")
        return
    try:
        _check(options)
        stop_service(options.folder)
        check_port(options.port)
        _empty(options.folder)
    except (ServiceError, OSError) as failure:
        sys.exit(f"make demo: {failure}")
    try:
        _run(options)
    except BaseException as failure:
        stop_service(options.folder)
        _leave_the_log(options.folder)
        if isinstance(failure, KeyboardInterrupt):
            sys.exit("make demo: interrupted")
        if isinstance(failure, ServiceError | httpx.HTTPError | subprocess.CalledProcessError | OSError):
            sys.exit(f"make demo: {_in_one_line(failure)}")
        raise


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a number from 1 to 65535")
    return int(text)


def _check(options: argparse.Namespace) -> None:
    """Raises `ServiceError` where the demo cannot be shown; before anything is stopped, deleted or made."""
    if not _SHOWN_PEOPLE <= options.subjects <= _MOST_PEOPLE:
        raise ServiceError(f"--subjects must be from {_SHOWN_PEOPLE} to {_MOST_PEOPLE}")
    if not all((BUNDLES / name).is_dir() for name in NAMES):
        raise ServiceError(
            "its models are not all here; make demo-train builds them, in about an hour and a half on two cores"
        )
    folder = options.folder
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ServiceError(f"{folder} is no folder; choose another --folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise ServiceError(f"{folder} holds something that is no demo's; choose another --folder, or empty it")


def _empty(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).write_text("What lies here was made by make demo, which deletes it when it runs again.\n")


def _leave_the_log(folder: Path) -> None:
    """Delete what a demo that failed has made, but for what its service had to say."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (_MARK, LOG):
            path.unlink(missing_ok=True)


def _in_one_line(failure: BaseException) -> str:
    if isinstance(failure, subprocess.CalledProcessError):
        return f"the last command left with code {failure.returncode}"
    if isinstance(failure, httpx.HTTPStatusError):
        return f"{failure.request.url.path} answered {failure.response.status_code}: {failure.response.text.strip()}"
    return str(failure).partition("\n")[0]


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    people = People.make(options.folder, options.subjects)
    address = start_service(BUNDLES, options.folder, options.port)
    journeys = Journeys(people, address)
    lines = [journeys.enrol(), *journeys.translate(), *journeys.identify_photos()]
    lines += [journeys.identify_drawings(modality) for modality in ("caricature", "sketch")]
    lines += [*journeys.verify(), *journeys.migrate()]
    picture = options.folder / "answers.png"
    draw_answers(_answers(people, journeys)).save(picture)
    _print_account(lines, options.subjects, time.monotonic() - started)
    print(f"The service goes on at {address} (its routes: {address}/openapi.json; stop it: make demo-stop).")
    print(f"Faces: {options.folder / 'people.contact-sheet.png'}   some answers: {picture}")


def _answers(people: People, journeys: Journeys) -> list[Answer]:
    """Of the first people, whoever they are."""
    by_subject = {str(people.cloud.subject[row]): int(row) for row in people.gallery}
    answers = []
    for modality, space in (("photo", EDGE), ("caricature", CLOUD), ("sketch", CLOUD)):
        for row in people.probes(modality)[:_SHOWN_PEOPLE].tolist():
            own = str(people.cloud.subject[row])
            found = journeys.identify_picture(row, space, _SHOWN_CANDIDATES)
            candidates = [
                (people.picture(by_subject[one["subject"]]), one["score"], one["subject"] == own) for one in found
            ]
            answers.append(Answer(f"{modality}, {space}", people.picture(row), candidates))
    return answers


def _print_account(lines: list[Line], num_subjects: int, seconds: float) -> None:
    table = Table(title=f"{num_subjects} people whom no model has seen, in {seconds:.0f} seconds", title_justify="left")
    for column in ("journey", "what", "came of it"):
        table.add_column(column)
    for line in lines:
        if line.journey and line is not lines[0]:
            table.add_section()
        table.add_row(line.journey, line.what, line.figure)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_PAGE_WIDTH)).print(table)


if __name__ == "__main__":
    main()
