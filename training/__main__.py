"""`python -m training`, and the command `facebridge-train`."""

import importlib
import sys

_IN_EXTRAS = frozenset({"onnxruntime", "onnxscript", "threadpoolctl", "torch"})


def main() -> None:
    """Run the command line and leave with its exit code; 2 with one line where the extra `train` is not installed."""
    try:
        # By name, because the commands import what only the extra brings, and some of it as late as they need it.
        code: int = importlib.import_module("training.cli").run(sys.argv[1:])
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _IN_EXTRAS:
            raise
        print("facebridge-train needs the extra train: pip install 'facebridge[cpu,train]'", file=sys.stderr)  # noqa: T201
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
