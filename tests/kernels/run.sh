#!/usr/bin/env bash
# Runs the datapath's tests on other kernels than this machine's: run.sh [--tables] SERIES... (6.1, 6.12, as Debian packages
# them). --tables: the verifier and the packet tables only, which every kernel must answer with the same verdicts.
#
# Each kernel is downloaded and unpacked, not installed, and booted in a virtual machine that sees this file system
# read-only. The processor is emulated: nested virtualization does not work everywhere, and this does. It is slow, so
# inside.sh chooses the tests that meet the kernel.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib.sh
. scripts/packages.sh

readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/kernels limit=1800
readonly here=$PWD/tests/kernels

check_packages() {
    step=packages
    local missing
    missing=$(missing_packages_for_kernels)
    [[ -z $missing ]] || install_packages $missing
}

check_vng() {
    step=python
    local stamp venv=$cache/venv
    stamp=$({ .venv/bin/python -VV; cat "$here/requirements.lock"; } | sha256sum)
    [[ $(cat "$venv/.stamp" 2>/dev/null) != "$stamp" ]] || return 0
    say "building $venv"
    .venv/bin/python -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.lock" ||
        die "cannot install virtme-ng" "check the network; behind a proxy with its own certificates set PIP_CERT"
    echo "$stamp" >"$venv/.stamp"
}

# The newest image of a series: not for clouds, not for real time, no debug symbols.
newest_package() {
    apt-cache search --names-only "^linux-image-${1//./\\.}\.[0-9.-]+(\+[a-z0-9]+)?-amd64\$" | cut -d ' ' -f 1 | sort -V | tail -n 1
}

# unpack SERIES: sets `kernel` to the folder of its newest image.
unpack() {
    step=$1
    local package
    package=$(newest_package "$1")
    if [[ -z $package ]]; then
        apt-get update -qq
        package=$(newest_package "$1")
    fi
    [[ -n $package ]] || die "the package archives of this machine have no linux-image-$1.*" "Debian 12 has 6.1 and 6.12"
    kernel=$cache/$package
    [[ ! -d $kernel ]] || return 0
    say "unpacking $package"
    rm -rf "$cache"/linux-image-"$1".* "$cache/new"
    mkdir "$cache/new"
    fetch "$package" || { apt-get update -qq && fetch "$package"; } || die "cannot download $package" "check the network"
    dpkg-deb -x "$cache"/new/*.deb "$cache/new"
    rm "$cache"/new/*.deb
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$cache/new" "$(ls "$cache/new/lib/modules")"
    mv "$cache/new" "$kernel"
}

fetch() { (cd "$cache/new" && apt-get download -qq -o APT::Sandbox::User=root "$1"); }

# boot SERIES: runs inside.sh in it and shows what it writes while it does.
boot() {
    local results command code vm
    results=$(mktemp -d /tmp/lockstep-kernel.XXXXXX)
    touch "$results/log"
    printf -v command '%q ' vng --verbose --run "$kernel"/boot/vmlinuz-* --disable-kvm --disable-microvm --memory 2G --cpus 2 \
        --user root --rwdir "$results" --overlay-rwdir "$PWD" -- "$here/inside.sh" "$1" "$results" "$tests"
    say "booting $(basename "$kernel")"
    # vng wants a terminal, and prints the kernel's messages on it.
    PATH=$cache/venv/bin:$PATH:/usr/sbin:/sbin timeout --kill-after=10 $limit script -qec "$command" /dev/null \
        </dev/null >"$results/console" 2>&1 9>&- &
    vm=$!
    trap 'kill $vm 2>/dev/null || true' EXIT
    tail -n +1 -F --pid=$vm "$results/log" 2>/dev/null
    wait $vm || true
    trap - EXIT
    code=$(cat "$results/exit" 2>/dev/null) || {
        tail -n 30 "$results/console"
        die "the virtual machine did not get to its end within $limit s (console above; all of it in $results)"
    }
    [[ $code == 0 ]] || die "tests failed on $(cat "$results/kernel") (above; console in $results)"
    say "passed on $(cat "$results/kernel")"
    rm -rf "$results"
}

tests=all
[[ ${1:-} != --tables ]] || { tests=tables; shift; }
[[ $# -gt 0 ]] || die "which kernels?" "run.sh [--tables] SERIES..., for example: run.sh 6.1 6.12"
machine=$(. /etc/os-release && echo "$ID $VERSION_ID $(dpkg --print-architecture)")
if [[ $machine != "debian 12 amd64" ]]; then
    # The tables are part of `make test`, which is for Ubuntu as well; who asks for kernels by name must not be told "passed".
    [[ $tests == all ]] || { step=kernels say "left out: Debian 12 (amd64) packages $*; this is $machine"; exit 0; }
    die "kernels $* come from Debian 12 (amd64); this is $machine" "run this on such a machine"
fi
mkdir -p "$cache"
# Two at once would fight over the cache, and over the processors.
exec 9<"$cache"
flock 9
check_packages
check_vng
for series; do
    unpack "$series"
    boot "$series"
done
