"""Make the readers' copies of the chapters, or an edition of them.

usage: python tools/reader [lab|student|lecturer]

``lab`` (the default) writes ``_build/lab``: every chapter as any notebook front end shows it, with
the numbers of the last build in the text, solutions folded, and no outputs. ``student`` writes
``_build/student``, with an empty cell in the place of each solution. ``lecturer`` writes
``_build/lecturer``, with the solutions open, a page of notes for each chapter and a syllabus. The
chapters in ``book/chapters`` are not touched.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reader.notebook import EDITIONS, write_edition
from reader.teaching import write_pages

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: list[str]) -> int:
    """Write one edition; return 0."""
    edition = arguments[0] if arguments else "lab"
    if edition not in EDITIONS or len(arguments) > 1:
        print(f"reader: name one of {', '.join(EDITIONS)}, got {arguments}", file=sys.stderr)
        return 2
    folder = ROOT / "_build" / edition
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    built = write_edition(ROOT, folder, edition)
    if edition == "lecturer":
        write_pages(ROOT, folder)
    if not built:
        print("reader: the book has not been built; its numbers and figures are left open")
    print(f"reader: wrote {folder.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
