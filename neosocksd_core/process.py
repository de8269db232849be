"""What happens to the process itself at the start: becoming a daemon, and giving up privileges.

Both come after the listeners are bound, and before any thread exists.
"""

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass

from neosocksd_core.errors import ConfigurationError, NeosocksdError


class ProcessError(NeosocksdError):
    """The process could not be put into the state that the settings ask for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who to become. ``user`` is the name, for the supplementary groups; None leaves user, or group, as it is."""

    user: str | None
    uid: int | None
    gid: int | None


MAX_DESCRIPTORS = 1 << 20


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may allow itself: the usual 1024 are 500 sessions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # a system may refuse more than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def parse_identity(text: str) -> Identity:
    """Parse ``[USER][:[GROUP]]``, names or numbers. ``USER`` alone takes the user's group too; ``USER:`` likewise; ``:GROUP`` keeps the user.

    :raises ConfigurationError: for a user or group that does not exist, or where neither is named.
    """
    import grp
    import pwd

    user, _, group = text.partition(":")
    if not user and not group:
        raise ConfigurationError("user_name: expected [USER][:[GROUP]]")
    name: str | None = None
    uid: int | None = None
    gid: int | None = None
    if user:
        try:
            entry = pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
            name, uid, gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        except (KeyError, OverflowError, ValueError):
            if not _is_number(user) or int(user) >= _ID_LIMIT:
                raise ConfigurationError(f"user_name: there is no user {user!r}") from None
            uid = int(user)
    if group:
        try:
            gid = int(group) if _is_number(group) else grp.getgrnam(group).gr_gid
        except (KeyError, ValueError):
            raise ConfigurationError(f"user_name: there is no group {group!r}") from None
        if gid >= _ID_LIMIT:
            raise ConfigurationError(f"user_name: there is no group {group!r}")
    elif uid is not None and gid is None:
        raise ConfigurationError(
            f"user_name: user {user!r} has no entry, name a group too: {user}:GROUP"
        )
    return Identity(name, uid, gid)


_ID_LIMIT = 2**32 - 1


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def drop_privileges(identity: Identity) -> None:
    """Become *identity* for good: supplementary groups, group, user, in this order.

    :raises ProcessError: where the system refuses that.
    """
    try:
        if os.geteuid() == 0:
            if identity.user is not None and identity.gid is not None:
                os.initgroups(identity.user, identity.gid)
            else:
                os.setgroups([] if identity.gid is None else [identity.gid])
        if identity.gid is not None:
            os.setgid(identity.gid)
        if identity.uid is not None:
            os.setuid(identity.uid)
    except OSError as error:
        raise ProcessError(f"cannot drop privileges: {error.strerror}") from error
    if identity.uid and 0 in (os.getuid(), os.geteuid()):
        raise ProcessError("cannot drop privileges: still root")


def hold_standard_streams() -> None:
    """Open the null device for those of the standard streams that are closed, lest a client's socket become the log."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115 - it stays


def daemonize() -> None:
    """Detach: fork twice, lead a session of its own, and put the null device on the standard descriptors.

    Returns in the daemon only; the calling process ends with status 0. The working directory stays, since configuration, rulesets and
    plugins may be named relative to it.

    :raises ProcessError: where the system refuses that.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        if null > 2:
            os.close(null)
    except OSError as error:
        raise ProcessError(f"cannot become a daemon: {error.strerror}") from error
