"""Make reference posteriors, or score methods against them.

usage: python -m benchmarks.references [make | scoreboard | page] [NAME ...] [--method METHOD]
"""

from __future__ import annotations

import argparse

from benchmarks.references import make, page, scoreboard
from benchmarks.references.methods import METHODS
from benchmarks.references.posteriors import POSTERIORS


def main() -> None:
    """Run one of the tasks for the posteriors that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["make", "scoreboard", "page"])
    parser.add_argument("names", nargs="*", help=f"{', '.join(POSTERIORS)}; all by default")
    parser.add_argument(
        "--method", action="append", choices=list(METHODS), metavar="METHOD",
        help=f"of the scoreboard: {', '.join(METHODS)}; all by default",
    )  # fmt: skip
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in POSTERIORS]
    if unknown:
        parser.error(
            f"unknown reference {', '.join(unknown)}; name some of {', '.join(POSTERIORS)}"
        )
    names = given.names or list(POSTERIORS)
    if given.task == "make":
        for name in names:
            needed = make.seconds_needed(name)
            took = "never made yet" if needed is None else f"{needed:,.0f} s of processor time"
            print(f"{name}: {took}", flush=True)
            record = make.make(name)
            for s in record["samplers"]:
                print(
                    f"  {s['function']}: R-hat {s['rhat']:.4f}, ESS {s['ess_bulk']:,.0f} and "
                    f"{s['ess_tail']:,.0f} (tail), {s['divergences']} divergences, "
                    f"{s['seconds']:,.0f} s, {s['cpu_seconds']:,.0f} s of processor time",
                    flush=True,
                )
            print(
                f"  converged {record['converged']}, confirmed {record['confirmed']}: "
                f"{record['agreement']}",
                flush=True,
            )
    elif given.task == "scoreboard":
        scoreboard.main(names, given.method or list(METHODS))
    page.write()


if __name__ == "__main__":
    main()
