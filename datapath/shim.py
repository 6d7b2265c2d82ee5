"""libbpf through ``build/libshim.so``: one thin function per call, errors as ``TargetError`` with libbpf's log.

cffi in ABI mode, so that installing needs no compiler beyond the one that built the BPF objects. A descriptor returned
here belongs to the caller.
"""

from __future__ import annotations

import functools
import os
from array import array
from pathlib import Path
from typing import Any, NamedTuple

import cffi

from announcer.model.errors import BugError, TargetError
from datapath import abi

BUILD = Path(__file__).parent / "build"

_DECLARATIONS = """
const char *lk_log(void);
const char *lk_abi(void);
int lk_open(const char *path, void **object);
void lk_close(void *object);
struct lk_map_info { uint32_t id, type, key_size, value_size, max_entries, flags; };
int lk_map_spec(void *object, const char *name, uint32_t max_entries, struct lk_map_info *info);
int lk_map_reuse(void *object, const char *name, int fd);
int lk_load(void *object);
int lk_map_fd(void *object, const char *name);
int lk_prog_fd(void *object, const char *name);
int lk_is_bpffs(const char *path);
int lk_mount(const char *path);
int lk_pin(int fd, const char *path);
int lk_get(const char *path);
int lk_map_info(int fd, struct lk_map_info *info);
struct lk_prog_info { uint32_t id, type, map_count, verified; uint8_t tag[8]; uint32_t maps[32]; };
int lk_prog_info(int fd, struct lk_prog_info *info);
struct lk_link_info { uint32_t id, type, prog_id, ifindex; };
int lk_link_info(int fd, struct lk_link_info *info);
int lk_attach_xdp(int prog_fd, int ifindex, int generic);
int lk_has_tcx(int prog_fd);
int lk_attach_tcx_egress(int prog_fd, int ifindex);
int lk_link_update(int link_fd, int prog_fd);
int lk_link_detach(int link_fd);
int lk_update(int fd, const void *key, const void *value);
int lk_lookup(int fd, const void *key, void *value);
int lk_delete(int fd, const void *key);
int lk_dump(int fd, void *keys, void *values, uint32_t max_entries);
int lk_run_xdp_from(int prog_fd, uint32_t ifindex, const void *packet, uint32_t size, uint32_t meta, uint32_t port_at,
                    uint32_t sum_at, const uint16_t *ports, uint32_t count, void *out, uint32_t *out_size);
int lk_run_xdp(int prog_fd, uint32_t ifindex, const void *packet, uint32_t size, uint32_t meta, void *out,
               uint32_t *out_size);
int lk_run_syscall(int prog_fd, void *context, uint32_t size);
int lk_run_tc(int prog_fd, const void *packet, uint32_t size, void *out, uint32_t *out_size, uint32_t *verdict);
"""

_ffi = cffi.FFI()
_ffi.cdef(_DECLARATIONS)
#: Memory as it comes: room for all that a map may hold is megabytes, of which the kernel fills few.
_untouched = _ffi.new_allocator(should_clear_after_alloc=False)
#: By how much a frame may become longer in a program, verdict included.
_GROWTH = 256
#: For what the kernel has to say: frames that were sent through a program, or a value of most maps.
_room, _size = _ffi.new("char[]", 1 << 17), _ffi.new("uint32_t *")


