"""Network namespaces for these tests: made, entered by the calling thread, and removed, also after a crash.

Names carry the pid of the test process; what a dead one left behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PREFIX = "lkdp"
FOLDERS = Path("/run/lockstep-datapath-tests")
_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv: str, netns: str | None = None, stdin: str | None = None, within: float = 30) -> str:
    """Run a command (in a namespace) and return what it printed; a failure shows its stderr. ``within``: seconds."""
    command = ["nsenter", f"--net=/run/netns/{netns}", *argv] if netns else list(argv)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=within)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


def ip(netns: str, lines: Sequence[str]) -> None:
    """Several ``ip`` commands in one namespace."""
    run("ip", "-n", netns, "-batch", "-", stdin="\n".join(lines))


@contextlib.contextmanager
def entered(netns: str) -> Iterator[None]:
    """The calling thread is in this namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    inside = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(inside)
        yield
    finally:
        _setns(before)
        os.close(before)
        os.close(inside)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Names:
    """Names and folders of one test, all removed at its end."""

    _count = 0

    def __init__(self) -> None:
        Names._count += 1
        self.base = f"{PREFIX}{os.getpid()}x{Names._count}"
        self.folder = FOLDERS / self.base
        self.folder.mkdir(parents=True)
        self._netns: list[str] = []

    def netns(self, name: str) -> str:
        """A new namespace with loopback up and forwarding on."""
        full = f"{self.base}-{name}"
        run("ip", "netns", "add", full)
        self._netns.append(full)
        run("ip", "-n", full, "link", "set", "lo", "up")
        settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
        settings += ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
        run("sysctl", "-qw", *settings, netns=full)
        return full

    def remove(self) -> None:
        for full in self._netns:
            subprocess.run(["ip", "netns", "del", full], check=False, capture_output=True)
        _remove_folder(self.folder)


def _remove_folder(folder: Path) -> None:
    for each in (*folder.glob("*"), folder):
        while os.path.ismount(each) and not _libc.umount2(os.fsencode(each), _MNT_DETACH):
            pass
    subprocess.run(["rm", "-rf", str(folder)], check=False)


def sweep() -> None:
    """Remove what dead test processes left behind."""
    for path in (*Path("/run/netns").glob(f"{PREFIX}*x*"), *FOLDERS.glob(f"{PREFIX}*x*")):
        pid = path.name.removeprefix(PREFIX).partition("x")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            if path.parent == FOLDERS:
                _remove_folder(path)
            else:
                subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)


def pass_program(folder: Path) -> Path:
    """An XDP program that lets everything pass."""
    target = folder / "pass.o"
    target.write_bytes(_compiled('__attribute__((section("xdp"), used)) int pass(void *ctx) { return 2; }\n'))
    return target


@functools.cache
def _compiled(source: str) -> bytes:
    command = ["clang", "-target", "bpf", "-O2", "-g", "-x", "c", "-", "-c", "-o", "/dev/stdout"]
    return subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True).stdout


def variant(folder: Path, header: str, text: str, other: str) -> Path:
    """Builds our programs with one place changed."""
    source = folder / "variant"
    shutil.copytree(Path(__file__).parents[2] / "datapath" / "bpf", source)
    original = (source / header).read_text()
    assert text in original
    (source / header).write_text(original.replace(text, other))
    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-I/usr/include/" + run("cc", "-print-multiarch").strip()]
    subprocess.run(["clang", *flags, "-c", source / "lb.bpf.c", "-o", source / "lb.bpf.o"], check=True)
    return source / "lb.bpf.o"
