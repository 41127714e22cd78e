# What install/setup and install/lock share: finding a Python and uv. Sourced, with the checkout as the working directory.

fail() {
    echo "make: $1" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_supported() {
    case "$1" in 3.11 | 3.12 | 3.13 | 3.14) ;; *) return 1 ;; esac
}

# Sets `python` to the newest suitable one. Debian's cannot make environments without a package of its own; uv can with any,
# and may download one. In that case `refusal` is what to say where it cannot.
find_python() {
    suitable=
    newest=0
    refusal=
    problem="there is no python3 here. On Debian and Ubuntu: sudo apt-get install python3-venv; on macOS: brew install python@3.13"
    if [ -n "${PYTHON:-}" ]; then
        problem="PYTHON=$PYTHON does not run"
        set -- "$PYTHON"
    else
        set -- python3.14 python3.13 python3.12 python3.11 python3
    fi
    for python in "$@"; do
        version=$(version_of "$python") || continue
        if ! is_supported "$version"; then
            problem="$python here is $version. Install another beside it, or name one: make up PYTHON=/path/to/python3"
        elif [ "${version#3.}" -le "$newest" ]; then
            continue
        elif [ -n "$uv" ] || "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            suitable=$python
            newest=${version#3.}
        else
            problem="$python lacks its venv module. On Debian and Ubuntu: sudo apt-get install python$version-venv"
        fi
    done
    python=$suitable
    [ -z "$python" ] || return 0
    refusal="Lightbox needs Python 3.11 to 3.14, and $problem"
    [ -n "$uv" ] && [ -z "${PYTHON:-}" ] || fail "$refusal"
    python=">=3.11,<3.15"
}

# Sets `uv` to the user's own if it is 0.13 or newer, which takes hashes from constraints; to nothing otherwise.
find_uv() {
    case "$(uv --version 2>/dev/null)" in "" | "uv 0."?.* | "uv 0.1"[0-2].*) uv= ;; *) uv=uv ;; esac
}

# Sets `uv` to the one that requirements.lock pins, in an environment of its own made by `python`.
install_uv() {
    pinned=$(sed -n '/^uv==/,/[^\\]$/p' requirements.lock)
    version=$(printf '%s\n' "$pinned" | sed -n 's/^uv==\([^ ]*\).*/\1/p')
    tools=.cache/uv-$version
    uv=$tools/bin/uv
    "$uv" --version >/dev/null 2>&1 && return
    "$python" -m venv --clear "$tools"
    # --no-user: an environment takes no installation for the user, which pip's settings may ask for.
    printf '%s\n' "$pinned" |
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-user --require-hashes -r /dev/stdin
}
