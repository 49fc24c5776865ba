"""Run the README's journey on the real faces that this machine has."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.journey.script import journey_script

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run it, or say what is missing."""
    if not (ROOT.parent / "shared" / "encoders" / "encoders.json").is_file():
        sys.exit(
            "make journey: needs aligned face crops and two encoders in ../shared (see 'Bring your own' in README.md); "
            "there are none on this machine"
        )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = journey_script(ROOT / "README.md")
    sys.exit(subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
