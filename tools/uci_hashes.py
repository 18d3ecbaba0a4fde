"""Write bnnbook/datasets/uci_hashes.json: SHA-256 of every file of the UCI tables and splits.

usage: python tools/uci_hashes.py FOLDER, the folder that holds ``uci/`` as downloaded from the
commits that ``bnnbook/datasets/tables.py`` names.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "bnnbook" / "datasets" / "uci_hashes.json"


def main(folder: str) -> None:
    """Hash every file but the published results."""
    root = Path(folder) / "uci"
    hashes: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and "published" not in path.parts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            hashes.setdefault(path.parent.name, {})[path.name] = digest
    TARGET.write_text(json.dumps(hashes, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
