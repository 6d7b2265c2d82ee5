"""Prints what is in the image as CycloneDX 1.5 JSON: Debian packages and Python packages, the same bytes every time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_FORMAT = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"


def debian_packages() -> list[dict[str, Any]]:
    """What dpkg knows."""
    done = subprocess.run(["dpkg-query", "-W", "-f", _FORMAT], capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        name, version, architecture, source = line.split("\t")
        found.append(
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}",
                "properties": [{"name": "debian:source", "value": source}],
            }
        )
    return found


def python_packages() -> list[dict[str, Any]]:
    """What is installed beside this interpreter."""
    found = []
    for item in distributions(
        path=[str(Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages"))]
    ):
        name = re.sub(r"[-_.]+", "-", item.name).lower()
        entry: dict[str, Any] = {
            "type": "library",
            "name": name,
            "version": item.version,
            "purl": f"pkg:pypi/{name}@{item.version}",
        }
        licence = item.metadata.get("License-Expression")
        if licence:
            entry["licenses"] = [{"expression": licence}]
        found.append(entry)
    return found


def main() -> None:
    """``sbom.py EPOCH``."""
    stamp = datetime.fromtimestamp(int(sys.argv[1]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    components = sorted(debian_packages() + python_packages(), key=lambda item: str(item["purl"]))
    for item in components:
        item["bom-ref"] = item["purl"]
    own = next(item for item in components if item["name"] == "lockstep-bgp")
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": stamp, "component": {**own, "type": "container"}},
        "components": [item for item in components if item is not own],
    }
    # A serial number that follows from the content: the same image has the same one.
    number = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(body, sort_keys=True))
    json.dump({**body, "serialNumber": f"urn:uuid:{number}"}, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
