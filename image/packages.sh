#!/bin/sh
# Second stage: what the programs need at run time, and no more.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends ca-certificates libbpf1 libelf1 python3 zlib1g
