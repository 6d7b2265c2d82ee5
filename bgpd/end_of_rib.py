"""End-of-RIB towards one peer (RFC 4724 section 2): one marker for each family, all of them in one session. Pure."""

from __future__ import annotations

from announcer.model.net import Family


class EndOfRibMarkers:
    """Wanted once, sent in every session. ``done``: the last session in which all markers have been received."""

    def __init__(self) -> None:
        """Not wanted yet."""
        self.wanted = False
        self.done = 0
        self._session = 0
        self._untold: list[Family] = []
        self._untaken: set[Family] = set()
        self._offsets: dict[Family, int] = {}
        self._unseen: set[Family] = set()

    def begin(self, session: int, families: tuple[Family, ...]) -> None:
        """A new session, which carries these families."""
        self._session = session
        self._untold = list(families)
        self._untaken, self._unseen = set(families), set(families)
        self._offsets = {}
        self._settle()

    def end(self) -> None:
        """The session is gone."""
        self.begin(0, ())

    def want(self) -> None:
        """Have the markers sent, in this session and in all later ones."""
        self.wanted = True
        self._settle()

    @property
    def due(self) -> Family | None:
        """The family whose marker is to be told to the engine next, None if there is none."""
        return self._untold[0] if self.wanted and self._untold else None

    @property
    def taken(self) -> bool:
        """True if the engine took all of them for the present session."""
        return self._session > 0 and not self._untaken

    @property
    def under_way(self) -> bool:
        """True if a marker was written that the peer's TCP is not yet known to have."""
        return bool(self._offsets)

    def told(self, family: Family) -> None:
        """The command was given to the engine."""
        self._untold.remove(family)

    def answered(self, family: Family, session: int, ok: bool) -> None:
        """The engine took or refused it. Refused: the session had just gone, the next one asks again."""
        if session != self._session:
            return
        if ok:
            self._untaken.discard(family)
        elif family not in self._untold:
            self._untold.append(family)

    def emitted(self, family: Family, offset: int) -> None:
        """The engine writes the marker; it ends at byte ``offset`` of the session's stream."""
        self._offsets[family] = offset

    def received(self, offset: int) -> bool:
        """The peer's TCP has acknowledged the stream up to ``offset``. True if that completed a marker."""
        arrived = {family for family, at in self._offsets.items() if at <= offset}
        for family in arrived:
            del self._offsets[family]
        self._unseen -= arrived
        self._settle()
        return bool(arrived)

    def _settle(self) -> None:
        """A session that carries nothing is complete as soon as that is wanted."""
        if self._session and self.wanted and not self._unseen:
            self.done = self._session
