"""The image, built by its own Containerfile in clean roots: it works with little, and it is the same every time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.image.confined import ImageAgent, confined
from tests.image.containerfile import Image, build, run_in
from tests.lab import Lab, send, until

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(900)]

_CHECKOUT = Path(__file__).resolve().parents[2]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep"
_EPOCH = "1764000000"
_VIP = "203.0.113.10"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="image-test.", dir=_CACHE))
    try:
        yield build(_CHECKOUT / "Containerfile", folder, _CACHE, {"EPOCH": _EPOCH})
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def capabilities() -> list[str]:
    """What the chart gives the agent."""
    values = yaml.safe_load((_CHECKOUT / "helm" / "lockstep" / "values.yaml").read_text())
    return list(values["agent"]["capabilities"])


def test_agent_and_speaker_serve_a_vip_with_what_the_chart_allows(image: Image, lab: Lab) -> None:
    """Read-only root, no new privileges, the agent with the chart's capabilities and the speaker with none."""
    agents = [ImageAgent(node, image, capabilities()) for node in lab.nodes]
    for agent in agents:
        agent.start_speaker()
        agent.start()
    wanted = frozenset(node.address for node in lab.nodes)
    until(lambda: lab.router.fib().get(f"{_VIP}/32") == wanted, "the router has the VIP from both nodes", 60)
    for agent in agents:
        agent.await_announced(_VIP, 60)
    traffic = send(lab.client, f"{_VIP}:80", count=60)
    assert (traffic.ok, traffic.failed) == (60, 0), traffic
    # Upgrade: the agent ends and another one starts; the speaker knows nothing of it.
    since = agents[0].status()["peers"][0]["since"]
    assert agents[0].terminate() == 0
    agents[0].start()
    agents[0].await_announced(_VIP, 60)
    assert agents[0].status()["peers"][0]["since"] == since
    for agent in agents:
        agent.terminate()


@pytest.mark.parametrize("missing", capabilities())
def test_each_capability_is_needed(image: Image, lab: Lab, missing: str) -> None:
    agent = ImageAgent(lab.nodes[1], image, [name for name in capabilities() if name != missing])
    done = agent.try_to_start()
    assert done.returncode == 1, done.stderr
    assert "Operation not permitted" in done.stderr or "Permission denied" in done.stderr


def test_two_builds_are_the_same(image: Image) -> None:
    root = image.stages["build"]
    first, second = root / "opt" / "first", root / "opt" / "lockstep"
    second.rename(first)
    run_in(root, f"sh /src/image/build.sh {_EPOCH}", {})
    done = subprocess.run(
        ["diff", "-rq", "--no-dereference", first, second], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    stamps = {path.lstat().st_mtime for path in second.rglob("*")}
    assert stamps == {float(_EPOCH)}


def test_the_list_of_contents_is_complete(image: Image) -> None:
    bom = json.loads((image.root / "usr" / "share" / "lockstep" / "sbom.cdx.json").read_text())
    found = {item["purl"].partition("?")[0] for item in bom["components"]}
    lock = (_CHECKOUT / "requirements.lock").read_text()
    locked = re.findall(r"^([\w.-]+)==([\w.]+)(?: ; (.*?))? \\$", lock, re.MULTILINE)
    assert len(locked) > 20
    for name, version, marker in locked:
        assert f"pkg:pypi/{name}@{version}" in found or marker, name
    for name in ("libbpf1", "python3", "libc6"):
        assert any(purl.startswith(f"pkg:deb/debian/{name}@") for purl in found), name
    assert bom["metadata"]["component"]["name"] == "lockstep-bgp"


def test_what_builds_it_is_not_in_it(image: Image) -> None:
    for name in (
        "usr/bin/clang",
        "usr/bin/gcc",
        "usr/bin/make",
        "opt/lockstep/bin/pip",
        "opt/lockstep/bin/uv",
        "src",
        "tmp/image",
    ):
        assert not (image.root / name).exists(), name
    assert not list((image.root / "var" / "lib" / "apt" / "lists").iterdir())


def test_it_runs_as_nobody_in_particular(image: Image) -> None:
    """The user of the image is no root, and the programs need no home and no writable folder."""
    assert image.user == "65532:65532"
    done = subprocess.run(
        confined(
            image,
            [],
            ["check", "/mnt/bgp-config.yaml"],
            user=image.user,
            binds={_CHECKOUT / "configs" / "standalone": "/mnt"},
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
