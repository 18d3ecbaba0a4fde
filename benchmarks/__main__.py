"""Run the benchmarks (``make bench``), or write the book's page from what is stored.

``QUICK=1`` does little of everything in three minutes; ``ONLY`` names tasks or groups, or is
``growth`` or ``scaling``. Each row is stored in ``benchmarks/results.json`` as soon as it is there;
those of growth in ``benchmarks/growth.json``, of scaling in ``benchmarks/scaling.json``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

from benchmarks.timing import LIMIT, measure  # each contestant imports this file: nothing heavy

REPEATS = 5
QUICK_REPEATS = 2  # 1 where each run has a process of its own
QUICK_SECONDS = 160.0  # after which no further row is begun
QUICK_LIMIT = 15.0  # seconds a quick run may take


def main() -> int:
    """Measure what is chosen; print, store and show it."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        os.environ.pop(name, None)  # code kept from an earlier run would cost nothing to compile
    from benchmarks import growth, report, scaling
    from benchmarks.catalogue import TASKS, chosen, groups_first

    quick = os.environ.get("QUICK") == "1"
    only = (os.environ.get("ONLY") or "").replace(",", " ").split()
    if only == ["growth"]:  # no peers and a page section of its own; takes ten minutes
        return growth.main(quick=quick)
    if only == ["scaling"]:
        return scaling.main(quick=quick)
    try:
        tasks = chosen(TASKS, only)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    given = os.environ.get("PYTENSOR_FLAGS")
    flags = f"{given}," if given else ""
    begin = time.perf_counter()
    done, left_out = [], []
    for task in groups_first(tasks) if quick else tasks:
        spent = time.perf_counter() - begin
        if quick and spent > QUICK_SECONDS:
            left_out.append(task.name)
            continue
        few = 1 if task.fresh else QUICK_REPEATS
        limit = min(QUICK_LIMIT, QUICK_SECONDS + QUICK_LIMIT - spent) if quick else LIMIT
        row = report.described(task, quick=quick)
        clock = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["PYTENSOR_FLAGS"] = f"{flags}base_compiledir={folder}"
            row["contestants"] = measure(
                task, repeats=few if quick else REPEATS, quick=quick, limit=limit
            )
        row["seconds"] = time.perf_counter() - clock
        lines = report.markdown([row])
        print("\n".join(lines[2 if done else 0 :]), flush=True)
        report.save(row)
        done.append(row)
    report.write_page()
    if left_out:
        print(f"bench: no time was left for {', '.join(left_out)}; name them in ONLY")
    print(f"bench: {time.perf_counter() - begin:,.0f} s; stored in {report.RESULTS.name}")
    return 0 if done else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["page"]:
        from benchmarks import growth, report, scaling

        report.write_page()
        growth.write_page()
        scaling.write_page()
    else:
        sys.exit(main())
