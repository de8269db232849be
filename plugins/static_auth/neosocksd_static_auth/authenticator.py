"""Judges credentials against the table of users, without blocking the event loop.

A check costs tens of milliseconds of a thread, on purpose. So few run at a time that they leave half of the
machine to the relay, and a pair that was found good is remembered for as long as the table stands: by a digest keyed with a secret of this
process, so that no clear password stays in memory. Unknown users cost as much as wrong passwords.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Awaitable
from functools import partial

import anyio

from neosocksd_core import Credentials, SocketAddress
from neosocksd_static_auth.hashing import PasswordHash, make_decoy
from neosocksd_static_auth.threads import call_apart
from neosocksd_static_auth.users import Users

REMEMBERED = 1024
"""How many good pairs are remembered; the one that was used longest ago goes first."""

WAITING = 256
"""How many checks may run or wait; beyond that credentials are refused unseen."""


GUESSES = 8
"""How many different credentials one client address may have in check at once, so that its guessing locks nobody else out."""


class _Table:
    """One generation of users, with what has been found good among them."""

    __slots__ = ("_good", "decoy", "users")

    def __init__(self, users: Users) -> None:
        self.users = users
        self.decoy = make_decoy(max(users.values(), key=lambda user: user.work, default=None))
        self._good: dict[bytes, None] = {}

    def recall(self, digest: bytes) -> bool:
        """True if the pair was found good before."""
        if digest not in self._good:
            return False
        self._good[digest] = self._good.pop(digest)
        return True

    def remember(self, digest: bytes) -> None:
        self._good[digest] = None
        if len(self._good) > REMEMBERED:
            del self._good[next(iter(self._good))]


class StaticAuthenticator:
    """Accepts the users of a table. One object serves all clients of a server."""

    def __init__(self, users: Users) -> None:
        self._table = _Table(users)
        self._secret = os.urandom(32)
        self._turns = anyio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._running: set[anyio.CancelScope] = set()
        self._waiting = 0
        self._guesses: dict[str, Counter[bytes]] = {}
        """What is being checked for each client address, and how often it was sent."""

    def replace_users(self, users: Users) -> None:
        """Take a new table. What was found good before counts no more; what is being checked is checked again."""
        self._table = _Table(users)

    def give_up(self) -> None:
        """The server stops: nobody waits any more for the checks that run."""
        for scope in self._running:
            scope.cancel()

    def authenticate(
        self,
        credentials: Credentials,
        client: SocketAddress,
    ) -> bool | Awaitable[bool]:
        """True at once for a pair that was found good before, False at once where there is no password (SOCKS4)."""
        if credentials.password is None:
            return False
        digest = self._digest(credentials.username, credentials.password)
        if self._table.recall(digest):
            return True
        guesses = self._guesses.get(client[0], ())
        if self._waiting >= WAITING or (digest not in guesses and len(guesses) >= GUESSES):
            return False
        return self._judge(credentials.username, credentials.password, digest, client[0])

    async def _judge(self, username: bytes, password: bytes, digest: bytes, host: str) -> bool:
        guesses = self._guesses.setdefault(host, Counter())
        guesses[digest] += 1
        try:
            return await self._check(username, password, digest)
        finally:
            guesses[digest] -= 1
            if not guesses[digest]:
                del guesses[digest]
            if not guesses:
                self._guesses.pop(host, None)

    async def _check(self, username: bytes, password: bytes, digest: bytes) -> bool:
        table = self._table
        user = table.users.get(username)
        self._waiting += 1
        try:
            async with self._turns:
                if table is self._table and table.recall(digest):
                    return True
                good = await self._verify(user or table.decoy, password)
        finally:
            self._waiting -= 1
        if table is not self._table:
            return await self._check(username, password, digest)
        if user is None or not good:
            return False
        table.remember(digest)
        return True

    async def _verify(self, hashed: PasswordHash, password: bytes) -> bool:
        """Check one password. It runs on when its client leaves: clients that come and go would have many run at once."""
        with anyio.CancelScope(shield=True) as scope:
            self._running.add(scope)
            try:
                return await call_apart(partial(hashed.verify, password))
            finally:
                self._running.discard(scope)
        return False

    def _digest(self, username: bytes, password: bytes) -> bytes:
        """Both texts in one, keyed; the length keeps ``a``, ``bc`` apart from ``ab``, ``c``."""
        text = len(username).to_bytes(8, "big") + username + password
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()
