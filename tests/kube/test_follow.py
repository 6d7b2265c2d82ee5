"""Following an API server through whatever happens to it: the same scenarios against the scripted one and a real one.

Every scenario also checks, at its end, that no event ever lacked the Service that must stay, and that the state built
from changes is what one complete reading gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from announcer.model.objects import ObjectKey
from tests.kube import objects
from tests.kube.server import KubeServer
from tests.kube.worlds import CONFIG_TEXT, NODE, Follower, ScriptedWorld, World, real_world, web_service, web_slice

WITH_SECRET = CONFIG_TEXT.replace("my-asn: 64512}", "my-asn: 64512, password-secret: {name: bgp-auth, key: password}}")


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.kube)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "scripted":
        yield ScriptedWorld(tmp_path)
        return
    server: KubeServer = request.getfixturevalue("kube")
    with real_world(server) as made:
        yield made


async def begun(world: World, follower: Follower) -> int:
    """The first complete state is there; from now on the Service ``web`` must stay. Returns how many events that took:
    a first try that fails is told at once.
    """
    await follower.until(lambda: follower.synced, "the first state", world.patience)
    assert follower.services - {"kubernetes"} == {"web"}
    assert follower.addresses == {"10.244.1.11"}
    follower.protected = {"web"}
    return len(follower.events)


async def converges(world: World, follower: Follower, name: str = "late") -> None:
    """What happens from now on arrives."""
    world.put(web_service(name))
    await follower.until(lambda: name in follower.services, f"{name} has arrived", world.patience)


def test_what_is_there_comes_first_and_what_changes_after(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        await begun(world, follower)
        assert follower.view.config is not None
        assert {key.name for key in follower.snapshot.nodes} == {"n1", "n2"}
        assert follower.snapshot.node is not None
        world.put(web_slice("10.244.1.11", "10.244.1.12"))
        await follower.until(lambda: len(follower.addresses) == 2, "the second endpoint", world.patience)
        world.put(web_slice("10.244.2.11", name="web-2"))
        await follower.until(lambda: len(follower.addresses) == 3, "the second slice", world.patience)
        world.delete("EndpointSlice", "default", "web-1")
        await follower.until(lambda: follower.addresses == {"10.244.2.11"}, "the first slice is gone", world.patience)
        world.put(web_service("other"))
        await follower.until(lambda: "other" in follower.services, "another Service", world.patience)
        world.delete("Service", "default", "other")
        await follower.until(lambda: "other" not in follower.services, "it is gone", world.patience)
        world.put(objects.node(NODE, "192.168.1.21", "10.244.1.0/24", {"rack": "a"}))
        await follower.until(lambda: follower.snapshot.node.labels.get("rack") == "a", "a label", world.patience)  # type: ignore[union-attr]
        world.delete("ConfigMap", "kube-system", "bgp-config")
        await follower.until(lambda: follower.view.state == "missing", "the ConfigMap is gone", world.patience)
        assert follower.view.config is not None, "the last good one stays"

    world.run(scenario)


def test_a_configuration_comes_together_with_the_secrets_that_it_names(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        await begun(world, follower)
        world.put(objects.secret("bgp-auth", {"password": "s3cret"}))
        world.put(objects.secret("other", {"password": "not ours"}))
        world.put(objects.config_map(WITH_SECRET))

        def names_one() -> bool:
            config = follower.view.config
            return config is not None and config.peers[0].password_secret is not None

        await follower.until(names_one, "the new configuration", world.patience)
        key = ObjectKey("kube-system", "bgp-auth")
        assert set(follower.snapshot.secrets) == {key}, "and no other Secret"
        assert follower.unaccompanied == [], "together, not one after the other"
        assert follower.snapshot.secrets[key].data == {"password": b"s3cret"}
        world.put(objects.secret("bgp-auth", {"password": "changed"}))
        await follower.until(
            lambda: follower.snapshot.secrets[key].data == {"password": b"changed"}, "the new password", world.patience
        )
        world.put(objects.config_map(CONFIG_TEXT))
        await follower.until(
            lambda: not follower.snapshot.secrets, "a Secret that nobody names is dropped", world.patience
        )

    world.run(scenario)


def test_a_forgotten_position_is_read_anew_without_a_gap(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        world.put(web_service("doomed"))
        await follower.until(lambda: {"web", "doomed"} <= follower.services, "the first state", world.patience)
        follower.protected = {"web"}
        await world.go_away()
        world.delete("Service", "default", "doomed")
        world.put(web_slice("10.244.1.11", "10.244.1.12"))
        world.forget()
        await world.come_back()
        await follower.until(lambda: "doomed" not in follower.services, "the deletion is noticed", world.patience)
        await follower.until(lambda: len(follower.addresses) == 2, "and the new endpoint", world.patience)
        await converges(world, follower)

    world.run(scenario)


def test_a_cut_connection_goes_on_where_it_was(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        told = await begun(world, follower)
        for round_number in range(3):
            # One that is cut again while it comes back has been away for longer than a moment, and that is told.
            await follower.all_stand(world.patience)
            world.cut()
            await converges(world, follower, f"after-{round_number}")
        assert all(event.synced for event in follower.events[told:]), "nobody was told of it"

    world.run(scenario)


def test_a_silent_connection_is_noticed(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        await begun(world, follower)
        world.freeze()
        world.put(web_service("meanwhile"))
        # Long enough that the watches were given up, however long it takes this world.
        await asyncio.sleep(world.timing.quiet * 2)
        assert "meanwhile" not in follower.services
        world.thaw()
        await follower.until(lambda: "meanwhile" in follower.services, "what happened meanwhile", world.patience)

    world.run(scenario)


def test_while_the_api_server_is_away_the_last_state_stays_and_its_age_grows(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        await begun(world, follower)
        await follower.all_stand(world.patience)
        await world.go_away()
        await follower.until(lambda: not follower.synced, "the trouble is told", world.patience)
        before = follower.source.stale_seconds
        assert before > 0
        assert all("stays in force" in problem.hint for problem in follower.events[-1].problems)
        assert "web" in follower.services
        # Five minutes where time costs nothing.
        away = 300.0 if isinstance(world, ScriptedWorld) else 3.0
        events, began = len(follower.events), asyncio.get_running_loop().time()
        await asyncio.sleep(away)
        assert follower.source.stale_seconds >= before + away - 1
        # A real network finds several words for it; each resource may tell other ones when the first are so old.
        seconds = asyncio.get_running_loop().time() - began
        others = 0.0 if isinstance(world, ScriptedWorld) else seconds / world.timing.ceiling
        told = len(follower.events) - events
        assert told <= 5 * (1 + others), "what lasts is told once, each resource, not at every try"
        world.put(web_service("meanwhile"))
        await world.come_back()
        await follower.until(lambda: "meanwhile" in follower.services, "what happened meanwhile", world.patience)
        await follower.until(lambda: follower.synced, "all is well again", world.patience)
        await follower.all_stand(world.patience)
        assert follower.events[-1].problems == ()

    world.run(scenario)


def test_an_orderly_end_of_a_watch_is_nothing(world: Any) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        told = await begun(world, follower)
        await asyncio.sleep(world.timing.watch[1] + 5)
        await converges(world, follower)
        assert all(event.synced for event in follower.events[told:])

    world.run(scenario)


@pytest.mark.kube
def test_a_real_server_without_watch_list_is_listed_and_watched(kube: KubeServer) -> None:
    async def scenario(world: World, follower: Follower) -> None:
        await begun(world, follower)
        world.cut()
        await converges(world, follower)
        world.delete("Service", "default", "late")
        await follower.until(lambda: "late" not in follower.services, "it is gone", world.patience)

    kube.stop_api()
    kube.start_api("--feature-gates=WatchList=false")
    try:
        with real_world(kube) as world:
            world.run(scenario)
    finally:
        kube.stop_api()
        kube.start_api()
