#!/usr/bin/env bash
# Set everything up, then check everything: format, lint, types, import contracts, tests, coverage.
#   scripts/test.sh            all of it
#   scripts/test.sh --fast     without the tests marked slow, and without coverage
#   scripts/test.sh [...] ARGS further arguments go to pytest (coverage floors then do not apply)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh

fast=no
if [ "${1:-}" = --fast ]; then
  fast=yes
  shift
fi
bin=.venv/bin
step() { printf -- '-- %s\n' "$*"; }
# Settings of the person who runs the tests are not settings of the tests.
for name in $(env | sed -n 's/^\(GOCLAW_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done

step "ruff format"
"$bin/ruff" format --check --quiet .
step "ruff check"
"$bin/ruff" check --quiet .
step "mypy"
"$bin/mypy" --no-error-summary
step "lint-imports"
"$bin/lint-imports" --no-logo

if [ "$fast" = yes ]; then
  step "pytest (fast)"
  exec "$bin/pytest" -n 2 -q -m "not slow" "$@"
fi
if [ "$#" -gt 0 ]; then
  step "pytest $*"
  exec "$bin/pytest" -n 2 -q "$@"
fi
step "pytest, with coverage"
rm -f .coverage .coverage.* coverage.json
summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
status=0
"$bin/pytest" -n 2 -q --durations=10 --cov --cov-report= --junit-xml="$summary" || status=$?
if [ "$status" = 0 ]; then
  step "coverage floors"
  "$bin/coverage" json --quiet -o coverage.json
  "$bin/python" scripts/coverage_floors.py coverage.json || status=$?
fi
# The last line counts what ran, whatever was printed since.
"$bin/python" scripts/count_tests.py "$summary" || status=1
exit "$status"
