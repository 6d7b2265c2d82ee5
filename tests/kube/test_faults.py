"""What a real API server does not do on demand, in virtual time: storms, disorder, and answers that are none.

In each: no Service that must stay is ever missing, the source converges after, and it does not hammer meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from announcer.model.objects import ObjectKey
from tests.kube import objects
from tests.kube.scripted import Request, ScriptedServer, refusal
from tests.kube.worlds import CONFIG_TEXT, Follower, ScriptedWorld, web_service, web_slice

PROTOBUF = "application/vnd.kubernetes.protobuf"

Play = Callable[[ScriptedServer, Follower], Awaitable[None]]
Stage = Callable[[Play], None]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Plays a scenario from a good beginning on."""

    def play(scenario: Play) -> None:
        async def begun(world: ScriptedWorld, follower: Follower) -> None:
            await follower.until(lambda: follower.synced, "the first state", 10)
            follower.protected = {"web"}
            await scenario(world.server, follower)

        ScriptedWorld(tmp_path).run(begun)

    return play


def requests(server: ScriptedServer, kind: str = "Service", since: float = 0.0) -> list[Request]:
    return [one for one in server.requests if one.kind == kind and one.time >= since]


def now() -> float:
    return asyncio.get_running_loop().time()


async def converges(server: ScriptedServer, follower: Follower, seconds: float = 60.0) -> None:
    """The ceiling of the back-off is 30 s, so after twice that everything must have arrived."""
    server.put(web_service("late"))
    server.put(web_slice("10.244.1.11", "10.244.1.99"))
    await follower.until(lambda: "late" in follower.services, "a Service", seconds)
    await follower.until(lambda: "10.244.1.99" in follower.addresses, "an endpoint", seconds)


def test_a_storm_of_410_loses_nothing_and_does_not_hammer(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        began = now()

        def storm(request: Request) -> web.Response | None:
            return refusal(410, "Expired") if request.is_watch and now() < began + 300 else None

        server.fault = storm
        server.forget()
        await asyncio.sleep(300)
        tries = requests(server, since=began)
        assert 10 <= len(tries) <= 60, "a ceiling of 30 s, with jitter"
        gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(tries)]
        assert max(gaps) <= 31
        assert len({round(gap, 3) for gap in gaps}) > len(gaps) / 2, "no two agents at the same moment"
        await converges(server, follower)

    stage(scenario)


