#!/usr/bin/env bash
# Compiles the three locks from pyproject.toml, that of the image's first stage, the one of the tests on other kernels, and that of the Go which builds
# Kubernetes for the tests. They hold names, versions and hashes, and no address: where packages come from is the business
# of the machine that installs them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

uv=.venv/bin/uv
[[ -x $uv ]] || die "no $uv" "run: make setup"
trust_pip_certificates

step=lock
compile=("$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
    --no-emit-find-links --no-annotate --custom-compile-command "make lock" "$@")

say "locking the installer, the runtime and the development environment"
echo "uv" | "${compile[@]}" - --output-file requirements-bootstrap.lock
"${compile[@]}" pyproject.toml --extra kube --output-file requirements.lock
"${compile[@]}" pyproject.toml --extra kube --extra dev --constraint requirements.lock --output-file requirements-dev.lock
"${compile[@]}" tests/kernels/requirements.in --output-file tests/kernels/requirements.lock
"${compile[@]}" tests/kube/requirements.in --output-file tests/kube/requirements.lock
"${compile[@]}" image/requirements.in --constraint requirements-dev.lock --output-file image/requirements.lock

if grep -nE 'https?:|file:|--find-links|--index|--extra-index|/(opt|work|root|home|tmp)/' requirements*.lock tests/kernels/*.lock tests/kube/*.lock image/*.lock; then
    die "a lock names a host or a path (see above)" "remove the setting that brought it in, then run: make lock"
fi
