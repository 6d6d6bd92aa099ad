"""A real server of a quick encoder's index in a process of its own: `python -m tests.server.serving INDEX`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60


@contextmanager
def serving(index: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address; stopped at the end, whatever happens."""
    command = [sys.executable, "-m", "tests.server.serving", str(index)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        yield process, address
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    sys.path.insert(0, str(ROOT / "src"))
    from tests.index.fakes import FakeEncoder

    from saelex.index.index import Index
    from saelex.server.app import create_app
    from saelex.server.running import run
    from saelex.server.settings import Settings

    with Index.open(sys.argv[1], FakeEncoder()) as index:
        app = create_app({"notes": index}, Settings(writable=True))
        run(app, "127.0.0.1", 0, grace=PATIENCE, listening=say)
    say("ended")


if __name__ == "__main__":
    main()
