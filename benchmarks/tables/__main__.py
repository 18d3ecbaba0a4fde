"""Score the methods on UCI tables; what is stored is not run again.

usage: python -m benchmarks.tables [--splits N] [NAME ...]

A name is a table (``yacht``), its gap splits (``yacht:gap``) or a method (``NUTS``). Several
processes may run at once.
"""

from __future__ import annotations

import argparse

from benchmarks.tables import page, run
from benchmarks.tables.methods import METHODS


def main() -> None:
    """Run what is named, by default everything."""
    known = [*run.STANDARD, *(f"{name}:gap" for name in run.GAPS)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join([*known, *METHODS]))
    parser.add_argument("--splits", type=int, help="of each table, from the first; all by default")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in (*known, *METHODS)]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; name some of {', '.join([*known, *METHODS])}")
    tables = [name for name in known if name in given.names] or known
    methods = [name for name in METHODS if name in given.names] or list(METHODS)
    run.run(tables, methods, given.splits)
    page.write()


if __name__ == "__main__":
    main()
