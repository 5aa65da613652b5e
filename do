#!/bin/sh
# Sets covsvc up in a .venv of its own, then runs, tests or checks it; `./do help` says how.
set -eu
unset PYTHONHOME

log=.venv/do.log

usage() {
    cat <<'END'
usage: ./do run [ARG ...]     study the coverage of the CLEO tau -> mu gamma limits, write ./coverage-cubes and ./report
       ./do test [ARG ...]    run the tests
       ./do lint              check style, types and layers
       ./do help              say this

Each sets up what it needs first, in .venv beside this file; the system's Python is left alone. ARGs are handed on
to `covsvc run` and pytest, which work in this folder. Exit code 2: wrong usage, or the set-up failed and said why.
END
}

say() {
    printf 'do: %s\n' "$*" >&2
}

die() { # never inside $(...), which it would not leave
    say "$*"
    exit 2
}

attempt() { # a command, its output kept in the log
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" </dev/null >>"$log" 2>&1
}

show_log() {
    say "the last lines of $PWD/$log:"
    tail -n 25 "$log" | sed 's/^/    /' >&2
}

is_root_of_a_debian() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1
}

apt_install() {
    say "installing $* with apt-get ..."
    attempt env DEBIAN_FRONTEND=noninteractive apt-get update 9>&- ||
        say "apt-get update failed; going on with the package lists at hand"
    attempt env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" 9>&-
}

# --- one set-up at a time -------------------------------------------------------------------------------------------

lock() { # flock ends with its holder and with an installer that outlives it; elsewhere a link names the holder
    if command -v flock >/dev/null 2>&1; then
        exec 9>.venv/do.lock
        flock -n 9 && return
        say "another ./do is setting up; waiting for it ..."
        flock 9 || die "cannot lock $PWD/.venv/do.lock"
        return
    fi
    waited=
    until ln -s "$$" .venv/do.holder 2>/dev/null; do
        holder=$(readlink .venv/do.holder) || continue
        if ! kill -0 "$holder" 2>/dev/null; then
            rm -f .venv/do.holder
            continue
        fi
        [ -n "$waited" ] || say "another ./do (process $holder) is setting up; waiting for it ..."
        waited=yes
        sleep 1
    done
}

unlock() {
    if command -v flock >/dev/null 2>&1; then
        exec 9>&-
    else
        rm -f .venv/do.holder
    fi
}

# --- a Python, a venv, the packages ---------------------------------------------------------------------------------

is_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # python: the newest that makes whole venvs; bare: the newest that cannot, for want of ensurepip
    python='' bare=''
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        is_python "$name" || continue
        if "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            python=$name
            return 0
        fi
        bare=${bare:-$name}
    done
    return 1
}

has_pip_for_others() { # pip --python came with 22.3
    [ -n "$1" ] && "$1" -c '
import sys, pip, venv
sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 3))' >/dev/null 2>&1
}

has_uv() {
    command -v uv >/dev/null 2>&1 && uv pip install --help 2>/dev/null | grep -q -e '--group'
}

explain_missing_python() {
    found=$(python3 --version 2>/dev/null) || found='no python3'
    if ! command -v apt-get >/dev/null 2>&1; then
        die "covsvc needs Python 3.11 or newer with its venv module (found: $found); install one, or uv"
    elif [ "$found" = 'no python3' ] || [ -n "$bare" ]; then
        die "no Python here can make a venv (found: $found); run: sudo apt-get install python3 python3-venv"
    fi
    die "covsvc needs Python 3.11 or newer (found: $found) and this system has none; install one, or uv"
}

