"""Putting one agent together, running it, and taking it apart again.

What is taken apart is only the agent: programs, maps and links stay pinned, the speaker and its sessions stay up. A
restart finds all of it as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path

from announcer.model.errors import BugError, TargetError
from announcer.record.recorder import Recorder
from announcer.run.agent import Agent
from announcer.run.feed import Feed, open_source
from announcer.run.forwarding import Forwarding, ForwardingError, open_forwarding
from announcer.run.health_ports import HealthPorts
from announcer.run.memory import expect_many_objects, settle
from announcer.run.privacy import keep_memory_private
from announcer.run.settings import AgentSettings
from announcer.run.sight import SightMaker
from announcer.run.wiring import Hands
from announcer.status.endpoint import Endpoint
from announcer.status.http import ListenError, listen
from bgpd.client import SpeakerClient
from bgpd.spawn import begin_speaker, ensure_speaker

log = logging.getLogger(__name__)

#: How long to wait for a speaker that was started before another is.
_SPEAKER_AGAIN_SECONDS = 1.0
#: How often to look whether the start is over, and how long it may still go on then.
_SETTLE_SECONDS = 5.0
#: How often to look whether a planned exit has drained the node.
_DRAINED_CHECK_SECONDS = 0.05


class StartError(Exception):
    """Why an agent cannot start, in words for the operator."""


async def run_agent(settings: AgentSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises :class:`StartError`."""
    os.umask(0o077)  # what is written is for this user only
    keep_memory_private()
    expect_many_objects()
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(settings.state_dir), _speaker_begun(settings), _open(settings) as forwarding:
        client = SpeakerClient(settings.speaker_socket)
        recorder = Recorder(settings.record, settings.plan, limit=settings.record_bytes)
        hands = Hands(datapath=forwarding.hand, bgp=client)
        agent = Agent(hands, settings.node_name, lb_mode=settings.lb_mode, settings=settings.plan, recorder=recorder)
        feed = Feed(settings, agent, open_source(settings))
        looks = SightMaker(agent, feed, forwarding.counters)
        counted = (agent.latency.registry, agent.repairs.registry)
        tracer = forwarding.tracer(looks.look)
        endpoint = Endpoint(looks.look, tracer, counted, aliases=settings.metrics_aliases)
        async with _serving(settings, endpoint):
            await _run_until_signal(
                functools.partial(_leave, settings, agent, feed),
                agent.loop(), feed.follow(), _follow_speaker(client, agent), _keep_speaker(settings, agent),
                _answer_health_checks(settings, agent, looks), _write_events(settings, looks),
                forwarding.follow(agent), _settle_memory(agent),
            )  # fmt: skip
        await client.close()
        recorder.close()


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the state folder: two agents would undo each other's work."""
    descriptor = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another agent is running with the state folder {state_dir}") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _speaker_begun(settings: AgentSettings) -> Iterator[None]:
    """It takes as long to start as the programs take to load; the two do not wait for each other."""
    if settings.spawn_speaker:
        with contextlib.suppress(TargetError):  # it is tried again, and told
            begin_speaker(settings.state_dir)
    yield


@contextlib.contextmanager
def _open(settings: AgentSettings) -> Iterator[Forwarding]:
    with contextlib.ExitStack() as stack:
        try:
            forwarding = stack.enter_context(open_forwarding(settings))
        except ForwardingError as error:
            raise StartError(str(error)) from error
        yield forwarding


@contextlib.asynccontextmanager
async def _serving(settings: AgentSettings, endpoint: Endpoint) -> AsyncIterator[None]:
    """The status endpoint on every address asked for, and always on the socket that the command line uses."""
    addresses = dict.fromkeys((f"unix:{settings.status_socket}", *settings.status_listen), endpoint.handle)
    addresses |= dict.fromkeys(settings.metrics_listen, endpoint.handle_public)
    servers: list[asyncio.Server] = []
    try:
        for address, handler in addresses.items():
            servers.append(await listen(address, handler))
        yield
    except ListenError as error:
        raise StartError(str(error)) from error
    finally:
        for server in servers:
            server.close()
        settings.status_socket.unlink(missing_ok=True)


async def _run_until_signal(
    leave: Callable[[asyncio.Event], Awaitable[None]], *work: Coroutine[None, None, None]
) -> None:
    """Run all of ``work``. Any of it ending by itself is a bug and ends the agent; so does a signal, in peace.

    ``leave`` is awaited between the signal and the end, and told when a second signal comes.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_forever(piece)) for piece in work]
        await stop.wait()
        stop.clear()
        await leave(stop)
        log.info("stopping: the datapath stays pinned, the speaker keeps its sessions")
        for task in tasks:
            task.cancel()


async def _leave(settings: AgentSettings, agent: Agent, feed: Feed, again: asyncio.Event) -> None:
    """Drain before a planned exit, if that was asked for. A second signal, or the limit, cuts it short."""
    if settings.drain_on_exit is None:
        return
    log.info("planned exit: draining this node for at most %.0f s", settings.drain_on_exit)
    feed.leave()
    end = time.monotonic() + settings.drain_on_exit
    while not agent.drained and not again.is_set() and time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_CHECK_SECONDS):
                await again.wait()
    if not agent.drained:
        log.warning("the node is not drained; what is left is withdrawn when the speaker ends")


async def _forever(piece: Coroutine[None, None, None]) -> None:
    await piece
    raise BugError("a task that never ends has ended")


async def _follow_speaker(client: SpeakerClient, agent: Agent) -> None:
    """Have a round whenever the speaker has news."""
    await client.start()
    while True:
        await client.changed.wait()
        client.changed.clear()
        agent.wake()


async def _answer_health_checks(settings: AgentSettings, agent: Agent, looks: SightMaker) -> None:
    if settings.health_check_node_ports:
        ports = HealthPorts(looks.look)
        looks.closed_ports = ports.problems
        await ports.follow(lambda: agent.desired.health_checks, agent.decided)
    await asyncio.Event().wait()


async def _write_events(settings: AgentSettings, looks: SightMaker) -> None:
    """Only a cluster has somebody who reads them."""
    if settings.source is None:
        from announcer.run.events import EventWriter
        from announcer.sources.kube import ClusterAccess

        access = ClusterAccess(kubeconfig=settings.kubeconfig)
        await EventWriter(access, settings.node_name, looks.look).run()
    await asyncio.Event().wait()


async def _settle_memory(agent: Agent) -> None:
    """Once the peers were told everything, what the start brings is there."""
    while not agent.observed.completed:
        await agent.decided.after(agent.decided.count, _SETTLE_SECONDS)
    await asyncio.sleep(_SETTLE_SECONDS)
    await asyncio.to_thread(settle)
    await asyncio.Event().wait()


async def _keep_speaker(settings: AgentSettings, agent: Agent) -> None:
    """Start a speaker whenever none answers, unless somebody else looks after it."""
    begun = True
    while settings.spawn_speaker:
        known = agent.reached.count
        if agent.observed.bgp.reachable:
            await agent.reached.after(known)
            continue
        try:
            await ensure_speaker(settings.state_dir, begun=begun)
        except (OSError, TargetError) as error:
            log.error("cannot start the speaker", extra={"problem": str(error)})
        begun = False
        await agent.reached.after(known, _SPEAKER_AGAIN_SECONDS)
    await asyncio.Event().wait()
