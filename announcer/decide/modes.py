"""How packets reach backends on other nodes: as the installation says, unless the Service says otherwise."""

from __future__ import annotations

from announcer.model.lb import LbMode
from announcer.model.names import LB_MODE_ANNOTATION
from announcer.model.objects import Service


def lb_mode_of(service: Service, installation: LbMode) -> tuple[LbMode, str]:
    """The mode, and a remark for people if the annotation is no mode that there is; then the installation's holds."""
    word = service.annotations.get(LB_MODE_ANNOTATION)
    if word is None:
        return installation, ""
    if word in tuple(LbMode):
        return LbMode(word), ""
    problem = f'annotation {LB_MODE_ANNOTATION}: "{word[:40]}" is not one of {", ".join(LbMode)}'
    return installation, f"{problem}; {installation} holds, as on the whole node"
