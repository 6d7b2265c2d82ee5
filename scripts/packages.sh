# Debian packages: which are missing, and how to install them without starting a routing daemon on the host.

readonly policy=/usr/sbin/policy-rc.d policy_saved=/usr/sbin/policy-rc.d.before-lockstep
readonly policy_mark="# written by Lockstep's bootstrap for one installation"

# version_at_least HAVE WANT
version_at_least() {
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# Ubuntu's /usr/sbin/bpftool is a wrapper that refuses kernels it was not packaged for; the program behind it works.
find_bpftool() {
    local candidate
    for candidate in bpftool /usr/lib/linux-tools/*/bpftool /usr/lib/linux-tools-*/bpftool; do
        if "$candidate" version >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The package lists must be fresh: Debian has bpftool, Ubuntu hides it among the tools of its kernels.
bpftool_package() {
    if apt-cache policy bpftool 2>/dev/null | grep 'Candidate: [^(]' >/dev/null; then
        echo bpftool
    else
        echo linux-tools-common linux-tools-generic
    fi
}

# What we use decides, not what dpkg knows: a compiler from elsewhere is as good. Sbin may not be in a user's PATH.
missing_packages() (
    PATH=$PATH:/usr/sbin:/sbin
    need() { command -v "$1" >/dev/null || echo "$2"; }
    need_file() { [[ -e $1 ]] || echo "$2"; }
    need clang clang
    need llvm-strip llvm
    need gcc gcc
    need make make
    need readelf binutils
    need ip iproute2
    need tc iproute2
    need ethtool ethtool
    need nsenter util-linux
    need tcpdump tcpdump
    need nft nftables
    need iptables-legacy-restore iptables
    need bird bird2
    need vtysh frr
    need gobgpd gobgpd
    need mmdebstrap mmdebstrap
    need iperf3 iperf3
    need faketime faketime
    need openssl openssl
    need setpriv util-linux
    need_file /usr/lib/frr/bgpd frr
    need_file /usr/lib/frr/bfdd frr
    need_file /usr/include/bpf/libbpf.h libbpf-dev
    need_file /usr/include/libelf.h libelf-dev
    need_file /usr/include/zlib.h zlib1g-dev
    need_file /usr/include/stdio.h libc6-dev
    need_file /usr/include/linux/bpf.h linux-libc-dev
    find_bpftool >/dev/null || echo bpftool
    # A Python that was named is the caller's own affair.
    [[ -n ${PYTHON:-} ]] || python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
)

# For tests/kernels alone: what boots and feeds a virtual machine.
missing_packages_for_kernels() (
    PATH=$PATH:/usr/sbin:/sbin
    need() { command -v "$1" >/dev/null || echo "$2"; }
    need qemu-system-x86_64 qemu-system-x86
    need busybox busybox-static
    need depmod kmod
    need script bsdutils
)

restore_policy() {
    if [[ -e $policy_saved ]]; then
        mv -f "$policy_saved" "$policy"
    elif grep -qsF "$policy_mark" "$policy"; then
        rm -f "$policy"
    fi
}

# bird2, frr and gobgpd start their services when they are installed, and at every boot. Nobody asked for a router on this host.
forbid_service_start() {
    restore_policy # what a killed run may have left
    trap restore_policy EXIT
    [[ ! -e $policy ]] || mv "$policy" "$policy_saved"
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
}

# disable_services PACKAGE...: those that came with the packages which we installed just now, for both kinds of init.
disable_services() {
    local name
    for name in bird frr gobgpd; do
        [[ " $* " == *" $name"[\ 2]* ]] || continue
        ! command -v systemctl >/dev/null || systemctl --quiet disable "$name.service" >/dev/null 2>&1 ||
            say "could not disable $name.service; it may start at the next boot"
        ! command -v update-rc.d >/dev/null || update-rc.d "$name" disable >/dev/null 2>&1 || true
    done
}

# install_packages NAME...
install_packages() {
    local names
    names=$(printf '%s\n' "$@" | sort -u | paste -sd ' ')
    command -v apt-get >/dev/null ||
        die "missing: $names" "this machine has no apt-get; install what these Debian packages hold with its own package manager"
    [[ $(id -u) == 0 ]] || die "missing: $names" "as root: apt-get install $names (or run this as root once)"
    say "installing $names"
    local log
    log=$(mktemp)
    forbid_service_start
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update && apt-get install -y --no-install-recommends ${names/bpftool/$(bpftool_package)}; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get failed (above; all of it in $log)" "mend the package sources or the network, then run this again"
    fi
    restore_policy
    trap - EXIT
    rm -f "$log"
    disable_services $names
    say "done"
}
