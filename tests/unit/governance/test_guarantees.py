import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "governance" / "GUARANTEES.md").read_text()


def test_every_promise_names_tests_that_exist() -> None:
    promises = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")][1:]
    assert len(promises) >= 15
    for promise, tests in promises:
        paths = re.findall(r"`(tests/[^`]+)`", tests)
        assert paths, promise
        assert all((ROOT / path).is_file() for path in paths), promise


def test_every_file_of_the_folder_is_in_its_readme() -> None:
    readme = (ROOT / "governance" / "README.md").read_text()
    files = {path.name for path in (ROOT / "governance").glob("*.py")} - {"__init__.py"}
    assert files <= set(re.findall(r"`([a-z_]+\.py)`", readme))
