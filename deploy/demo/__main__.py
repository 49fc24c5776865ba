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
from deploy.demo.people import BUNDLES, CLOUD, EDGE, People
from deploy.demo.running import ServiceError, start_service, stop_service

_SHOWN_PEOPLE = 2
_SHOWN_CANDIDATES = 5
_PAGE_WIDTH = 120


def main() -> None:
    """Make people, serve, ask, and give account."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("run/demo"), help="made anew (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of the service (default: %(default)s)")
    parser.add_argument("--subjects", type=int, default=1000, help="people in the gallery (default: %(default)s)")
    parser.add_argument("--stop", action="store_true", help="stop the service that an earlier demo left, and leave")
    options = parser.parse_args()
    was_running = stop_service(options.folder)
    if options.stop:
        print("stopped" if was_running else "no demo service was running")
        return
    if options.subjects < _SHOWN_PEOPLE:
        sys.exit(f"make demo: at least {_SHOWN_PEOPLE} subjects are needed")
    if not BUNDLES.is_dir():
        sys.exit("make demo: its models are not here; make demo-train builds them, in about an hour and a half on two cores")
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        _run(options)
    except (ServiceError, httpx.HTTPError, subprocess.CalledProcessError) as failure:
        stop_service(options.folder)
        sys.exit(f"make demo: {failure}")
    except BaseException:
        stop_service(options.folder)
        raise


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