def test_410_in_the_stream_over_and_over_is_read_anew_each_time(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        began = now()
        for count in range(60):
            server.put(web_service(f"during-{count}"))
            server.forget()
            await asyncio.sleep(1)
        assert len(requests(server, since=began)) <= 60
        await converges(server, follower)
        await follower.until(lambda: len(follower.services) == 62, "all of them", 60)

    stage(scenario)


def test_a_watch_that_is_cut_every_second_still_brings_everything(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        began = now()
        for count in range(120):
            server.put(web_service(f"during-{count % 3}"))
            await asyncio.sleep(1)
            server.cut()
        assert not [one for one in requests(server, since=began) if one.is_list], "it goes on where it was"
        await converges(server, follower)

    stage(scenario)


def test_a_list_that_fails_ten_times_succeeds_at_last(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        failures = 0

        def fail(request: Request) -> web.Response | None:
            nonlocal failures
            if request.kind != "Service" or not request.is_list or failures >= 10:
                return None
            failures += 1
            return refusal(500, "InternalError")

        server.fault = fail
        server.forget()
        await follower.until(lambda: failures == 10, "ten failures", 400)
        assert not follower.synced
        assert any("500 InternalError" in problem.problem for problem in follower.events[-1].problems)
        await follower.until(lambda: follower.synced, "the eleventh", 60)
        await converges(server, follower)

    stage(scenario)


def test_an_api_server_that_asks_to_be_left_alone_is(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        began = now()
        server.fault = lambda _: (
            refusal(429, "TooManyRequests", **{"Retry-After": "20"}) if now() < began + 60 else None
        )
        server.cut()
        await asyncio.sleep(60)
        tries = requests(server, since=began)
        assert len(tries) <= 4, "every twenty seconds"
        await converges(server, follower)

    stage(scenario)


def test_events_out_of_order_never_bring_an_older_state_back(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        old = web_slice("10.244.1.50")
        new = server.put(web_slice("10.244.1.51"))
        server.emit("MODIFIED", old, new - 1)
        await follower.until(lambda: follower.addresses == {"10.244.1.51"}, "the newer one", 10)
        await asyncio.sleep(60)
        assert follower.addresses == {"10.244.1.51"}
        seen = [event for event in follower.events if "10.244.1.50" in str(event)]
        assert not seen

    stage(scenario)


def test_a_deleted_object_does_not_come_back_by_a_late_event(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.put(web_service("gone"))
        await follower.until(lambda: "gone" in follower.services, "it is there", 10)
        end = server.delete("Service", "default", "gone")
        server.emit("MODIFIED", web_service("gone"), end - 1)
        await follower.until(lambda: "gone" not in follower.services, "it is gone", 10)
        await asyncio.sleep(100)
        assert "gone" not in follower.services
        revived = [event for event in follower.events[-5:] if "gone" in str(getattr(event, "changed", ()))]
        assert len(revived) <= 1, "only when it was there"

    stage(scenario)


def test_an_event_that_comes_late_has_everything_read_again(stage: Stage) -> None:
    """A stream that goes back in time may have left something out, and here it has."""

    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.put(web_service("lost"))
        await follower.until(lambda: "lost" in follower.services, "it is there", 10)
        server.silently("Service", "default", "lost")
        server.put(web_service("other"))
        await follower.until(lambda: "other" in follower.services, "news", 10)
        assert "lost" in follower.services, "nobody said that it is gone"
        server.emit("MODIFIED", web_service("other"), server.revision - 1)
        await follower.until(lambda: "lost" not in follower.services, "everything was read again", 60)

    stage(scenario)


def test_duplicates_change_nothing(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        version = server.put(web_slice("10.244.1.11", "10.244.1.12"))
        await follower.until(lambda: len(follower.addresses) == 2, "the change", 10)
        events = len(follower.events)
        for _ in range(20):
            server.emit("MODIFIED", web_slice("10.244.1.11", "10.244.1.12"), version)
        await asyncio.sleep(10)
        assert len(follower.events) == events
        assert not [one for one in requests(server, "EndpointSlice") if one.time > now() - 9]

    stage(scenario)


def test_a_server_that_lags_behind_is_not_believed_but_a_restored_one_is(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.put(web_service("new"))
        await follower.until(lambda: "new" in follower.services, "it is there", 10)
        follower.protected = {"web", "new"}
        present = server.revision
        server.forget()
        server.silently("Service", "default", "new")
        server.rewind(500)
        await asyncio.sleep(50)
        assert "new" in follower.services, "an older state is not taken at once"
        follower.protected = {"web"}
        await follower.until(lambda: "new" not in follower.services, "it insists: restored from a backup", 300)
        assert server.revision < present
        server.compacted = 0
        await converges(server, follower)

    stage(scenario)


@pytest.mark.parametrize(
    "garbage",
    [b"<html>go away</html>\n", b'{"type":"ADDED"}\n', b"\xff\xfe\n", b'{"type":"ADDED","object":{"metadata":5}}\n'],
)
def test_garbage_in_a_stream_is_no_end(stage: Stage, garbage: bytes) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.emit_raw("Service", garbage)
        await asyncio.sleep(1)
        await converges(server, follower)

    stage(scenario)


@pytest.mark.parametrize("garbage", [b"\0\0\0\4k8s\0", b"\x7f\0\0\0", b"k8s\0\x12\xff"])
def test_protobuf_that_cannot_be_read_is_given_up_for_json(tmp_path: Path, garbage: bytes) -> None:
    """From the first answer on, until this process asks for something else."""

    async def scenario(world: ScriptedWorld, follower: Follower) -> None:
        await follower.until(lambda: follower.synced, "the first state", 30)
        followed = [one for one in world.server.requests if one.is_watch and one.kind == "EndpointSlice"]
        assert [PROTOBUF in one.accept for one in followed] == [True, False], "asked for once, and no more"
        await converges(world.server, follower)

    world = ScriptedWorld(tmp_path)

    def broken(request: Request) -> web.Response | None:
        return web.Response(body=garbage, content_type=PROTOBUF) if PROTOBUF in request.accept else None

    world.server.fault = broken
    world.run(scenario)


def test_a_line_that_was_cut_in_the_middle_is_no_event(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.emit_raw("EndpointSlice", b'{"type":"DELETED","object":{"kind":"EndpointSlice"')
        await asyncio.sleep(1)
        server.cut()
        await converges(server, follower)
        assert "10.244.1.11" in follower.addresses

    stage(scenario)


def test_a_state_that_is_cut_before_its_end_replaces_nothing(stage: Stage) -> None:
    """The whole state comes anew, but its last bookmark never does."""

    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        def empty(request: Request) -> web.Response | None:
            if request.is_list and request.kind in ("Service", "EndpointSlice"):
                return web.Response(text="", content_type="application/json")
            return None

        server.fault = empty
        server.forget()
        await asyncio.sleep(120)
        assert follower.services == {"web"}
        assert not follower.synced
        server.fault = lambda _: None
        await converges(server, follower)

    stage(scenario)


def test_without_watch_list_it_lists_in_pages_and_watches(tmp_path: Path) -> None:
    for minor, offered in (("36", False), ("26", True)):
        world = ScriptedWorld(tmp_path)
        world.server.watch_list = offered
        world.server.minor = minor

        async def scenario(world: ScriptedWorld, follower: Follower) -> None:
            await follower.until(lambda: follower.synced, "the first state", 10)
            follower.protected = {"web"}
            for count in range(1100):
                world.server.put(web_service(f"many-{count}"))
            await follower.until(lambda: len(follower.services) == 1101, "all of them", 30)
            world.server.forget()
            world.server.delete("Service", "default", "many-7")
            await follower.until(lambda: len(follower.services) == 1100, "after another list", 60)
            lists = [one for one in requests(world.server) if one.is_list and not one.is_watch]
            assert len(lists) >= 4, "one page at first, three later"
            await converges(world.server, follower)

        world.run(scenario)


def test_a_token_that_is_refused_is_read_again_at_once(tmp_path: Path) -> None:
    world = ScriptedWorld(tmp_path)

    async def scenario(world: ScriptedWorld, follower: Follower) -> None:
        await follower.until(lambda: follower.synced, "the first state", 10)
        follower.protected = {"web"}
        world.server.token = "second"
        world.server.cut()
        await follower.until(lambda: not follower.synced, "the first token is refused", 60)
        assert "401" in str(follower.events[-1].problems)
        world.kubeconfig("second")
        await converges(world.server, follower)
        # Some watches may still wait for their next try, and what comes of that is told.
        await follower.all_stand(60)
        # The next one is there before it is needed, as a kubelet does it: then nobody notices.
        world.kubeconfig("third")
        world.server.token = "third"
        events = len(follower.events)
        world.server.cut()
        world.server.put(web_service("with-the-third"))
        await follower.until(lambda: "with-the-third" in follower.services, "at the second try", 10)
        assert all(event.synced for event in follower.events[events:])

    world.run(scenario)


def test_one_secret_that_is_forbidden_keeps_nobody_waiting(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.fault = lambda request: refusal(403, "Forbidden") if request.kind == "Secret" else None
        reference = "my-asn: 64512, password-secret: {name: bgp-auth, key: password}}"
        server.put(objects.config_map(CONFIG_TEXT.replace("my-asn: 64512}", reference)))

        def applied() -> bool:
            config = follower.view.config
            return config is not None and config.peers[0].password_secret is not None

        await follower.until(applied, "the configuration", 30)
        assert ObjectKey("kube-system", "bgp-auth") not in follower.snapshot.secrets
        assert any(
            "secret kube-system/bgp-auth" in str(one) and "403" in str(one) for one in follower.events[-1].problems
        )
        await converges(server, follower)

    stage(scenario)


def test_an_object_that_cannot_be_understood_keeps_its_last_good_state(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        wrong = web_service()
        wrong["spec"]["ports"][0]["port"] = "eighty"
        server.put(wrong)
        await follower.until(lambda: follower.events[-1].problems, "the problem is told", 10)
        assert "Service default/web" in str(follower.events[-1].problems[0])
        assert follower.snapshot.services[ObjectKey("default", "web")].ports[0].port == 80
        server.put(web_service())
        await follower.until(lambda: not follower.events[-1].problems, "it is right again", 10)

    stage(scenario)


def test_what_nobody_uses_makes_no_event(stage: Stage) -> None:
    """A Node is written every few minutes, a Service whenever a controller marks it: no reason to decide anew."""

    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        events = len(follower.events)
        marked = web_service()
        marked["metadata"]["managedFields"] = [{"manager": "someone"}]
        server.put(marked)
        node = objects.node("n1", "192.168.1.21", "10.244.1.0/24")
        node["status"]["images"] = [{"names": ["example/app"], "sizeBytes": 5}]
        server.put(node)
        await asyncio.sleep(5)
        assert len(follower.events) == events

    stage(scenario)


def test_the_other_nodes_are_looked_at_and_not_watched(stage: Stage) -> None:
    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        server.put(objects.node("n3", "192.168.1.23", "10.244.3.0/24"))
        await follower.until(lambda: ObjectKey("", "n3") in follower.snapshot.nodes, "the new node", 800)
        watches = [one for one in requests(server, "Node") if one.is_watch]
        assert all("fieldSelector" in one.query for one in watches)

    stage(scenario)


def test_a_node_that_is_new_is_found_soon_by_one_look(stage: Stage) -> None:
    """Geneve to its Pods has to wait for its address. In a large cluster not all agents look at once."""

    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        def looks() -> int:
            return sum("fieldSelector" not in one.query for one in requests(server, "Node"))

        server.put(objects.node("n3", "192.168.1.23", "10.244.3.0/24"))
        before = looks()
        await asyncio.sleep(100)
        assert looks() == before, "control: not by itself for minutes"
        follower.source.look_again()
        await follower.until(lambda: ObjectKey("", "n3") in follower.snapshot.nodes, "the new node", 5)
        after = looks()
        await asyncio.sleep(100)
        assert looks() == after

    stage(scenario)


def test_while_this_node_is_to_leave_the_others_are_looked_at_closely(stage: Stage) -> None:
    """Whole clusters get cordoned at once: nobody may leave on what the others were minutes ago."""

    async def scenario(server: ScriptedServer, follower: Follower) -> None:
        look = follower.source.look_closely
        assert not look(True), "what was read before it was asked for does not count"
        await follower.until(lambda: look(True), "a fresh look", 5)
        server.put(objects.node("n3", "192.168.1.23", "10.244.3.0/24"))
        await follower.until(lambda: ObjectKey("", "n3") in follower.snapshot.nodes, "the new node, soon", 10)
        server.fault = lambda request: refusal(500, "InternalError") if request.kind == "Node" else None
        await follower.until(lambda: not look(True), "not fresh any more", 30)
        server.fault = lambda _: None
        await follower.until(lambda: look(True), "fresh again", 60)
        assert not look(False)

    stage(scenario)


def test_nothing_is_told_before_everything_was_read_but_why_not(tmp_path: Path) -> None:
    world = ScriptedWorld(tmp_path)
    world.server.fault = lambda request: refusal(403, "Forbidden") if request.kind == "EndpointSlice" else None

    async def scenario(world: ScriptedWorld, follower: Follower) -> None:
        await follower.until(lambda: follower.events, "the trouble", 10)
        await asyncio.sleep(100)
        assert not follower.snapshot.synced
        assert not any(event.synced for event in follower.events)
        assert "endpointslices" in str(follower.events[-1].problems)
        assert follower.source.stale_seconds > 100
        world.server.fault = lambda _: None
        await follower.until(lambda: follower.synced, "the first state", 60)

    world.run(scenario)
