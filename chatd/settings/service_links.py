"""Variables that container platforms set for each pod or container, although nobody asked for them.

Kubernetes describes every Service of the namespace to every pod ("service links"), and Docker every linked
container. A Service named ``chatd``, or ``chatd-metrics``, so yields variables that begin with ``CHATD_``.
They are no settings, and no mistakes either.
"""

import re

_SERVICE = r"CHATD(_[A-Z0-9]+)*"
_ADDRESS = r"[0-9A-Fa-f.:]+"
_PROTOCOL = r"(tcp|udp|sctp)"
_PORT = r"\d{1,5}"
_SHAPES = tuple(
    (re.compile(f"{_SERVICE}_{name}"), re.compile(value))
    for name, value in {
        "SERVICE_HOST": _ADDRESS,
        r"SERVICE_PORT(_[A-Z0-9]+)*": _PORT,
        r"PORT(_\d+_(TCP|UDP|SCTP))?": rf"{_PROTOCOL}://\S+",
        r"PORT_\d+_(TCP|UDP|SCTP)_PROTO": _PROTOCOL,
        r"PORT_\d+_(TCP|UDP|SCTP)_PORT": _PORT,
        r"PORT_\d+_(TCP|UDP|SCTP)_ADDR": _ADDRESS,
        "NAME": r"/\S+",
        r"ENV_\w+": r"(?s:.*)",
    }.items()
)
"""Names and values of such a variable. The last two are Docker's."""


def is_service_link(variable: str, value: str) -> bool:
    """Return whether a variable has the shape of a service link.

    Name and value count: ``CHATD_HTTP_PORT=tcp://10.0.0.1:80`` describes the Service ``chatd-http``, and
    ``CHATD_HTTP_PORT=8080`` is a setting with one underscore too few.
    """
    return any(name.fullmatch(variable) and text.fullmatch(value) for name, text in _SHAPES)
