"""Users and groups, and what becomes of a process that turns into a daemon."""

import os
import pwd
import subprocess
import sys

import pytest

from neosocksd_core import ConfigurationError
from neosocksd_core.process import Identity, parse_identity

NOBODY = pwd.getpwnam("nobody")
GROUP = "daemon"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


def child(code: str) -> str:
    """What a process prints that does *code*."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            "import os\nfrom neosocksd_core.process import *\n" + code,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_user_brings_its_group() -> None:
    expected = Identity("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    for text in ("nobody", "nobody:", str(NOBODY.pw_uid)):
        assert parse_identity(text) == expected


def test_user_and_group_may_be_named_apart() -> None:
    import grp

    gid = grp.getgrnam(GROUP).gr_gid
    assert parse_identity(f"nobody:{GROUP}") == Identity("nobody", NOBODY.pw_uid, gid)
    assert parse_identity(f":{GROUP}") == Identity(None, None, gid)
    assert parse_identity("4242:4243") == Identity(None, 4242, 4243)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such-user", "no user 'no-such-user'"),
        ("nobody:no-such-group", "no group 'no-such-group'"),
        (":no-such-group", "no group"),
        ("4242", "name a group too"),
        (f"{2**40}:0", "no user"),
        (f"{2**80}", "no user"),
        (f"nobody:{2**40}", "no group"),
        ("a" * 10_000, "no user"),
        ("nobody\0:", "no user"),
        ("-1", "no user"),
    ],
)
def test_an_unknown_user_or_group_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^user_name: .*{message}"):
        parse_identity(text)


def test_naming_neither_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"expected \[USER\]"):
        parse_identity(":")


@needs_root
def test_dropping_privileges_is_for_good() -> None:
    printed = child(
        "drop_privileges(parse_identity('nobody'))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try:\n    os.setuid(0)\nexcept PermissionError:\n    print('refused')"
    )
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert printed == f"{(uid,) * 3} {(gid,) * 3} [{gid}]\nrefused\n"


@needs_root
def test_a_number_without_an_entry_gets_no_further_groups() -> None:
    code = "drop_privileges(Identity(None, 4242, 4243)); print(os.getresuid(), os.getgroups())"
    assert child(code) == "(4242, 4242, 4242) [4243]\n"


def test_what_the_system_refuses_is_an_error_of_ours() -> None:
    printed = child(
        "if not os.geteuid(): drop_privileges(Identity(None, 4242, 4243))\n"
        "try:\n    drop_privileges(Identity(None, 0, 0))\nexcept ProcessError as e:\n    print(e)"
    )
    assert printed == "cannot drop privileges: Operation not permitted\n"


def test_a_daemon_leads_nothing_and_holds_no_terminal() -> None:
    printed = child(
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    folder = os.getcwd()\n"
        "    daemonize()\n"
        "    targets = {os.readlink('/proc/self/fd/%d' % n) for n in (0, 1, 2)}\n"
        "    facts = (os.getsid(0) == os.getpid(), targets, os.getcwd() == folder)\n"
        "    os.write(writer, repr(facts).encode()); os._exit(0)\n"
        "os.close(writer)\n"
        "print(os.read(reader, 1000).decode()); os.wait()"
    )
    assert printed == "(False, {'/dev/null'}, True)\n"


def test_closed_standard_descriptors_are_held() -> None:
    printed = child(
        "saved = os.dup(1)\n"
        "for n in (0, 1, 2): os.close(n)\n"
        "hold_standard_streams()\n"
        "held = [os.readlink('/proc/self/fd/%d' % n) for n in (0, 1, 2)]\n"
        "os.dup2(saved, 1); print(held, len(os.listdir('/proc/self/fd')))"
    )
    assert printed.startswith("['/dev/null', '/dev/null', '/dev/null']")


def test_open_standard_descriptors_are_left_alone() -> None:
    before = "before = [os.fstat(n) for n in (0, 1, 2)]; count = len(os.listdir('/proc/self/fd'))\n"
    after = "print(before == [os.fstat(n) for n in (0, 1, 2)], count == len(os.listdir('/proc/self/fd')))"
    assert child(before + "hold_standard_streams()\n" + after) == "True True\n"


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be() -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))"""
    assert child(code) == "256 256\n"
