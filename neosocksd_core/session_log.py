"""The line that each session leaves in the log when it has ended."""

import logging
from functools import partial

from neosocksd_core.addresses import Address
from neosocksd_core.log import escape
from neosocksd_core.requests import SessionInfo


def log_session(log: logging.Logger, session: SessionInfo) -> None:
    """Log one, at level INFO: for a person, and with fields for a program."""
    via = f" via {', '.join(map(str, session.chain))}" if session.chain else ""
    user = f" user={session.user}" if session.user else ""
    target = escape(str(session.target)) if session.target else "-"
    host, port = session.client[:2]
    message = (
        f"session {session.id}: {session.protocol or session.frontend} {host}:{port}{user} -> {target}{via}: {session.outcome}"
        f", up {session.bytes_up} bytes, down {session.bytes_down} bytes, {session.age:.3f} s"
    )
    # Not log.info: to look up the line of code that logs is half of what a record costs.
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, message, (), None, "log_session")
    record.fields = partial(_fields, session)
    log.handle(record)


def _fields(session: SessionInfo) -> dict[str, object]:
    return {
        "session": session.id,
        "frontend": session.frontend,
        "protocol": session.protocol,
        "client": str(Address(*session.client[:2])),
        "user": session.user,
        "target": str(session.target) if session.target else None,
        "chain": [str(hop) for hop in session.chain],
        "outcome": session.outcome,
        "bytes_up": session.bytes_up,
        "bytes_down": session.bytes_down,
        "duration": round(session.age, 6),
    }
