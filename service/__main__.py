"""`python -m service`, and the command `facebridge`."""

import sys

try:
    from service.cli import run
except ModuleNotFoundError as failure:
    sys.stderr.write(
        f"facebridge: {failure.name} is not installed; it comes with an extra: pip install 'facebridge[cpu]'\n"
    )
    sys.exit(2)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
