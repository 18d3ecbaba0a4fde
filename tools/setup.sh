#!/bin/sh
# Make .venv with the locked packages. Run by make; safe to run again and after an interruption.
set -eu

python=
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "set-up: no Python >= 3.12 found on the path; install one, or name it: make PYTHON=/path/to/python" >&2
    exit 1
fi

echo "set-up: making .venv from requirements.lock with $("$python" --version) (3-5 minutes, once)"
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .venv || {
        echo "set-up: '$python -m venv' failed; on Debian and Ubuntu install the python3-venv package" >&2
        exit 1
    }
fi
pip=".venv/bin/python -m pip --disable-pip-version-check"
$pip install --quiet --require-hashes --no-deps -r requirements.lock || {
    echo "set-up: the packages named above could not be fetched; check the network connection and run make again" >&2
    exit 1
}
$pip install --quiet --no-build-isolation --no-deps --editable .
$pip check >/dev/null
touch .venv/.ready
