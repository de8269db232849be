"""The subcommands ``top`` and ``ctl``: what they are called with, and what they print.

Address and token are the server's own settings: the flags ``--api`` and ``--api-token``, their environment variables, or a
configuration file. The core takes its flags out of the arguments wherever they stand, so no option here has the name of one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Sequence

    from neosocksd_core import Commands
    from neosocksd_rest_api.client import ApiClient

DEFAULT_ADDRESS = "127.0.0.1:9080"
_GZIP = b"\x1f\x8b"


def register(commands: Commands) -> None:
    """Add the subcommands."""
    summary = "watch a running server in the terminal"
    top = commands.add_parser("top", help=summary, description=f"{summary}, over its API (--api)")
    top.set_defaults(run=_top)
    summary = "control a running server"
    ctl = commands.add_parser("ctl", help=summary, description=f"{summary}, over its API (--api)")
    calls = ctl.add_subparsers(title="calls", metavar="CALL", required=True)
    for name, summary, run in (
        ("stats", "print the statistics", _stats),
        ("sessions", "list the sessions", _sessions),
        ("kill", "close sessions", _kill),
        ("reload", "read the configuration and the ruleset again", _reload),
        ("invoke", "run a Lua script in the server", _invoke),
        ("update", "replace the ruleset or one of its modules", _update),
        ("gc", "collect the garbage of the ruleset", _collect),
    ):
        call = calls.add_parser(name, help=summary, description=summary)
        call.add_argument("--json", action="store_true", help="print JSON, for programs")
        call.set_defaults(run=run)
        _add_arguments(name, call)


def _add_arguments(name: str, call: argparse.ArgumentParser) -> None:
    match name:
        case "sessions":
            call.add_argument("filter", nargs="*", metavar="FILTER", help=_FILTER)
            call.add_argument("--limit", type=int, default=1000, metavar="N", help="list so many")
        case "kill":
            call.add_argument(
                "what", nargs="*", metavar="ID|FILTER", help=f"a number, or {_FILTER}"
            )
            call.add_argument("--all", action="store_true", help="close every session")
        case "invoke" | "update":
            call.add_argument(
                "file",
                nargs="?",
                default="-",
                metavar="FILE",
                help="the script; - is standard input",
            )
            if name == "update":
                call.add_argument("--module", metavar="NAME", help="replace this module")
                call.add_argument("--chunkname", metavar="NAME", help="name for error messages")
        case _:
            pass


_FILTER = "client:TEXT, user:TEXT, target:TEXT, chain:TEXT, frontend:TEXT, outcome:TEXT, or TEXT that any of them holds"


def connect() -> ApiClient:
    """The API of the server that has the same configuration: file, environment, flags; its first address, else the default one.

    :raises NeosocksdError: for a faulty configuration, a malformed address, or a token file that cannot be read.
    """
    from neosocksd_core.configuration import section
    from neosocksd_core.invocation import Invocation
    from neosocksd_rest_api.client import ApiClient
    from neosocksd_rest_api.config import RestApiSettings
    from neosocksd_rest_api.guard import read_token_file

    invocation = Invocation(sys.argv[1:], os.environ)
    settings = section(invocation.configure().settings, RestApiSettings)
    token = settings.token.get_secret_value()
    if settings.token_file and not token:
        with invocation.locating():
            token = read_token_file(settings.token_file).decode("latin-1")
    return ApiClient(settings.listen[0] if settings.listen else DEFAULT_ADDRESS, token or None)


def _top(_: argparse.Namespace) -> int:
    from neosocksd_rest_api.top import watch

    return watch(connect())


def _print_json(value: object) -> int:
    import json

    print(json.dumps(value, indent=2))
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    client = connect()
    if arguments.json:
        return _print_json(client.json("GET", "/v1/stats"))
    print(client.text("GET", "/stats"), end="")
    return 0


def _sessions(arguments: argparse.Namespace) -> int:
    from neosocksd_rest_api.amounts import (
        bytes_text,
        duration_text,
        parse_filter,
        printable,
        rate_text,
    )

    query = {**parse_filter(arguments.filter), "limit": str(arguments.limit)}
    answer = connect().json("GET", "/v1/sessions", query)
    if arguments.json:
        return _print_json(answer)
    rows = [("ID", "CLIENT", "USER", "TARGET", "CHAIN", "FRONTEND", "AGE", "UP", "DOWN", "RATE")]
    for session in answer["sessions"]:
        fields = (
            session["id"],
            session["client"],
            session["user"] or "-",
            session["target"] or f"({session['outcome']})",
            " -> ".join(session["chain"]) or "direct",
            session["protocol"] or session["frontend"],
            duration_text(session["age"]),
            bytes_text(session["bytes_up"]),
            bytes_text(session["bytes_down"]),
            rate_text(session["rate_up"] + session["rate_down"]),
        )
        rows.append(cast("Any", tuple(map(printable, fields))))
    if len(rows) > 1:
        _print_table(rows)
    print(f"{answer['matched']} of {answer['total']} sessions", file=sys.stderr)
    return 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _kill(arguments: argparse.Namespace) -> int:
    from neosocksd_rest_api.amounts import parse_filter
    from neosocksd_rest_api.client import ApiError

    client, words = connect(), cast("list[str]", arguments.what)
    if bool(words) == arguments.all:
        raise ApiError("ctl kill: name sessions by their numbers or a filter, or give --all")
    numbers = {word for word in words if word.isascii() and word.isdigit()}
    if numbers and not numbers.issuperset(words):
        raise ApiError("ctl kill: name sessions by their numbers or by a filter, not both")
    if numbers:
        closed = _close(client, numbers)
    else:
        query = parse_filter(words) or {"all": "true"}
        closed = client.json("DELETE", "/v1/sessions", query)["closed"]
    if arguments.json:
        return _print_json({"closed": closed})
    print(f"{closed} closed")
    return 0


def _close(client: ApiClient, numbers: Collection[str]) -> int:
    """Close the sessions of these numbers; how many they were.

    :raises ApiError: if some of them are not there; the others are closed.
    """
    import json

    from neosocksd_rest_api.client import ApiError

    body = json.dumps({"ids": [int(number) for number in numbers]}).encode()
    closed: int = json.loads(client.text("POST", "/v1/sessions/close", body=body))["closed"]
    if closed < len(numbers):
        raise ApiError(f"{closed} of {len(numbers)} closed: there is no such session")
    return closed


def _reload(arguments: argparse.Namespace) -> int:
    answer = connect().json("POST", "/v1/reload")
    if arguments.json:
        return _print_json(answer)
    print("reloaded")
    return 0


def _invoke(arguments: argparse.Namespace) -> int:
    return _script(arguments, "/ruleset/invoke", {})


def _update(arguments: argparse.Namespace) -> int:
    named: dict[str, str | None] = {"module": arguments.module, "chunkname": arguments.chunkname}
    if not arguments.chunkname and arguments.file != "-":
        named["chunkname"] = f"@{Path(arguments.file).name}"
    return _script(arguments, "/ruleset/update", {k: v for k, v in named.items() if v})


def _script(arguments: argparse.Namespace, path: str, query: dict[str, str]) -> int:
    from neosocksd_rest_api.client import ApiError

    read: Callable[[], bytes] = (
        sys.stdin.buffer.read if arguments.file == "-" else Path(arguments.file).read_bytes
    )
    try:
        body = read()
    except OSError as error:
        raise ApiError(f"{arguments.file}: {error.strerror}") from None
    except ValueError as error:
        raise ApiError(f"{arguments.file!r}: {error}") from None
    headers = {"Content-Type": "text/x-lua"}
    if body.startswith(_GZIP):
        headers["Content-Encoding"] = "gzip"
    return _print_text(arguments, connect().text("POST", path, query, body, headers))


def _collect(arguments: argparse.Namespace) -> int:
    return _print_text(arguments, connect().text("POST", "/ruleset/gc", body=b""))


def _print_text(arguments: argparse.Namespace, text: str) -> int:
    """Print a text, or as JSON the values of its ``Name : value`` lines."""
    if not arguments.json:
        print(text, end="" if not text or text.endswith("\n") else "\n")
        return 0
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return _print_json({name.strip(): value.strip() for name, _, value in pairs})
