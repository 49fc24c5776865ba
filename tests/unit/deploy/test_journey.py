import subprocess
from pathlib import Path

import pytest

from deploy.journey.script import journey_blocks, journey_script

README = """# Title
```bash
echo outside
```
## The journey
```bash
echo 'first $HOME'
sleep 60 &
```
```json
{"not": "run"}
```
```python
print(6 * 7)
```
## After
```bash
echo after
```
"""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def test_only_the_journeys_own_blocks_that_can_be_run_are_taken(readme: Path) -> None:
    assert journey_blocks(readme) == [("bash", "echo 'first $HOME'\nsleep 60 &\n"), ("python", "print(6 * 7)\n")]


def test_the_script_shows_and_runs_each_block_and_ends_what_it_started(readme: Path) -> None:
    ran = subprocess.run(["bash", "-c", journey_script(readme)], capture_output=True, text=True, timeout=30, check=True)
    lines = ran.stdout.split("\n")
    assert "$ echo 'first $HOME'" in lines
    assert "first $HOME" in lines
    assert "42" in lines
    assert "after" not in ran.stdout


def test_the_script_stops_at_the_first_failure(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("## The journey\n```bash\nfalse\necho never-reached\n```\n")
    ran = subprocess.run(["bash", "-c", journey_script(path)], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode != 0
    assert ran.stdout.count("never-reached") == 1


def test_a_readme_without_a_journey_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Nothing\n")
    with pytest.raises(ValueError, match="no blocks"):
        journey_blocks(path)
