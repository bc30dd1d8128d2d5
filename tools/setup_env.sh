#!/usr/bin/env bash
# Set up a virtual environment for the checkout that this file is in: tools/setup_env.sh PYTHON VENV. Called by `make setup`.
set -euo pipefail
if [ $# -ne 2 ]; then
  echo "usage: $0 PYTHON VENV" >&2
  exit 2
fi
python=$1
venv=$2
checkout=$(cd "$(dirname "$0")/.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 1
}

[ -f "$checkout/requirements.txt" ] ||
  fail "$checkout is no checkout of mmilmil: this sets up a clone, so call the tools/setup_env.sh of one"
"$python" --version >/dev/null 2>&1 ||
  fail "no working '$python': install Python 3.11 with venv, or name another interpreter, e.g. make setup PYTHON=/usr/bin/python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' ||
  fail "'$python' is $("$python" --version 2>&1): Python 3.11 or newer is needed, 3.11 is tested. Name one: make setup PYTHON=..."
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "'$python' has no venv module: install it (on Debian: apt-get install python3.11-venv)"
command -v "${CXX:-g++}" >/dev/null ||
  fail "no C++ compiler '${CXX:-g++}', which mmcv is built with: install one (on Debian: apt-get install g++), or name it by CXX=..."
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
  fail "'$python' has no Python.h, which mmcv is built with: install it (on Debian: apt-get install python3.11-dev)"

"$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pinned() { grep "^$1==" "$checkout/requirements.txt"; }

echo 'setup 1/4: torch, numpy and the build tools of mmcv'
pip install --quiet "$(pinned torch)" "$(pinned numpy)" 'setuptools<81' wheel ninja
# Not isolated: mmcv is compiled against the torch that is here, not against one that pip would fetch for the build. A ready
# wheel in pip's find-links is taken as it is. -g0: without debug symbols the extension has 1 MB, not 30.
echo 'setup 2/4: mmcv (about 13 minutes on 2 cores where it must be compiled)'
MMCV_WITH_OPS=1 CFLAGS="${CFLAGS:-} -g0" pip install --quiet --no-build-isolation "$(pinned mmcv)"
echo 'setup 3/4: the rest of the stack'
pip install --quiet -r "$checkout/requirements.txt" -r "$checkout/requirements-dev.txt"
echo 'setup 4/4: mmilmil itself'
pip install --quiet --no-build-isolation --no-deps -e "$checkout"
echo "setup done: source $venv/bin/activate"
