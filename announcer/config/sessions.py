"""The options of a session: authentication, how far the peer may be, and who connects."""

from __future__ import annotations

import re

import msgspec

from announcer.config.durations import hold_time, keepalive_time, restart_time
from announcer.config.scalars import address, family, text, truth
from announcer.config.types import SecretRef
from announcer.config.walk import At, Fields, Keys, WrongValue
from announcer.model.bgp import Password
from announcer.model.net import Family, IPAddress
from announcer.yamltree import Node, YamlList

#: TCP_MD5SIG_MAXKEYLEN of the kernel (include/uapi/linux/tcp.h).
MAX_PASSWORD_BYTES = 80

_SECRET_REF = Keys(served=("name", "key"))
_GRACEFUL_RESTART = Keys(served=("time",))

#: What the engine's configuration takes inside quotes and gives back unchanged, but for what could end a statement.
_PASSWORD = re.compile(r"""[!#-&(-:<-z|~]+""")
#: https://kubernetes.io/docs/concepts/configuration/secret/: names are DNS subdomains, keys of these characters.
_SECRET_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one peer; see :class:`PeerConfig` for each."""

    hold_time: int
    password: Password | None
    password_secret: SecretRef | None
    source_address: IPAddress | None
    multihop: bool
    ttl_security: bool | None
    passive: bool
    graceful_restart: int | None
    families: tuple[Family, ...]


def read_session(fields: Fields, peer_address: IPAddress | None, *, internal: bool | None) -> SessionOptions:
    """The options of the peer with these fields. ``internal`` None: not known, as an AS number is wrong."""
    multihop, ttl_security = _distance(fields, internal=internal)
    password, secret = _authentication(fields)
    return SessionOptions(
        hold_time=_timers(fields),
        password=password,
        password_secret=secret,
        source_address=_source(fields, peer_address),
        multihop=multihop,
        ttl_security=ttl_security,
        passive=fields.read("passive", truth, False),
        graceful_restart=_graceful_restart(fields.at("graceful-restart")),
        families=_families(fields.at("families")),
    )


def password_fault(word: str) -> str:
    """What keeps ``word`` from being a TCP-MD5 password (RFC 2385); empty if nothing does. Quotes nothing of it."""
    if not word:
        return "is empty"
    size = len(word.encode(errors="replace"))
    if size > MAX_PASSWORD_BYTES:
        return f"has {size} bytes, and the kernel takes {MAX_PASSWORD_BYTES}"
    if not _PASSWORD.fullmatch(word):
        return "has a character that the engine cannot be given"
    return ""


def _timers(fields: Fields) -> int:
    at = fields.at("hold-time")
    hold = at.read(hold_time) if at is not None else 90
    if hold is None:
        return 90
    fields.read("keepalive-time", keepalive_time(hold), 0)
    return hold


def _authentication(fields: Fields) -> tuple[Password | None, SecretRef | None]:
    clear, ref = fields.at("password"), fields.at("password-secret")
    if clear is not None and ref is not None:
        problem = f'stands beside "password" (line {clear.node.line}), and a session has one password'
        ref.wrong(problem, "remove one of the two", quotes=False)
        return None, None
    return clear.read(_password) if clear else None, _secret_ref(ref) if ref else None


def _password(node: Node) -> Password:
    word = text(node)
    fault = password_fault(word)
    if fault:
        hint = "ASCII letters, digits and signs, but no blanks, quotes, semicolons or braces"
        raise WrongValue(f"{fault} (the value is not shown)", hint, quotes=False)
    return Password(word)


def _secret_ref(at: At) -> SecretRef | None:
    fields = at.fields(_SECRET_REF)
    if fields is None:
        return None
    name = fields.need("name", _secret_name, "router-password")
    key = fields.read("key", _secret_key, "password")
    return SecretRef(name=name, key=key) if name is not None else None


def _secret_name(node: Node) -> str:
    word = text(node)
    if not _SECRET_NAME.fullmatch(word):
        hint = "small letters, digits, - and .; the password itself stands in that Secret"
        raise WrongValue("is not the name of a Secret (the value is not shown)", hint, quotes=False)
    return word


def _secret_key(node: Node) -> str:
    word = text(node)
    if not _SECRET_KEY.fullmatch(word):
        hint = "letters, digits, -, _ and .; the password itself stands in that Secret"
        raise WrongValue("is not a key of a Secret (the value is not shown)", hint, quotes=False)
    return word


def _source(fields: Fields, peer_address: IPAddress | None) -> IPAddress | None:
    at = fields.at("source-address")
    source = at.read(address) if at is not None else None
    if at is None or source is None or peer_address is None:
        return source
    if source == peer_address:
        at.wrong(f"{source} is the address of the peer itself", "write an address of this node, or remove the key")
    elif source.version != peer_address.version:
        problem = f"{source} is IPv{source.version}, but the peer has IPv{peer_address.version}"
        at.wrong(problem, f"write an IPv{peer_address.version} address of the node, or remove the key")
    return source


def _distance(fields: Fields, *, internal: bool | None) -> tuple[bool, bool | None]:
    """``ebgp-multihop`` and ``ttl-security``. They exclude each other: TTL 255 arrives only over a single hop."""
    multihop = fields.read("ebgp-multihop", truth, False)
    ttl_security = fields.read("ttl-security", truth, None)
    at, ttl_at = fields.at("ebgp-multihop"), fields.at("ttl-security")
    if at is not None and multihop and internal:
        at.wrong("peer-asn and my-asn are equal, and an iBGP session may always have several hops", "remove it")
    elif at is not None and multihop and ttl_at is not None and ttl_security:
        problem = f"contradicts ebgp-multihop in line {at.node.line}: that takes packets of the next hop only"
        ttl_at.wrong(problem, "remove one of the two")
    return multihop, ttl_security


def _families(at: At | None) -> tuple[Family, ...]:
    """Which routes the session carries. Without it those of its own family, so that "next hop self" always exists."""
    if at is None:
        return ()
    items = list(at.items("families"))
    if not items and isinstance(at.node, YamlList):
        at.wrong("is empty, and a session without families carries nothing", "name ipv4 or ipv6, or remove the key")
    seen: set[Family] = set()
    for item in items:
        found = item.read(family)
        if found in seen:
            item.wrong(f"{found} stands there twice", "remove one of the two")
        if found is not None:
            seen.add(found)
    return tuple(sorted(seen))


def _graceful_restart(at: At | None) -> int | None:
    fields = at.fields(_GRACEFUL_RESTART) if at is not None else None
    return fields.need("time", restart_time, "120s") if fields is not None else None