class MapInfo(NamedTuple):
    """``struct bpf_map_info``, as far as it is the layout of a map; sizes in bytes."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class ProgInfo(NamedTuple):
    """``struct bpf_prog_info``: ``tag`` is the kernel's digest of the instructions, ``maps`` the ids that it uses.

    ``verified``: how many instructions the verifier went through, of a million that it allows.
    """

    id: int
    tag: bytes
    maps: frozenset[int]
    verified: int


class LinkInfo(NamedTuple):
    """``struct bpf_link_info``; ``ifindex`` 0: detached, or the device is gone."""

    id: int
    prog_id: int
    ifindex: int


@functools.cache
def _lib() -> Any:
    path = BUILD / "libshim.so"
    try:
        lib: Any = _ffi.dlopen(str(path))
    except OSError as error:
        raise TargetError(f"load {path}", detail=f"{error}; run `make -C datapath`", retry=False) from error
    abi.check(_text(lib.lk_abi()))
    return lib


def _text(pointer: Any) -> str:
    data = _ffi.string(pointer)
    if not isinstance(data, bytes):
        raise BugError("the shim returned no text")
    return data.decode(errors="replace")


def _checked(result: int, op: str, *, log: bool = False) -> int:
    if result < 0:
        raise TargetError(op, errno=-result, detail=_text(_lib().lk_log()).strip()[-2000:] if log else "")
    return result


def open_object(path: Path) -> Any:
    """Read a BPF object file. Give the handle to :func:`close_object` when done."""
    out = _ffi.new("void **")
    _checked(_lib().lk_open(os.fsencode(path), out), f"open {path}", log=True)
    return out[0]


def close_object(handle: Any) -> None:
    """Forget the object; descriptors taken from it stay open."""
    _lib().lk_close(handle)


def map_spec(handle: Any, name: str, max_entries: int = 0) -> MapInfo:
    """How the object declares a map (id 0), after setting its ``max_entries`` unless that is 0."""
    info: Any = _ffi.new("struct lk_map_info *")
    _checked(_lib().lk_map_spec(handle, name.encode(), max_entries, info), f"bpf_map__set_max_entries {name}")
    return _map_info(info)


def map_reuse(handle: Any, name: str, fd: int) -> None:
    """Let the programs of the object use this map."""
    _checked(_lib().lk_map_reuse(handle, name.encode(), fd), f"bpf_map__reuse_fd {name}", log=True)


def load(handle: Any) -> None:
    """Create the maps and load the programs; the verifier's complaint is in the error's detail."""
    _checked(_lib().lk_load(handle), "bpf_object__load", log=True)


def map_fd(handle: Any, name: str) -> int:
    """A descriptor of a map of a loaded object."""
    return _checked(_lib().lk_map_fd(handle, name.encode()), f"descriptor of map {name}")


def prog_fd(handle: Any, name: str) -> int:
    """A descriptor of a program of a loaded object."""
    return _checked(_lib().lk_prog_fd(handle, name.encode()), f"descriptor of program {name}")


def is_bpffs(path: Path) -> bool:
    """True if the folder is on a BPF file system."""
    return _checked(_lib().lk_is_bpffs(os.fsencode(path)), f"statfs {path}") == 1


def mount_bpffs(path: Path) -> None:
    """Mount a BPF file system on the folder."""
    _checked(_lib().lk_mount(os.fsencode(path)), f"mount -t bpf {path}")


def pin(fd: int, path: Path) -> None:
    """BPF_OBJ_PIN."""
    _checked(_lib().lk_pin(fd, os.fsencode(path)), f"bpf_obj_pin {path}")


def get(path: Path) -> int | None:
    """BPF_OBJ_GET: a descriptor of what is pinned there, None if nothing is."""
    result: int = _lib().lk_get(os.fsencode(path))
    if result == -2:  # ENOENT
        return None
    return _checked(result, f"bpf_obj_get {path}")


def map_info(fd: int) -> MapInfo:
    """Layout of a map in the kernel."""
    info: Any = _ffi.new("struct lk_map_info *")
    _checked(_lib().lk_map_info(fd, info), "bpf_obj_get_info_by_fd (map)")
    return _map_info(info)


def _map_info(info: Any) -> MapInfo:
    return MapInfo(info.id, info.type, info.key_size, info.value_size, info.max_entries, info.flags)


def prog_info(fd: int) -> ProgInfo:
    """Identity of a program in the kernel."""
    info: Any = _ffi.new("struct lk_prog_info *")
    _checked(_lib().lk_prog_info(fd, info), "bpf_obj_get_info_by_fd (program)")
    return ProgInfo(info.id, bytes(info.tag), frozenset(info.maps[i] for i in range(info.map_count)), info.verified)


def link_info(fd: int) -> LinkInfo:
    """What a link ties together now."""
    info: Any = _ffi.new("struct lk_link_info *")
    _checked(_lib().lk_link_info(fd, info), "bpf_obj_get_info_by_fd (link)")
    return LinkInfo(info.id, info.prog_id, info.ifindex)


def attach_xdp(prog: int, ifindex: int, *, generic: bool) -> int:
    """BPF_LINK_CREATE for XDP, in the driver or in the generic hook. Returns the link."""
    mode = "generic" if generic else "native"
    return _checked(_lib().lk_attach_xdp(prog, ifindex, int(generic)), f"bpf_link_create xdp {mode} ifindex {ifindex}")


def has_tcx(prog: int) -> bool:
    """True if the kernel has tcx links (6.6 and later, CONFIG_NET_XGRESS). ``prog``: any program of tc."""
    return _checked(_lib().lk_has_tcx(prog), "bpf_link_create tcx (probe)") == 1


def attach_tcx_egress(prog: int, ifindex: int) -> int:
    """BPF_LINK_CREATE for the egress side of tc, where :func:`has_tcx`. Returns the link."""
    return _checked(_lib().lk_attach_tcx_egress(prog, ifindex), f"bpf_link_create tcx egress ifindex {ifindex}")


def link_update(link: int, prog: int) -> None:
    """BPF_LINK_UPDATE: exchange the program; no packet meets a device without one."""
    _checked(_lib().lk_link_update(link, prog), "bpf_link_update")


def link_detach(link: int) -> None:
    """BPF_LINK_DETACH: take the program off the device now, whoever else holds the link."""
    _checked(_lib().lk_link_detach(link), "bpf_link_detach")


def update(fd: int, key: bytes, value: bytes, name: str) -> None:
    """BPF_MAP_UPDATE_ELEM."""
    _checked(_lib().lk_update(fd, key, value), f"bpf_map_update_elem {name}")


def lookup(fd: int, key: bytes, size: int, name: str) -> bytes | None:
    """BPF_MAP_LOOKUP_ELEM: ``size`` bytes (of all CPUs for a per-CPU map), None if there is no such entry."""
    value = _room if size <= len(_room) else _ffi.new("char[]", size)
    result: int = _lib().lk_lookup(fd, key, value)
    if result == -2:  # ENOENT
        return None
    _checked(result, f"bpf_map_lookup_elem {name}")
    return bytes(_ffi.buffer(value, size))


def delete(fd: int, key: bytes, name: str) -> None:
    """BPF_MAP_DELETE_ELEM; an entry that is not there is no error."""
    result: int = _lib().lk_delete(fd, key)
    if result != -2:  # ENOENT
        _checked(result, f"bpf_map_delete_elem {name}")


def dump(fd: int, info: MapInfo, name: str) -> tuple[bytes, bytes]:
    """The keys and the values of all entries of a hash map (BPF_MAP_LOOKUP_BATCH), one behind the other."""
    keys = _untouched("char[]", info.key_size * info.max_entries)
    values = _untouched("char[]", info.value_size * info.max_entries)
    count = _checked(_lib().lk_dump(fd, keys, values, info.max_entries), f"bpf_map_lookup_batch {name}")
    return bytes(_ffi.buffer(keys, count * info.key_size)), bytes(_ffi.buffer(values, count * info.value_size))


def run_xdp(prog: int, ifindex: int, packet: bytes, meta: bytes) -> tuple[int, bytes, bytes]:
    """BPF_PROG_TEST_RUN of one frame as if it came in by ``ifindex``. Returns verdict, metadata, frame after it."""
    data = meta + packet
    _size[0] = len(_room)
    verdict = _lib().lk_run_xdp(prog, ifindex, data, len(data), len(meta), _room, _size)
    if verdict < 0:
        _checked(verdict, f"BPF_PROG_TEST_RUN ifindex {ifindex}")
    after = bytes(_ffi.buffer(_room, _size[0]))
    return verdict, after[: len(meta)], after[len(meta) :]


def run_xdp_from(
    prog: int, ifindex: int, packet: bytes, meta: bytes, port_at: int, sum_at: int, ports: array[int]
) -> bytes:
    """As :func:`run_xdp` with this frame from each of these source ports (16 bits each) instead of 0.

    ``port_at``, ``sum_at``: where in the frame the port and the checksum over it stand. Returns for each a byte, the
    verdict, and metadata and frame after it, one behind the other.
    """
    data = meta + packet
    needed = len(ports) * (len(data) + _GROWTH)
    room = _room if needed <= len(_room) else _ffi.new("char[]", needed)
    _size[0] = len(room)
    at = len(meta) + port_at, len(meta) + sum_at
    sources = _ffi.from_buffer("uint16_t[]", ports)
    result = _lib().lk_run_xdp_from(prog, ifindex, data, len(data), len(meta), *at, sources, len(ports), room, _size)
    _checked(result, f"BPF_PROG_TEST_RUN ifindex {ifindex}")
    return bytes(_ffi.buffer(room, _size[0]))


def run_syscall(prog: int, context: bytes = b"") -> bytes:
    """BPF_PROG_TEST_RUN of a program of the type "syscall". Returns what it has made of the context."""
    data = _ffi.new("char[]", context)
    _checked(_lib().lk_run_syscall(prog, data, len(context)), "BPF_PROG_TEST_RUN syscall")
    return bytes(_ffi.buffer(data, len(context)))


def run_tc(prog: int, packet: bytes) -> tuple[int, bytes]:
    """BPF_PROG_TEST_RUN of one frame through a program of tc. Returns verdict (unsigned) and frame after it."""
    room = len(packet) + 256
    out, size, verdict = _ffi.new("char[]", room), _ffi.new("uint32_t *", room), _ffi.new("uint32_t *")
    _checked(_lib().lk_run_tc(prog, packet, len(packet), out, size, verdict), "BPF_PROG_TEST_RUN tc")
    return verdict[0], bytes(_ffi.buffer(out, size[0]))
