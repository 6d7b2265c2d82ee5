#!/usr/bin/env bash
# Builds what the tests need of Kubernetes (kube-apiserver, kube-controller-manager, etcd, helm) from the published Go
# modules that tests/kube names, into a cache outside of the checkout: about six minutes once, then nothing to do.
#
#   scripts/kube.sh          builds what is missing
#   scripts/kube.sh --path   prints the folder of the binaries, and builds nothing
#
# KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, ETCD and HELM name binaries to take instead.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/packages.sh
step=kube

cache=${XDG_CACHE_HOME:-$HOME/.cache}/lockstep
modules=tests/kube

# Count up when what is built changes though the modules do not (flags of the linker, for example).
readonly recipe=1

key() {
    { cat $modules/{servers,helm}/go.{mod,sum} $modules/servers/etcd/main.go; echo "$recipe $(uname -m)"; } | sha256sum | cut -c1-16
}
bin=$cache/kube-$(key)

if [[ ${1:-} == --path ]]; then
    echo "$bin"
    exit
fi

# The modules name the Go that they need. One that is too old (Debian 12 has 1.19) is left alone, and the locked one of
# the Python package index is used: Go's own way to fetch a newer one came only with 1.21.
find_go() {
    local wanted found
    wanted=$(sed -n 's/^go //p' $modules/servers/go.mod)
    found=$(go env GOVERSION 2>/dev/null || true)
    if [[ -n $found ]] && version_at_least "${found#go}" "$wanted"; then
        command -v go
        return
    fi
    local home=$cache/go-$(sha256sum <$modules/requirements.lock | cut -c1-16)
    if [[ ! -x $home/bin/go ]]; then
        say "no Go $wanted here; fetching the locked one" >&2
        trust_pip_certificates
        rm -rf "$home.new"
        .venv/bin/uv pip install --quiet --require-hashes --target "$home.new" --requirement $modules/requirements.lock >&2 ||
            die "cannot install Go $wanted from the package index" "install Go $wanted or later yourself, or say: make setup"
        rm -rf "$home"
        mv "$home.new" "$home"
    fi
    # The package has a start script at bin/go, which expects to be found on the path of Python; this is the program itself.
    echo "$home/go/bin/go"
}

# build NAME VARIABLE MODULE PACKAGE [LDFLAGS]
build() {
    local name=$1 variable=$2 module=$3 package=$4 flags=${5:-}
    if [[ -n ${!variable:-} ]]; then
        [[ -x ${!variable} ]] || die "$variable names ${!variable}, which cannot be run" "name the binary of $name, or unset $variable"
        say "$name: ${!variable}, as $variable says"
        return
    fi
    [[ ! -x $bin/$name ]] || return 0
    go=${go:-$(find_go)}
    say "building $name (a few minutes, once)"
    local began=$SECONDS
    # -p 2: what the linker and the largest packages need beside each other fits in 4 GiB.
    (cd "$modules/$module" && GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 nice -n 10 "$go" build -p 2 -buildvcs=false -trimpath \
        -ldflags "-s -w $flags" -o "$bin/$name.new" "$package") ||
        die "cannot build $name" "see above; $variable may name a binary that you have"
    mv "$bin/$name.new" "$bin/$name"
    say "built $name in $((SECONDS - began)) s"
}

# What an API server is without this: a development version that no client can compare with anything.
kube_version_flags() {
    local version
    version=$(sed -n 's/^.*k8s.io\/kubernetes v\([0-9.]*\).*$/\1/p' $modules/servers/go.mod | head -n 1)
    local name=k8s.io/component-base/version
    echo "-X $name.gitVersion=v$version -X $name.gitMajor=${version%%.*} -X $name.gitMinor=$(cut -d. -f2 <<<"$version")"
}

# One at a time, whatever version they build: the fetched Go is for all of them. A build that is interrupted leaves only
# NAME.new, which nothing looks at and the next one overwrites.
mkdir -p "$bin"
exec 9>"$cache/.kube.lock"
flock 9
flags=$(kube_version_flags)
build etcd ETCD servers ./etcd
build kube-apiserver KUBE_APISERVER servers k8s.io/kubernetes/cmd/kube-apiserver "$flags"
build kube-controller-manager KUBE_CONTROLLER_MANAGER servers k8s.io/kubernetes/cmd/kube-controller-manager "$flags"
build helm HELM helm helm.sh/helm/v3/cmd/helm
# Caches of earlier versions: what nobody used for a month is nobody's any more.
touch "$bin"
find "$cache" -maxdepth 1 -name 'kube-*' -mtime +30 -exec rm -rf {} +
say "all there"
