#!/usr/bin/env bash
# Prepares a fresh Debian 12 or Ubuntu 24.04 machine: what the kernel must offer, Debian packages, .venv from the lock,
# the BPF objects. Every step is skipped when its result is already there, so that `make` can call this each time.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/packages.sh

readonly min_kernel=6.1 min_python=3.11

# Two runs at once (two terminals, two jobs) would fight over dpkg and .venv.
exec 9<scripts/bootstrap.sh
flock 9

check_kernel() {
    step=kernel
    [[ $(uname -s) == Linux ]] || die "this is $(uname -s); Lockstep needs Linux" "use a Linux machine or virtual machine"
    local release
    release=$(uname -r)
    version_at_least "${release%%-*}" $min_kernel ||
        die "kernel $release is too old: $min_kernel or later is needed" "boot the distribution's current kernel (Debian 12 has 6.1, Ubuntu 24.04 has 6.8)"
    [[ -r /sys/kernel/btf/vmlinux ]] ||
        die "no BTF of the running kernel (/sys/kernel/btf/vmlinux)" "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (all stock Debian and Ubuntu kernels are)"
    say "$release with BTF"
}

check_packages() {
    step=packages
    local missing
    missing=$(missing_packages)
    if [[ -z $missing ]]; then
        [[ $(id -u) != 0 ]] || restore_policy # what a run that was killed may have left
        say "all there"
        return
    fi
    install_packages $missing
    missing=$(missing_packages)
    [[ -z $missing ]] || die "still missing after the installation: ${missing//$'\n'/ }" "see the output of apt-get above"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c "import sys; sys.exit(sys.version_info < (${min_python/./, }))" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python $min_python or later" "install it (Debian 12 and Ubuntu 24.04 bring one), or say: make setup PYTHON=/path/to/python3"
}

# The environment is rebuilt when the locks, the project's metadata, the interpreter or the place changed.
check_venv() {
    step=python
    local python stamp
    python=$(find_python)
    stamp=$({ "$python" -VV; echo "$python $PWD"; cat requirements-bootstrap.lock requirements-dev.lock pyproject.toml; } | sha256sum)
    if [[ -x .venv/bin/lockstep && $(cat .venv/.stamp 2>/dev/null) == "$stamp" ]]; then
        say "$("$python" -V), .venv is up to date"
        return
    fi
    trust_pip_certificates
    say "$("$python" -V), building .venv from requirements-dev.lock"
    rm -f .venv/.stamp
    [[ -x .venv/bin/python && $(readlink -f .venv/bin/python) == $(readlink -f "$("$python" -c 'import sys; print(sys.executable)')") ]] ||
        "$python" -m venv --clear .venv || die "cannot make .venv" "as root: apt-get install python3-venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock ||
        die "cannot install uv from the package index" "check the network; behind a proxy with its own certificates set PIP_CERT"
    VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip sync --quiet --require-hashes requirements-dev.lock ||
        die "cannot install the locked Python packages" "check the network; behind a proxy with its own certificates set SSL_CERT_FILE"
    VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
    echo "$stamp" >.venv/.stamp
    say "done"
}

check_bpf() {
    step=bpf
    say "building datapath/build"
    make --no-print-directory --silent -C datapath BPFTOOL="$(find_bpftool)"
}

say "preparing $PWD"
check_kernel
check_packages
check_venv
check_bpf
