# Shared by the scripts here: how they talk, and how they reach the package index.

say() { printf '  %-9s %s\n' "${step:-lockstep}" "$*"; }

# die WHAT WHERE: what is missing, then what to do about it.
die() {
    printf '\nlockstep: %s\n' "$1" >&2
    [[ $# -lt 2 ]] || printf '          %s\n' "$2" >&2
    exit 1
}

# pip learns of a private certificate authority from PIP_CERT; uv only from SSL_CERT_FILE.
trust_pip_certificates() {
    if [[ -n ${PIP_CERT:-} && -z ${SSL_CERT_FILE:-} ]]; then
        export SSL_CERT_FILE=$PIP_CERT
    fi
}
