#!/bin/sh
# First stage: builds everything of ours into /opt/lockstep, the same bytes every time.
#   build.sh EPOCH    the date of the commit, in seconds
set -eu
export SOURCE_DATE_EPOCH=$1 PYTHONHASHSEED=0 PIP_DISABLE_PIP_VERSION_CHECK=1
cd /src

# Where the machine that builds has a certificate authority of its own, pip was told; uv is told here.
[ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="$PIP_CERT"

find . -name __pycache__ -type d -prune -exec rm -rf {} +
make --silent -C datapath clean
make --silent -C datapath

# Two environments: one with the tools, and the one that is shipped, which has no installer in it.
[ -x /tools/bin/uv ] || {
    python3 -m venv /tools
    /tools/bin/pip install --quiet --require-hashes -r image/requirements.lock
}
rm -rf /opt/lockstep /src/dist
python3 -m venv --without-pip /opt/lockstep
export UV_LINK_MODE=copy UV_NO_PROGRESS=1
/tools/bin/uv build --quiet --wheel --no-build-isolation --python /tools/bin/python --out-dir dist .
/tools/bin/uv pip install --quiet --python /opt/lockstep/bin/python --require-hashes -r requirements.lock
/tools/bin/uv pip install --quiet --python /opt/lockstep/bin/python --no-deps dist/*.whl

# What says when, where and from which file something was installed differs from build to build, and is of no use.
packages=$(echo /opt/lockstep/lib/python3*/site-packages)
for name in uv_cache.json direct_url.json REQUESTED INSTALLER; do
    find "$packages" -path "*.dist-info/$name" -delete
    find "$packages" -path "*.dist-info/RECORD" -exec sed -i "/\.dist-info\/$name,/d" {} +
done
# Compiled once for all: the image is read-only. By content and not by date, so that dates do not matter.
find /opt/lockstep -name __pycache__ -type d -prune -exec rm -rf {} +
/opt/lockstep/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$packages"
find /opt/lockstep -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
