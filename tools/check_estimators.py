"""Run scikit-learn's ``check_estimator`` on both estimators, with their defaults or by a method.

``python tools/check_estimators.py`` takes minutes; ``--method laplace`` checks another method.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from typing import Any

from sklearn.utils.estimator_checks import check_estimator

from bnnbook.estimators import FITS, BNNClassifier, BNNRegressor


def main() -> None:
    """Print what passed, failed or was left out, and exit with 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(FITS), default="ensemble")
    method = parser.parse_args().method
    failed = 0
    for kind in (BNNRegressor, BNNClassifier):
        clock, said = time.perf_counter(), Counter[str]()

        def report(
            *, check_name: str, exception: Any, status: str, said: Any = said, **_: Any
        ) -> None:
            said[status] += 1
            if status == "failed":
                print(f"  {check_name}: {exception}")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # data of a few rows, on purpose
            check_estimator(kind(method=method), on_fail=None, callback=report)
        seconds = time.perf_counter() - clock
        print(f"{kind.__name__}, {method}: {dict(said)}, {seconds:.0f} s", flush=True)
        failed += said["failed"]
    raise SystemExit(int(failed > 0))


if __name__ == "__main__":
    main()
