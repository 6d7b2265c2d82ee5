#!/bin/sh
# Second stage: the list of what is in the image, and away with what differs from build to build.
#   finish.sh EPOCH    the date of the commit, in seconds
set -eu
mkdir -p /usr/share/lockstep
/opt/lockstep/bin/python /tmp/image/sbom.py "$1" >/usr/share/lockstep/sbom.cdx.json
rm -rf /tmp/image /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/aux-cache /var/log/*
find /usr /opt /etc /var -newermt "@$1" -exec touch -h -d "@$1" {} +
# It has to run as it is.
/opt/lockstep/bin/lockstep --version
