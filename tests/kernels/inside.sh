#!/usr/bin/env bash
# Runs in the virtual machine that run.sh boots: inside.sh SERIES RESULTS all|tables. Writes `kernel`, `log` and, at the end, `exit`.
set -u
series=$1 results=$2 which=$3
# No home: the checkout and the results are all that may be written to.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
cd "$(dirname "$0")/../.."

# What is asked of the kernel: each entry of the packet tables, real traffic, attachment, managed neighbours; and the devices
# for which the running kernel has no drivers.
tests=(tests/datapath/test_fixtures.py)
[[ $which == tables ]] || tests+=(
    tests/datapath/test_snat.py
    tests/datapath/test_transition.py
    tests/datapath/test_ingress.py
    tests/datapath/test_tc.py
    tests/datapath/test_attach.py
    tests/datapath/test_conditions.py
    tests/datapath/test_sources.py
    tests/datapath/test_traffic.py
    tests/kernels/stacked.py
    tests/kernels/sctp.py
)
# 65,536 packets that say nothing of the kernel; programs that are compiled only to be wrong or refused; a second Python;
# traffic in every variant: it goes both ways, also with generic XDP, and by a filter where there is no tcx ("native"
# takes what there is).
left_out='every_checksum or flood or does_something_else or one_device_refuses or agent_is_killed or generic-o or udp_both_ways[generic or generic] or filter] or filter-'
left_out+=' or test_sources and not (any_step or noticed_and_mended)'
left_out+=' or test_traffic and not (both_ways or left_to_the_device or loses_no_packet)'
left_out+=' or test_snat and (flow_lives and not SsAFf or as_the_rules and not IPv4-udp)'
case $series in
    6.1)
        # No tcx links (6.6), and no telling which device takes redirects (6.3); the tests of what is done instead run.
        left_out+=' or mended[tcx] or test_another_device_is_a_redirect'
        ;;
esac

run() {
    uname -r >"$results/kernel"
    [[ $(uname -r) == "$series".* ]] || { echo "this is $(uname -r), not $series"; return 1; }
    mkdir -p /run/netns
    ip link set lo up
    .venv/bin/python -m tests.kernels.verifier || return 1
    .venv/bin/python -m pytest -p no:cacheprovider -p no:xdist --timeout=300 "${tests[@]}" -k "not ($left_out)"
}

run >>"$results/log" 2>&1
echo $? >"$results/exit"
