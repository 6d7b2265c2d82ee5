"""When an engine counts as dead: never because the machine is busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from bgpd.liveness import JUDGE_SECONDS, Life, Liveness, Process, read_process
from tests.bgpd.rig import eventually

SILENCE, STALL = 3.0, 10.0


class Bench:
    """Looks at one engine, with a clock and a process that do as told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.process: Process | None = Process("S", 0.0)
        self.question: float | None = 1.0
        self.busy = False
        self.pid = 7
        self._liveness = Liveness(silence=SILENCE, stall=STALL, read=lambda _: self.process)
        self.look()

    def look(self) -> Life:
        return self._liveness.look(self.pid, self.question, busy=self.busy, now=self.now)

    def after(self, seconds: float, *, waiting: float = 0.0, asleep: float = JUDGE_SECONDS) -> Life:
        """What it says then. ``waiting``: share of the time for which the engine waits for a CPU."""
        end, life = self.now + seconds, Life.FINE
        while self.now < end:
            self.now += asleep
            if self.process is not None:
                self.process = Process(self.process.state, self.process.waited + waiting * asleep)
            life = self.look()
        return life


def test_an_engine_that_owes_and_could_run_is_soon_remarked_and_then_given_up() -> None:
    bench = Bench()
    assert bench.after(1.0) is Life.FINE
    assert bench.after(0.5) is Life.SILENT
    assert bench.after(SILENCE - 1.5) is Life.SILENT
    assert bench.after(0.5) is Life.STUCK


def test_an_answer_begins_anew_and_who_owes_nothing_is_fine() -> None:
    bench = Bench()
    for answered in range(10):
        assert bench.after(SILENCE - 0.5) is Life.SILENT
        bench.question = float(answered)
        assert bench.look() is Life.FINE
    bench.question = None
    assert bench.after(100) is Life.FINE


def test_time_without_a_cpu_does_not_count_up_to_the_limit() -> None:
    bench = Bench()
    assert bench.after(STALL, waiting=1.0) is Life.FINE
    assert bench.after(0.5, waiting=1.0) is Life.STUCK
    bench = Bench()
    assert bench.after(2 * SILENCE, waiting=0.75) is Life.SILENT
    assert Bench().after(2 * SILENCE) is Life.STUCK, "control"


def test_a_disk_or_a_reload_may_take_longer() -> None:
    bench = Bench()
    bench.process = Process("D", 0.0)
    assert bench.after(STALL) is Life.FINE
    assert bench.after(0.5) is Life.STUCK
    bench = Bench()
    bench.busy = True
    assert bench.after(STALL) is Life.FINE


def test_while_we_stand_still_ourselves_nothing_counts() -> None:
    """A minute of SIGSTOP, or a virtual machine that was paused: the answer is waiting for us to read it."""
    bench = Bench()
    assert bench.after(60, asleep=60) is Life.FINE


def test_another_engine_begins_anew() -> None:
    bench = Bench()
    assert bench.after(SILENCE) is Life.SILENT
    bench.pid += 1
    assert bench.look() is Life.FINE
    bench.process = None
    assert bench.after(100) is Life.FINE


def test_one_that_was_stopped_is_no_dead_one() -> None:
    bench = Bench()
    bench.process = Process("T", 0.0)
    assert bench.look() is Life.STOPPED
    assert bench.after(100) is Life.STOPPED


def test_what_the_kernel_says_of_a_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        eventually(lambda: (read_process(child.pid) or Process("", 0)).state == "S")
        child.send_signal(signal.SIGSTOP)
        eventually(lambda: (read_process(child.pid) or Process("", 0)).state == "T")
    finally:
        child.kill()
        child.wait()
    assert read_process(child.pid) is None
    own = read_process(os.getpid())
    assert own is not None
    assert own.state == "R"
