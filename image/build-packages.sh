#!/bin/sh
# First stage: what compiles the BPF programs and installs Python packages. None of it is in the image.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends binutils clang gcc libbpf-dev libc6-dev libelf-dev linux-libc-dev make \
    python3 python3-venv ca-certificates
