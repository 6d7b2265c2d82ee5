"""From source events to snapshots: which configuration counts, and what survives a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from announcer.inputs import absorb, config_from_objects
from announcer.model.errors import ConfigProblem
from announcer.model.objects import ConfigMap, KubeObject, ObjectKey
from announcer.run.last_good import LastGood
from announcer.snapshot import ConfigState, ConfigView, Snapshot
from announcer.sources.events import Replace
from tests.announcer.build import CONFIG, config, endpoints, ip, key, node, service

GOOD = ConfigView(state=ConfigState.APPLIED, config=config())


def config_map(text: str | None, namespace: str = "kube-system") -> ConfigMap:
    data = {} if text is None else {"config.yaml": text}
    return ConfigMap(key=ObjectKey(namespace, "bgp-config"), data=data, file="f.yaml", lines={"config.yaml": 7})


def test_a_good_one_is_applied() -> None:
    view = config_from_objects(ConfigView(), [node(), config_map(CONFIG)])
    assert view == GOOD


@pytest.mark.parametrize(
    ("objects", "state"),
    [
        ([config_map("peers: 5")], ConfigState.STALE),
        ([config_map("")], ConfigState.STALE),
        ([config_map("peers: []\naddress-pools: []\n")], ConfigState.STALE),
        ([config_map(None)], ConfigState.MISSING),
        ([], ConfigState.MISSING),
    ],
)
def test_whatever_comes_after_a_good_one_leaves_it_in_force(objects: list[ConfigMap], state: ConfigState) -> None:
    view = config_from_objects(GOOD, objects)
    assert (view.state, view.config) == (state, GOOD.config)
    assert view.problems


def test_without_a_good_one_a_bad_one_is_invalid_and_an_empty_one_is_fine() -> None:
    assert config_from_objects(ConfigView(), [config_map("peers: 5")]).state is ConfigState.INVALID
    assert config_from_objects(ConfigView(), [config_map("")]).state is ConfigState.APPLIED


def test_kube_system_goes_before_other_namespaces() -> None:
    other = CONFIG.replace("64512", "64999")
    view = config_from_objects(ConfigView(), [config_map(other, "a"), config_map(CONFIG), config_map(other, "z")])
    assert view == GOOD


def test_a_snapshot_stays_synced_and_counts_up() -> None:
    first = absorb(Snapshot(revision=0, node_name="n1"), Replace(objects=(node(),)), GOOD, standalone=True)
    away = absorb(first, Replace(objects=(node(),), synced=False), GOOD, standalone=True)
    assert (first.synced, first.revision) == (True, 1)
    assert (away.synced, away.revision) == (True, 2)


def test_a_reading_with_problems_is_incomplete_until_one_without() -> None:
    """Afterwards the source keeps the last good state of what it cannot read, so problems lose nothing any more."""
    problem = ConfigProblem(file="service.yaml", problem="cut off")
    first = absorb(Snapshot(revision=0, node_name="n1"), Replace(problems=(problem,)), GOOD, standalone=True)
    second = absorb(first, Replace(objects=(node(),)), GOOD, standalone=True)
    third = absorb(second, Replace(objects=(node(),), problems=(problem,)), GOOD, standalone=True)
    assert (first.complete, second.complete, third.complete) == (False, True, True)


def test_standalone_gives_addresses_and_says_why_not() -> None:
    objects = (
        service("auto", vip=None),
        service("asked", vip=None, requested=(ip("203.0.113.7"),)),
        service("outside", vip=None, requested=(ip("198.18.0.1"),)),
        endpoints("auto", "10.244.1.10"),
    )
    seen = absorb(Snapshot(revision=0, node_name="n1"), Replace(objects=objects), GOOD, standalone=True)
    assert seen.allocated[key("asked")] == (ip("203.0.113.7"),)
    assert seen.allocated[key("auto")]
    assert "198.18.0.1" in seen.refused[key("outside")]
    cluster = absorb(Snapshot(revision=0, node_name="n1"), Replace(objects=objects), GOOD, standalone=False)
    assert not cluster.allocated


def test_the_last_good_configuration_outlives_the_agent(tmp_path: Path) -> None:
    folder = tmp_path
    LastGood(folder).keep(GOOD)
    loaded = LastGood(folder).load()
    assert loaded.config == GOOD.config
    assert loaded.state is ConfigState.MISSING, "it counts, but no source has delivered it yet"
    assert (folder / "last-good-config.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"peers": [{"name": 5}]}', b"\xff\xff"])
def test_a_damaged_file_of_ours_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path
    (folder / "last-good-config.json").write_bytes(content)
    assert LastGood(folder).load() == ConfigView()


def test_a_stale_view_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path
    LastGood(folder).keep(ConfigView(state=ConfigState.STALE, config=config()))
    assert LastGood(folder).load() == ConfigView()


def standing(*objects: KubeObject, before: Snapshot | None = None) -> Snapshot:
    first = before or Snapshot(revision=0, node_name="n1")
    view = config_from_objects(first.config, [config_map(CONFIG)])
    return absorb(first, Replace(objects=objects), view, standalone=True)


def test_what_did_not_change_is_the_same_value_as_before() -> None:
    """A source that tells everything anew costs no more than one that tells what has changed."""
    auto, other = service("auto", vip=None), service("other", vip="203.0.113.9")
    refused = service("outside", vip=None, requested=(ip("198.18.0.1"),))
    one, two = endpoints("auto", "10.244.1.10"), endpoints("other", "10.244.1.11")
    this = node()
    before = standing(this, auto, other, refused, one, two)
    again = standing(this, auto, other, refused, one, two, before=before)
    for name in ("nodes", "services", "slices", "secrets", "allocated", "refused"):
        assert getattr(again, name) is getattr(before, name), name
    assert again.config.config is before.config.config
    changed = standing(this, auto, refused, one, endpoints("other", "10.244.1.12"), before=before)
    assert changed.slices[key("auto")] is before.slices[key("auto")]
    assert changed.slices[key("other")] is not before.slices[key("other")]
    assert changed.services.keys() == {key("auto"), key("outside")}
    assert changed.allocated[key("auto")] is before.allocated[key("auto")]
    assert changed.refused[key("outside")] is before.refused[key("outside")]
