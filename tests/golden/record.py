"""Write the golden file of what has none yet. There is no way to write one a second time.

python tests/golden/record.py
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent.parent))

from ledger.store.codec import CATEGORIES, encode  # noqa: E402  # the path comes first
from tests.golden.examples import EVENTS, METADATA, STATES  # noqa: E402  # as above


def main() -> int:
    """Create what is missing; say what was created."""
    stored = {name: encode(example) for name, example in {**EVENTS, **METADATA}.items()}
    for name, state in STATES.items():
        stored[name] = CATEGORIES[name.split(".")[1]].encode_state(state)
    for name, content in stored.items():
        file = FOLDER / f"{name}.json"
        if not file.exists():
            with file.open("xb") as out:
                out.write(content)
            sys.stdout.write(f"{file.name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
