#!/usr/bin/env bash
# Print the Python that .venv is made with: PYTHON, if that is set; otherwise, of those on the PATH
# from 3.11 on, the first one compiled with a profile of itself (it needs a tenth less of the
# processor); otherwise the first one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fits() { "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

names=(python3.13 python3.12 python3.11 python3.14 python3 python)
[ -z "${PYTHON:-}" ] || names=("$PYTHON")
first=
for name in "${names[@]}"; do
  # not only the first of a name: a shim may stand before the one of the system
  while IFS= read -r python; do
    fits "$python" || continue
    if "$python" -I goclaw/bench/interpreter.py 2>/dev/null; then
      printf '%s\n' "$python"
      exit
    fi
    first=${first:-$python}
  done < <(type -aP "$name" || true)
done
if [ -z "$first" ]; then
  printf '%s\n' "setup: Python 3.11 or newer, with its venv and ensurepip, was not found; install it (on" \
    "Debian and Ubuntu with python3-venv), or name it: PYTHON=/path/to/python scripts/setup.sh" >&2
  exit 1
fi
printf '%s\n' "$first"
