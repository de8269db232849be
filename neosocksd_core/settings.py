"""The settings: the base of every plugin's section, and the core's own.

A model is the one source of the configuration file's section, the command line's flags, the environment's variables, the
JSON schema and the documentation. Where they are read and merged is :mod:`neosocksd_core.configuration`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from neosocksd_core.addresses import parse_listen_address


@dataclass(frozen=True, slots=True)
class Option:
    """How a field shows outside its section, as metadata in ``Annotated[…]``.

    ``flags`` are its spellings on the command line (without any, a plugin's field is ``--PLUGIN-FIELD``); ``flat`` is its name among the core's fields
    (as ``http_listen``); ``metavar`` stands in the help; ``bare`` is the value of a flag that is given without one;
    ``values`` are flags that each stand for a fixed value, as ``{"-4": 2}``.
    """

    flags: tuple[str, ...] = ()
    flat: str | None = None
    metavar: str | None = None
    bare: Any = None
    values: Mapping[str, Any] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class CompoundFlag:
    """A flag that sets several fields at once: ``expand`` turns its text into them, or raises ValueError with the reason."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    expand: Callable[[str], Mapping[str, Any]]


class Section(BaseModel):
    """The base of a plugin's settings: frozen, unknown keys forbidden, defaults checked, no NaN and no infinity.

    Give each field a default and a description, ``Field(default=0, description=…)``, and, where it deserves a flag or a flat name of its own, an :class:`Option`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, defer_build=True
    )

    compound_flags: ClassVar[tuple[CompoundFlag, ...]] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any, info: ValidationInfo) -> Any:
        """A text alone stands for a list of one."""
        field = cls.model_fields[info.field_name or ""]
        many = get_origin(field.annotation) in (tuple, list, set, frozenset)
        return (value,) if many and isinstance(value, str) else value


def check_listen_addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    """Whether each text says where to listen.

    :raises AddressError: if not.
    """
    for text in value:
        parse_listen_address(text)
    return value


ListenAddresses = Annotated[tuple[str, ...], AfterValidator(check_listen_addresses)]
"""The type of a field that holds addresses of listeners."""


_CLASSES = ("loopback", "multicast", "local", "global")


def _expand_startups(text: str) -> Mapping[str, Any]:
    parts = text.split(":")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() for p in parts):
        raise ValueError("expected START:RATE:FULL, as 10:30:100")
    return dict(
        zip(
            ("startup_limit_start", "startup_limit_rate", "startup_limit_full"),
            map(int, parts),
            strict=True,
        )
    )


def _expand_block_outbound(text: str) -> Mapping[str, Any]:
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in _CLASSES:
            raise ValueError(f"unknown address class {name!r} (known: {', '.join(_CLASSES)})")
    return {f"block_{name}": name in chosen for name in _CLASSES}


class Settings(Section):
    """The core's settings, without the sections of the plugins."""

    compound_flags: ClassVar[tuple[CompoundFlag, ...]] = (
        CompoundFlag(
            ("--max-startups",),
            "START:RATE:FULL",
            "from START half-open connections on refuse RATE % at random, at FULL refuse all",
            _expand_startups,
        ),
        CompoundFlag(
            ("--block-outbound",),
            "LIST",
            "refuse targets of these classes: loopback, multicast, local, global (default: multicast)",
            _expand_block_outbound,
        ),
    )

    listen: Annotated[ListenAddresses, Option(("-l", "--listen"), metavar="ADDR")] = Field(
        default=(),
        description="listen for clients at ADDR, as 127.0.0.1:1080 or [::1]:1080 (default where nothing listens: 127.0.0.1:1080)",
    )
    shared_listen: Annotated[ListenAddresses, Option(("--shared-listen",), metavar="ADDR")] = Field(
        default=(),
        description="listen for clients of several protocols on one port, told apart by their first byte",
    )
    auth_required: Annotated[bool, Option(("--auth-required",))] = Field(
        default=False,
        description="clients must send credentials",
    )
    proxy: Annotated[str, Option(("-x", "--proxy"), metavar="URI[,URI...]")] = Field(
        default="",
        description="reach every target through these proxies, the first is dialled first",
    )
    resolve_pf: Annotated[Literal[0, 2, 10], Option(values={"-4": 2, "-6": 10})] = Field(
        default=0,
        description="resolve requested names to IPv4 (2) or IPv6 (10) only",
    )
    netdev: Annotated[str, Option(("-i", "--netdev"), metavar="NAME")] = Field(
        default="",
        description="bind outgoing connections to this network device",
    )
    reuseport: Annotated[bool, Option(("--reuseport",))] = Field(
        default=False,
        description="set SO_REUSEPORT on listeners",
    )
    transparent: Annotated[bool, Option(("--tproxy",))] = Field(
        default=False,
        description="serve connections that the system diverts to `listen`, each to where it was made to (Linux, IP_TRANSPARENT)",
    )
    pipe: Annotated[bool, Option(("--pipe",))] = Field(
        default=True,
        description="relay with splice(2) where the system has it",
    )
    tcp_fastopen: Annotated[bool, Option(("--fastopen",))] = Field(
        default=True,
        description="TCP Fast Open on listeners where the system has it",
    )
    tcp_fastopen_connect: bool = Field(
        default=False,
        description="TCP Fast Open to the first proxy of a chain; a target may be waiting for its greeting",
    )
    tcp_nodelay: bool = Field(
        default=True,
        description="send small segments at once",
    )
    tcp_keepalive: bool = Field(
        default=True,
        description="probe idle connections, clients after two minutes, so that dead peers are noticed",
    )
    tcp_sndbuf: int = Field(
        default=0,
        ge=0,
        le=2**30,
        description="send buffer in bytes, 0 leaves it to the system",
    )
    tcp_rcvbuf: int = Field(
        default=0,
        ge=0,
        le=2**30,
        description="receive buffer in bytes, 0 leaves it to the system",
    )
    timeout: Annotated[float, Option(("-t", "--timeout"), metavar="S")] = Field(
        default=60.0,
        ge=5,
        le=86400,
        description="longest time in seconds from accept to relay",
    )
    dial_timeout: Annotated[float, Option(("--dial-timeout",), metavar="S")] = Field(
        default=10.0,
        gt=0,
        le=86400,
        description="time limit in seconds for each attempt to reach an upstream",
    )
    idle_timeout: Annotated[float, Option(("--idle-timeout",), metavar="S")] = Field(
        default=0.0,
        ge=0,
        le=86400,
        description="reset sessions over which no byte has passed for so many seconds, 0 is never",
    )
    drain: Annotated[float, Option(("--drain",), metavar="S")] = Field(
        default=3.0,
        ge=0,
        le=86400,
        description="on a stop, seconds that sessions are given to end by themselves",
    )
    max_sessions: Annotated[int, Option(("-m", "--max-sessions"), metavar="N")] = Field(
        default=0,
        ge=0,
        description="most concurrent sessions, 0 is unlimited",
    )
    max_sessions_per_client: Annotated[int, Option(("--max-sessions-per-client",), metavar="N")] = (
        Field(
            default=0,
            ge=0,
            description="most concurrent sessions of one client address, 0 is unlimited",
        )
    )
    startup_limit_start: int = Field(
        default=0,
        ge=0,
        description="number of half-open connections from which on some are refused at random, 0 is off",
    )
    startup_limit_rate: int = Field(
        default=30,
        ge=0,
        le=100,
        description="how many of them, in percent",
    )
    startup_limit_full: int = Field(
        default=0,
        ge=0,
        description="number of half-open connections from which on all are refused, 0 is off",
    )
    block_loopback: bool = Field(
        default=False,
        description="refuse targets on this machine (127.0.0.0/8, ::1)",
    )
    block_multicast: bool = Field(
        default=True,
        description="refuse multicast targets",
    )
    block_local: bool = Field(
        default=False,
        description="refuse targets in private and link-local networks",
    )
    block_global: bool = Field(
        default=False,
        description="refuse targets in public networks",
    )
    user_name: Annotated[str, Option(("-u", "--user"), metavar="[USER][:[GROUP]]")] = Field(
        default="",
        description="drop privileges to this user and group once the sockets are bound",
    )
    daemonize: Annotated[bool, Option(("-d", "--daemonize"))] = Field(
        default=False,
        description="detach from the terminal and log to syslog",
    )
    log: Annotated[
        Literal["stdout", "stderr", "terminal", "syslog", "discard"],
        Option(("--log",), metavar="DEST"),
    ] = Field(
        default="stderr",
        description="where the log goes: stdout, stderr, terminal (coloured stderr), syslog, discard",
    )
    log_format: Annotated[Literal["text", "json"], Option(("--log-format",), metavar="FORMAT")] = (
        Field(
            default="text",
            description="text, or json for one JSON object a line",
        )
    )
    loglevel: Annotated[int, Option(("--loglevel",), metavar="N")] = Field(
        default=4,
        ge=0,
        le=8,
        description="0 silence, 1 fatal, 2 error, 3 warning, 4 notice, 5 info (a line a session), 6 debug, 7 verbose, 8 very verbose",
    )
    loop: Annotated[
        Literal["auto", "asyncio", "uvloop", "trio"], Option(("--loop",), metavar="NAME")
    ] = Field(
        default="auto",
        description="event loop: auto (asyncio over a poller that connections share), asyncio, uvloop, trio",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.block_local and self.block_global:
            raise ValueError("block_local and block_global exclude each other")
        if self.startup_limit_full and self.startup_limit_start > self.startup_limit_full:
            raise ValueError("startup_limit_start is above startup_limit_full")
        return self
