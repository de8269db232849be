"""The errors of the core, by whose fault they are."""

from neosocksd_core.reasons import Reason


class NeosocksdError(Exception):
    """Base of all errors raised by neosocksd; ``str()`` of it is one line for a person."""


class ConfigurationError(NeosocksdError):
    """The settings cannot be used. The message names the key, and the file if it came from one."""


class PluginError(NeosocksdError):
    """A plugin cannot be found, loaded or combined with the others. The message names it."""


class ListenError(NeosocksdError):
    """A listener could not be opened. The message names the address and the cause."""


class ProtocolError(NeosocksdError):
    """The peer broke its protocol. The handshake that raised it has queued the reply, if there is one to give."""


class DialError(NeosocksdError):
    """An upstream could not be reached."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(message or reason.value)
        self.reason = reason
