"""``neosocksd top``: the sessions and figures of a running server, live in a terminal."""

import curses
import sys
from collections.abc import Callable
from typing import Any

from neosocksd_rest_api.amounts import parse_filter, printable
from neosocksd_rest_api.board import Board, Reader, Row
from neosocksd_rest_api.client import ApiClient, ApiError
from neosocksd_rest_api.screen import HEAD_LINES, Look, draw

_KEYS_WAIT_MS = 200
_ENTER = (10, 13, curses.KEY_ENTER)
_ERASE = (8, 127, curses.KEY_BACKSPACE)
_ESCAPE = 27

_ORDERS: tuple[tuple[str, Callable[[Row], Any]], ...] = (
    ("newest", lambda row: (row.opened, row.fields["id"])),
    ("rate", lambda row: (row.rate, row.opened)),
    ("bytes", lambda row: (row.up + row.down, row.opened)),
    ("oldest", lambda row: (-row.opened, -row.fields["id"])),
)


def watch(client: ApiClient) -> int:
    """Show the server until the user has seen enough, or it goes; returns the exit status.

    :raises ApiError: where there is no API, or it refuses, or there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ApiError(
            "top needs a terminal; for programs there is `neosocksd ctl sessions --json`"
        )
    gone = False

    def run(screen: "curses.window") -> None:
        nonlocal gone
        gone = Top(client, screen, reader).run()

    with client.events() as stream:
        reader = Reader(stream)
        try:
            curses.wrapper(run)
        except curses.error as error:
            raise ApiError(f"the terminal cannot show this: {error}") from None
        finally:
            reader.close()
    if gone:
        print("neosocksd top: the server has gone, or wants another token", file=sys.stderr)
    return 0


class Top:
    """The loop of one screen: takes keys and events in, draws."""

    def __init__(self, client: ApiClient, screen: "curses.window", reader: Reader) -> None:
        self._client = client
        self._screen = screen
        self._reader = reader
        self._board = Board()
        self._look = Look()
        self._order = 0
        self._before = ""

    def run(self) -> bool:
        """Run until the user quits (False) or the stream ends (True)."""
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # a terminal that cannot hide its cursor
        if curses.has_colors():
            curses.use_default_colors()
        curses.set_escdelay(25)
        self._screen.timeout(_KEYS_WAIT_MS)
        changed = True
        while True:
            changed = self._reader.drain(self._board) or changed
            if self._board.stale:
                self._fetch()
            if changed:
                self._arrange()
                draw(self._screen, self._board, self._look)
            if self._reader.ended:
                return True
            try:
                key = self._screen.getch()
            except KeyboardInterrupt:
                return False
            changed = key != -1
            if changed and not self._press(key):
                return False

    def _fetch(self) -> None:
        self._board.stale = False
        try:
            self._board.replace(
                self._client.json("GET", "/v1/sessions", {"limit": "10000"})["sessions"]
            )
        except ApiError as error:
            self._look.notify(printable(error))

    def _arrange(self) -> None:
        look = self._look
        look.order, key = _ORDERS[self._order]
        rows = self._board.matching(parse_filter(look.filter.split()))
        rows.sort(key=key, reverse=True)
        look.rows = rows
        ids = [row.fields["id"] for row in rows]
        if look.selected in ids:
            look.at = ids.index(look.selected)
        else:
            look.selected = None  # it has gone, and `k` must not hit its neighbour
        look.at = max(0, min(look.at, len(rows) - 1))

    def _press(self, key: int) -> bool:
        """Obey a key; False to quit."""
        look = self._look
        if key == curses.KEY_RESIZE:
            self._screen.clear()
        elif look.editing:
            self._edit(key)
        elif key == ord("q"):
            return False
        elif key == ord("k"):
            self._kill()
        elif key == ord("/"):
            look.editing, self._before = True, look.filter
        elif key == ord("s"):
            self._order = (self._order + 1) % len(_ORDERS)
        elif key == _ESCAPE:
            look.filter = ""
        else:
            self._move(key)
        return True

    def _move(self, key: int) -> None:
        page = max(1, self._screen.getmaxyx()[0] - HEAD_LINES - 2)
        last = len(self._look.rows)
        steps = {
            curses.KEY_UP: -1,
            curses.KEY_DOWN: 1,
            curses.KEY_PPAGE: -page,
            curses.KEY_NPAGE: page,
            curses.KEY_HOME: -last,
            curses.KEY_END: last,
        }
        if key in steps and self._look.rows:
            first = self._look.selected is None and abs(steps[key]) == 1
            step = 0 if first else steps[key]
            self._look.at = max(0, min(last - 1, self._look.at + step))
            self._look.selected = self._look.rows[self._look.at].fields["id"]

    def _edit(self, key: int) -> None:
        look = self._look
        if key in _ENTER:
            look.editing = False
        elif key == _ESCAPE:
            look.editing, look.filter = False, self._before
        elif key in _ERASE:
            look.filter = look.filter[:-1]
        elif 32 <= key < 127:
            look.filter += chr(key)

    def _kill(self) -> None:
        number = self._look.selected
        if number is None:
            self._look.notify("no session is selected")
            return
        try:
            self._client.json("DELETE", f"/v1/sessions/{number}")
            self._look.notify(f"session {number} closed")
        except ApiError as error:
            self._look.notify(printable(error))
