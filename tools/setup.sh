#!/bin/sh
# Run a task of tasks.py, by default the set-up, with the Python named in PYTHON or the first found.
set -eu

for candidate in "${PYTHON:-}" .venv/bin/python python3 python3.14 python3.13 python3.12 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' \
        >/dev/null 2>&1; then
        exec "$candidate" tasks.py "${@:-setup}"
    fi
done
echo "set-up: no Python >= 3.12 found on the path; install one, or name it: make PYTHON=/path/to/python" >&2
exit 1
