"""What docs/migration.md tells people to write is taken by Lockstep and by the chart, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from announcer.config import parse
from announcer.config.originals import Dialect, inspect
from announcer.model.bgp import Origin
from tests.chart.helm import find, pods, template

#: Helm, or an API server: `make kube` builds both.
pytestmark = pytest.mark.kube

_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "migration.md").read_text()
_CONFIG, _VALUES = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)


def test_the_file_restores_what_routers_could_tell_apart() -> None:
    result = parse(_CONFIG)
    assert result.config is not None, result.problems
    (pool,) = result.config.pools
    (advertisement,) = pool.advertisements
    assert (advertisement.origin, advertisement.local_pref) == (Origin.INCOMPLETE, 0)
    assert not result.config.pod_cidrs.announce
    plain = re.sub(r" *(- origin|localpref|bgp-advertisements|ttl-security|pod-cidrs):.*\n", "", _CONFIG)
    for dialect in Dialect:
        before = {remark.path for remark in inspect(plain.encode(), dialect) if "restores" in remark.text}
        after = {remark.path for remark in inspect(_CONFIG.encode(), dialect) if "restores" in remark.text}
        assert {"address-pools[0].origin", "peers[0].ebgp-multihop"} <= before, dialect
        assert after == {"peers[0].ebgp-multihop"}, "several hops are for the reader to decide"


def test_the_values_touch_nothing_but_labelled_nodes() -> None:
    objects = template(preset="keep-kube-proxy", values=yaml.safe_load(_VALUES))
    found = pods(objects)
    assert set(found) == {"agent", "speaker"}
    for pod in found.values():
        assert pod["nodeSelector"]["bgp-speaker"] == "lockstep"
    assert "--no-datapath" in found["agent"]["containers"][0]["args"]
    assert parse(find(objects, "ConfigMap")["data"]["config.yaml"]).config is not None
