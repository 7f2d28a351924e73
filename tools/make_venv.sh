#!/bin/sh
# Make a virtual environment with the newest supported Python that is here.
set -eu
venv=$1
for python in python3.12 python3.11 python3; do
  if command -v "$python" >/dev/null 2>&1 &&
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
    found=$python
    break
  fi
done
if [ -z "${found:-}" ]; then
  echo "Stemma needs Python 3.11 or 3.12 (Debian: apt-get install python3 python3-venv)" >&2
  exit 1
fi
if ! "$found" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian keeps ensurepip in a package of its own.
  if [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq python3-venv
  else
    echo "Python's venv module is missing: apt-get install python3-venv" >&2
    exit 1
  fi
fi
"$found" -m venv "$venv"
