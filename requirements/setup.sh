#!/usr/bin/env bash
# Make .venv from requirements/cpu.lock and install this project into it, editable. Called by `make setup`.
#   PYTHON=python3.12 make setup      choose the interpreter
# Done before and nothing changed: returns at once. Cut short, damaged or out of date: installs what is missing.
# Nothing outside .venv is touched.
set -euo pipefail
cd -P "$(dirname "$0")/.."

LOCK=requirements/cpu.lock
VENV=.venv
STAMP=$VENV/.setup-stamp
TORCH=$(grep '^torch==' "$LOCK")
TORCH_INDEX=https://download.pytorch.org/whl/cpu

fail() { echo "setup: $*" >&2; exit 1; }
say() { echo "setup: $*"; }

# A user's own Python settings must neither leak into .venv nor be written to.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_CONSTRAINT
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 DS_BUILD_OPS=0

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c '' 2>/dev/null || fail "PYTHON=$PYTHON does not run"
        fits "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1), but the pinned packages have wheels for 3.11 to 3.14 only; choose another with PYTHON=..."
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        if fits "$candidate"; then echo "$candidate"; return; fi
    done
    fail "no Python 3.11 to 3.14 found; install one (Debian and Ubuntu: apt install python3 python3-venv) or name it with PYTHON=..."
}

fingerprint() { { cat "$LOCK" pyproject.toml requirements/setup.sh; pwd; "$VENV/bin/python" -VV; } 2>/dev/null | sha256sum | cut -d' ' -f1; }

# Whether .venv was made for this very folder (its scripts name it) and can be installed into.
usable() { grep -q "^command = .* $PWD/$VENV\$" "$VENV/pyvenv.cfg" 2>/dev/null && fits "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }

# Whether .venv has the Python that PYTHON asks for, if it asks.
chosen() { [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$VENV/bin/python")" ]; }

pip_install() { "$VENV/bin/python" -m pip install -qq --no-deps --no-warn-script-location "$@"; }

install_torch() {
    # The plain name on PyPI is the CUDA build; the local version `+cpu` is only found where someone put it: a mirror, a wheel folder.
    pip_install --force-reinstall "$TORCH" 2>/dev/null && return
    say "$TORCH is not where pip looks; taking it from $TORCH_INDEX"
    pip_install --force-reinstall --timeout 30 --retries 2 --index-url "$TORCH_INDEX" "$TORCH" && return
    fail "no $TORCH: reach $TORCH_INDEX, or put its wheel into a folder and run PIP_FIND_LINKS=FOLDER make setup"
}

[ "$(uname -sm)" = "Linux x86_64" ] ||
    fail "$LOCK is resolved for Linux on x86-64, this is $(uname -sm); build launch/Dockerfile with docker build --platform linux/amd64"
# What a link points to is not ours to clear.
[ ! -L "$VENV" ] || fail "$VENV is a link to $(readlink "$VENV"); remove it, so that one can be made here"
if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] && chosen; then
    exit 0
fi

started=$SECONDS
rm -f "$STAMP"
if ! usable || ! chosen; then
    python=$(find_python)
    say "making $VENV with $("$python" -V)"
    "$python" -m venv --clear "$VENV" || fail "$python can't make virtual environments (Debian and Ubuntu: apt install python3-venv)"
fi

wanted=$("$VENV/bin/python" requirements/damaged.py "$LOCK")
if [ -n "$wanted" ]; then
    say "installing $(wc -l <<<"$wanted") packages"
    if grep -q '^torch==' <<<"$wanted"; then install_torch; fi
    wheels=$(grep -v -E '^(torch|deepspeed)==' <<<"$wanted" || true)
    # shellcheck disable=SC2086  # one word a pin
    [ -z "$wheels" ] || pip_install --force-reinstall --only-binary :all: $wheels || fail "pip failed; see above"
    # DeepSpeed comes as source only: built with the pinned setuptools, without compiling operators.
    source=$(grep '^deepspeed==' <<<"$wanted" || true)
    [ -z "$source" ] || pip_install --force-reinstall --no-build-isolation "$source" || fail "DeepSpeed can't be built; see above"
    wanted=$("$VENV/bin/python" requirements/damaged.py "$LOCK")
    [ -z "$wanted" ] || fail "still not whole after installing: $(tr '\n' ' ' <<<"$wanted")"
fi
pip_install --no-build-isolation --editable . || fail "this project can't be installed into $VENV; see above"
"$VENV/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
    fail "vLLM needs the system library libnuma.so.1 (Debian and Ubuntu: apt install libnuma1; Fedora: dnf install numactl-libs)"
fingerprint >"$STAMP"
say "ready in $((SECONDS - started)) s: $VENV ($("$VENV/bin/python" -V), $TORCH)"