make_venv() {
    : >.venv/do.unfinished
    for entry in .venv/*; do
        case $entry in
        .venv/do.lock | .venv/do.holder | .venv/do.log | .venv/do.unfinished) ;;
        *) rm -rf "$entry" ;;
        esac
    done
    if has_uv; then
        say "making .venv with uv ..."
        attempt uv venv --seed --allow-existing --python '>=3.11,<3.15' .venv && return
        say "uv could not; going on without it"
    fi
    if ! find_python && ! has_pip_for_others "$bare" && is_root_of_a_debian; then
        apt_install python3 python3-venv || {
            show_log
            die "apt-get could not install python3 and python3-venv"
        }
        find_python || explain_missing_python
    fi
    if [ -n "$python" ]; then
        say "making .venv with $python ..."
        attempt "$python" -m venv .venv && return
    elif has_pip_for_others "$bare"; then
        say "making .venv with $bare and the pip beside it ..."
        attempt "$bare" -m venv --without-pip .venv && return
    else
        explain_missing_python
    fi
    show_log
    die "$PWD/.venv could not be made"
}

venv_works() { # finished, of a good Python that is still there, and not moved: its scripts name their place
    [ ! -e .venv/do.unfinished ] && is_python .venv/bin/python &&
        { [ ! -e .venv/do.place ] || [ "$(cat .venv/do.place)" = "$PWD" ]; }
}

venv_pip() {
    attempt .venv/bin/python -m pip "$@"
}

make_pip() { # is there, or came with Python, or is brought by the pip of the Python that made the venv
    venv_pip --version || attempt .venv/bin/python -m ensurepip || {
        find_python || true
        attempt "${bare:-${python:-python3}}" -m pip --python .venv/bin/python install pip
    }
}

has_pip_for_groups() {
    .venv/bin/python -c '
import sys, pip
sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))' >/dev/null 2>&1
}

install() { # editable, with a dependency group if there is one; called under ||, so no set -e in here
    set -- -e .
    [ "$group" = none ] || set -- "$@" --group "$group"
    if has_uv; then
        attempt uv pip install --python .venv/bin/python "$@" && return
        say "uv could not install them; trying pip ..."
    fi
    make_pip || return 1
    if [ "$group" != none ] && ! has_pip_for_groups; then
        venv_pip install --upgrade 'pip>=25.1' || return 1
    fi
    venv_pip install "$@"
}

compute_key() {
    sum=$(cksum pyproject.toml covsvc/version.py) || die "this is not the whole project: $PWD"
    version=$(.venv/bin/python -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null) || return 1
    key="$sum $version $PWD"
}

is_ready() {
    [ ! -e .venv/do.unfinished ] && [ -e ".venv/do.ready-$group" ] && compute_key &&
        [ "$(cat ".venv/do.ready-$group")" = "$key" ]
}

prepare() { # the dependency group that is needed, or none
    group=$1
    is_ready || {
        if ! mkdir -p .venv || ! [ -w .venv ]; then
            die "cannot write in $PWD/.venv; work in a copy of this folder that is yours"
        fi
        lock
        is_ready || set_up
        unlock
    }
    PATH=$PWD/.venv/bin:$PATH
    VIRTUAL_ENV=$PWD/.venv
    export PATH VIRTUAL_ENV
}

set_up() {
    : >"$log"
    venv_works || make_venv
    : >.venv/do.unfinished # a set-up that is killed leaves this behind, and the next one starts afresh
    say "installing covsvc and what it needs$([ "$group" = none ] || echo " (with the group $group)") ..."
    install || {
        rm .venv/do.unfinished
        show_log
        die "the packages could not be installed; check the network and the log, then call ./do again"
    }
    compute_key || die "$PWD/.venv/bin/python does not start; call ./do again"
    printf '%s\n' "$PWD" >.venv/do.place
    printf '%s\n' "$key" >".venv/do.ready-$group"
    rm .venv/do.unfinished
}

# --- what may be asked ----------------------------------------------------------------------------------------------

# playwright drives Chromium by a program of its own, which needs libatomic
can_browse() {
    command -v chromium >/dev/null 2>&1 || return 1
    for library in /usr/lib*/libatomic.so.1 /usr/lib*/*/libatomic.so.1; do
        if [ -e "$library" ]; then return 0; fi
    done
    return 1
}

has_browser() {
    if can_browse; then
        return 0
    elif is_root_of_a_debian && apt_install chromium libatomic1; then
        return 0
    elif [ "${CI:-}" = true ]; then
        say "no chromium or no libatomic1, and CI=true: the browser tests stay in, and will fail"
        return 0
    fi
    say "leaving out the browser tests (marker: browser); to have them: sudo apt-get install chromium libatomic1"
    return 1
}

run_some_tests() {
    pytest --durations=10 "$@" && return
    failed=$?
    [ "$failed" -ne 2 ] || exit 2 # interrupted: sh may be bash, which would go on
}

run_all_tests() { # several files at once; then, two at a time, those that compute for minutes on several cores
    but=''
    has_browser || but=' and not browser'
    unset PYTHONDONTWRITEBYTECODE # hundreds of processes import the same files
    failed=0
    run_some_tests -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not heavy$but"
    run_some_tests -n 2 --dist loadfile --no-loadscope-reorder -m "heavy$but"
    [ "$failed" -eq 0 ] || say "some tests failed; each of the two runs of pytest names its own"
    exit "$failed"
}

run_checks() {
    failed=
    for check in 'ruff check' 'ruff format --check' mypy lint-imports; do
        say "$check"
        $check || failed="$failed${failed:+, }$check"
    done
    if [ -n "$failed" ]; then
        say "failed: $failed"
        exit 1
    fi
}

self=$0
while [ -L "$self" ]; do
    link=$(readlink "$self") || die "cannot follow the link $self"
    case $link in
    /*) self=$link ;;
    *) self=$(dirname "$self")/$link ;;
    esac
done
here=$(CDPATH='' cd -P "$(dirname "$self")" && pwd -P) || die "cannot enter the folder of $self"
cd "$here" || die "cannot enter $here"

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
run)
    prepare none
    exec covsvc run deploy/studies/cleo-tau-mu-gamma.yaml --report report "$@"
    ;;
test)
    prepare test
    [ $# -gt 0 ] || run_all_tests
    has_browser || set -- -m 'not browser' "$@"
    exec pytest "$@"
    ;;
lint)
    [ $# -eq 0 ] || die "lint takes no arguments, but got: $*"
    prepare lint
    run_checks
    ;;
help | -h | --help)
    usage
    ;;
*)
    [ -z "$verb" ] || say "unknown argument: $verb"
    usage >&2
    exit 2
    ;;
esac
