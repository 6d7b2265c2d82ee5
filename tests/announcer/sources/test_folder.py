"""The folder source on real file systems: what programs do to files, and what is seen of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from announcer.sources.events import Replace
from announcer.sources.folder import FolderSource
from announcer.sources.scan import Listing, list_folder, read_content
from tests.announcer.sources.test_fold import names, problems, service

#: Far longer than anything takes; only a test that fails waits for it.
DEADLINE = 20.0


class Followed:
    """A folder and the events of its source."""

    def __init__(self, path: Path, events: AsyncIterator[Replace]) -> None:
        self.path = path
        self._events = events
        self.last: Replace | None = None
        self.count = 0

    async def until(self, wanted: Callable[[Replace], bool]) -> Replace:
        """The next event for which ``wanted`` holds."""
        async with asyncio.timeout(DEADLINE):
            async for event in self._events:
                self.last, self.count = event, self.count + 1
                if wanted(event):
                    return event
        raise AssertionError("the source ended")

    async def names(self, *expected: str) -> Replace:
        """The next event whose objects have these names."""
        return await self.until(lambda event: names(event) == list(expected))

    def write(self, name: str, content: str) -> None:
        (self.path / name).write_text(content)


def follow(
    path: Path, steps: Callable[[Followed], Awaitable[None]], *, poll: float = 3600.0, settle: float = 0.01
) -> None:
    """Run ``steps`` on a followed folder. Without another ``poll``, inotify alone has to notice."""

    async def main() -> None:
        events = FolderSource(path, poll=poll, settle=settle, patience=DEADLINE).events()
        try:
            await steps(Followed(path, events))
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    gc.collect()  # what other tests left to the collector must not go in between
    before = _descriptors()
    asyncio.run(main())
    assert not _descriptors() - before, "the source left a descriptor open"


def _descriptors() -> set[tuple[str, str]]:
    """Numbers, and what they are of: one that another test's leftovers close meanwhile is nobody's leak."""
    folder = "/proc/self/fd"
    found = set()
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # the one of the listing itself
            found.add((number, os.readlink(f"{folder}/{number}")))
    return found


def test_an_empty_folder_is_a_complete_state(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        event = await folder.names()
        assert (event.problems, event.synced) == ((), True)

    follow(tmp_path, steps)


def test_files_that_come_change_and_go(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        await folder.names()
        folder.write("b.yaml", service("two"))
        await folder.names("two")
        folder.write("a.yml", service("one"))
        await folder.names("one", "two")
        folder.write("c.json", '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "three"}}')
        await folder.names("one", "two", "three")
        folder.write("b.yaml", service("changed"))
        await folder.names("one", "changed", "three")
        (folder.path / "b.yaml").unlink()
        await folder.names("one", "three")
        (folder.path / "c.json").rename(folder.path / "c.txt")
        await folder.names("one")

    follow(tmp_path, steps)


def test_a_file_that_is_renamed_over_another(tmp_path: Path) -> None:
    """What editors and careful programs do."""

    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("one"))
        await folder.names("one")
        folder.write(".a.yaml.swp", service("never"))
        (folder.path / ".a.yaml.swp").rename(folder.path / "a.yaml")
        await folder.names("never")
        (folder.path / "a.yaml").rename(folder.path / "a.yaml~")
        folder.write("a.yaml", service("two"))
        assert names(await folder.until(lambda event: names(event) != ["never"])) in ([], ["two"])
        if folder.last is not None and names(folder.last) == []:
            await folder.names("two")

    follow(tmp_path, steps)


def test_directories_below_are_followed_too(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        await folder.names()
        deep = folder.path / "x" / "y"
        deep.mkdir(parents=True)
        (deep / "a.yaml").write_text(service("deep"))
        await folder.names("deep")
        (deep / "a.yaml").write_text(service("deeper"))
        await folder.names("deeper")
        shutil.rmtree(folder.path / "x")
        await folder.names()

    follow(tmp_path, steps)


def test_a_config_map_volume(tmp_path: Path) -> None:
    """Kubernetes writes a hidden directory and renames one symbolic link; the visible files are links through it."""

    async def steps(folder: Followed) -> None:
        def publish(version: str, name: str) -> None:
            target = folder.path / f"..{version}"
            target.mkdir()
            (target / "web.yaml").write_text(service(name))
            (folder.path / "..data_tmp").symlink_to(target.name)
            (folder.path / "..data_tmp").rename(folder.path / "..data")

        publish("2026_01", "one")
        (folder.path / "web.yaml").symlink_to("..data/web.yaml")
        event = await folder.names("one")
        assert event.problems == ()
        publish("2026_02", "two")
        shutil.rmtree(folder.path / "..2026_01")
        await folder.names("two")

    follow(tmp_path, steps)


def test_half_a_file_is_never_seen(tmp_path: Path) -> None:
    """A program that rewrites a file in place truncates it first; both documents must be there in every event."""

    async def steps(folder: Followed) -> None:
        first = service("a") + "---\n"
        folder.write("a.yaml", first + service("b"))
        await folder.names("a", "b")
        with (folder.path / "a.yaml").open("w") as file:
            file.write(first)
            file.flush()
            # Something else happens while the file is half written and still open.
            folder.write("z.yaml", service("z"))
            waiting = asyncio.ensure_future(folder.until(lambda _: True))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done, f"half a file was read: {names(waiting.result())}"
            file.write(service("c"))
        assert names(await waiting) == ["a", "c", "z"]

    follow(tmp_path, steps)


def test_a_set_of_files_is_one_event(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        await folder.names()
        for number in range(20):
            folder.write(f"{number:02}.yaml", service(f"s{number}"))
        await folder.names(*(f"s{number}" for number in range(20)))
        assert folder.count == 2

    # The folder must settle for longer than a busy machine needs between two writes.
    follow(tmp_path, steps, settle=3.0)


def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    """About 11 ms here, nearly all of it waiting for quiet; the bound is for a machine that is busy."""

    async def steps(folder: Followed) -> None:
        await folder.names()
        spent = []
        for number in range(7):
            began = time.monotonic()
            folder.write("a.yaml", service(f"s{number}"))
            await folder.names(f"s{number}")
            spent.append(time.monotonic() - began)
        assert statistics.median(spent) < 0.5

    follow(tmp_path, steps)


def test_what_changes_nothing_is_no_event(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("one"))
        await folder.names("one")
        waiting = asyncio.ensure_future(folder.until(lambda _: True))
        folder.write("a.yaml", "# a comment\n" + service("one"))
        folder.write("README.md", "x")
        os.utime(folder.path / "a.yaml")
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, f"an event that tells nothing: {waiting.result()}"
        folder.write("b.yaml", service("two"))
        assert names(await waiting) == ["one", "two"]

    follow(tmp_path, steps, poll=0.05)


def test_a_file_that_is_moved_in_and_out(tmp_path: Path) -> None:
    path = tmp_path / "manifests"
    path.mkdir()
    (tmp_path / "a.yaml").write_text(service("one"))

    async def steps(folder: Followed) -> None:
        await folder.names()
        (tmp_path / "a.yaml").rename(path / "a.yaml")
        await folder.names("one")
        (path / "a.yaml").rename(tmp_path / "a.yaml")
        await folder.names()

    follow(path, steps)


def test_directories_that_come_and_go_leave_no_descriptor(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("first"))
        await folder.names("first")
        before = _descriptors()
        for number in range(5):
            (folder.path / "x").mkdir()
            (folder.path / "x" / "b.yaml").write_text(service(f"s{number}"))
            await folder.names("first", f"s{number}")
            shutil.rmtree(folder.path / "x")
            await folder.names("first")
        assert _descriptors() <= before

    follow(tmp_path, steps)


def test_a_bad_file_keeps_its_last_good_objects(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("one"))
        await folder.names("one")
        folder.write("a.yaml", "kind: [\n")
        event = await folder.until(lambda event: bool(event.problems))
        assert names(event) == ["one"]
        assert problems(event)[0].startswith(f"{folder.path}/a.yaml:1: kind[0]: the text ends")
        (folder.path / "a.yaml").unlink()
        assert (await folder.names()).problems == ()

    follow(tmp_path, steps)


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    async def steps(folder: Followed) -> None:
        event = await folder.until(lambda _: True)
        assert (event.objects, event.synced) == ((), False)
        hint = "nothing is announced before"
        assert problems(event) == [f"{folder.path}: cannot be read: No such file or directory ({hint})"]
        folder.path.mkdir()
        folder.write("a.yaml", service("one"))
        event = await folder.names("one")
        assert (event.problems, event.synced) == ((), True)

    follow(tmp_path / "later", steps)


def test_a_folder_that_disappears_keeps_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "manifests"
    path.mkdir()

    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("one"))
        await folder.names("one")
        path.rename(tmp_path / "away")
        event = await folder.until(lambda event: not event.synced)
        assert names(event) == ["one"]
        assert problems(event) == [
            f"{path}: cannot be read: No such file or directory (the last state of the folder stays in force)"
        ]
        (tmp_path / "away").rename(path)
        event = await folder.until(lambda event: event.synced)
        assert (names(event), event.problems) == (["one"], ())
        folder.write("a.yaml", service("two"))
        await folder.names("two")

    follow(path, steps)


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def steps(folder: Followed) -> None:
        event = await folder.until(lambda _: True)
        assert "cannot be read: Not a directory" in problems(event)[0]
        assert not event.synced

    follow(tmp_path / "file", steps)


def test_the_poll_finds_what_inotify_does_not_tell(tmp_path: Path) -> None:
    """A link to a file elsewhere: no event arises in the folder when that file changes."""
    path = tmp_path / "manifests"
    path.mkdir()
    (tmp_path / "elsewhere.yaml").write_text(service("one"))
    (path / "a.yaml").symlink_to("../elsewhere.yaml")

    async def steps(folder: Followed) -> None:
        await folder.names("one")
        (tmp_path / "elsewhere.yaml").write_text(service("two"))
        await folder.names("two")

    follow(path, steps, poll=0.1)


def test_files_that_stay_the_same_are_not_gone_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something is another, or one of them is gone."""
    readings, listings = [0], threading.Semaphore(0)
    read, listed = FolderSource._read, FolderSource._list

    def counted_read(self: FolderSource, listing: Listing) -> None:
        readings[0] += 1
        read(self, listing)

    def counted_list(self: FolderSource) -> Listing:
        listings.release()
        return listed(self)

    monkeypatch.setattr(FolderSource, "_read", counted_read)
    monkeypatch.setattr(FolderSource, "_list", counted_list)

    async def steps(folder: Followed) -> None:
        folder.write("a.yaml", service("a"))
        await folder.names("a")
        waiting = asyncio.create_task(folder.names("a", "b"))
        async with asyncio.timeout(DEADLINE):
            seen = -1
            while readings[0] != seen:  # as long as the file is too young to be known by its stamp
                seen = readings[0]
                for _ in range(3):
                    await asyncio.to_thread(listings.acquire, timeout=DEADLINE)
        folder.write("b.yaml", service("b"))
        await waiting
        (tmp_path / "b.yaml").unlink()
        await folder.names("a")

    follow(tmp_path, steps, poll=0.005)


def test_odd_things_in_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / ".hidden.yaml").write_text(service("hidden"))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "ok.YAML").write_text(service("ok"))

    async def steps(folder: Followed) -> None:
        event = await folder.names("ok")
        assert problems(event) == [
            f"{tmp_path}/dangling.yaml: cannot be read: No such file or directory (the link points to nothing)",
            f"{tmp_path}/fifo.yaml: is not a regular file (move it out of the folder)",
        ]

    follow(tmp_path, steps)


def test_a_listing_names_each_directory_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "a" / "x.yaml").write_text("")
    listing = list_folder(tmp_path)
    assert list(listing.files) == [str(tmp_path / "a" / "x.yaml")]
    assert list(listing.directories) == [tmp_path, tmp_path / "a"]
    assert read_content(tmp_path / "a" / "x.yaml") == b""


@pytest.mark.root
def test_without_inotify_the_folder_is_polled_and_that_is_said(tmp_path: Path) -> None:
    """In a user namespace of its own, so that the limit of nobody else is touched."""
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib
        from announcer.sources.folder import FolderSource
        async def main():
            events = FolderSource(pathlib.Path({str(tmp_path)!r}), poll=3600).events()
            print(*map(str, (await anext(events)).problems))
            pathlib.Path({str(tmp_path)!r}, "a.yaml").write_text({service("one")!r})
            print([item.key.name for item in (await anext(events)).objects])
        asyncio.run(main())
        """
    )
    shell = f'echo 0 > /proc/sys/user/max_inotify_instances && exec {sys.executable} -c "$PROGRAM"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", shell],
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert f"{tmp_path}: cannot be watched: Too many open files; it is looked at every 0.5 s instead" in first
    assert "raise fs.inotify.max_user_watches" in first
    assert second == "['one']"
