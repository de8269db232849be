"""Password hashes and the command that makes them."""

import argparse
import contextlib
import getpass
import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_static_auth import StaticAuth, hashing
from neosocksd_static_auth.command import hash_password
from neosocksd_static_auth.hashing import HashError, PasswordHash, make_decoy, make_hash, parse_hash

SCRYPT = "$scrypt$ln=4,r=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$"


@pytest.mark.parametrize("scrypt", [True, False])
@pytest.mark.parametrize("password", [b"x", b"\0\xff\n", b"p" * 255, "pässword".encode()])
def test_a_hash_is_read_as_it_was_written_and_fits_its_password_alone(
    password: bytes, scrypt: bool
) -> None:
    cost = (4, 1, 1) if scrypt else (10,)
    made = make_hash(password, scrypt=scrypt, cost=cost)
    read = parse_hash(str(made))
    assert read == made
    assert read.verify(password)
    assert not read.verify(password + b"x")
    assert not read.verify(b"")
    assert not make_decoy(read).verify(password)
    assert make_decoy(read).cost == cost


def test_keys_are_those_of_rfc_7914() -> None:
    """Sections 12 and 11, the first 32 bytes of the keys there."""
    assert parse_hash(
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI"
    ).verify(b"pleaseletmein")
    key = bytes.fromhex("4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56")
    assert PasswordHash("pbkdf2-sha256", (80_000,), b"NaCl", key).verify(b"Password")


def test_two_hashes_of_one_password_differ() -> None:
    assert str(make_hash(b"x", cost=(4, 1, 1))) != str(make_hash(b"x", cost=(4, 1, 1)))


def test_a_new_hash_is_costly_enough() -> None:
    made = make_hash(b"x")
    assert str(made).startswith("$scrypt$ln=14,r=8,p=1$")
    assert made.verify(b"x")
    assert str(make_decoy(scrypt=False)).startswith("$pbkdf2-sha256$i=600000$")


def test_a_hash_is_not_shown_by_accident() -> None:
    made = make_hash(b"x", cost=(4, 1, 1))
    assert made.key.hex() not in repr(made)
    assert "$" not in f"{made!r}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$scrypt$",
        SCRYPT,
        SCRYPT + "*" * 43,
        SCRYPT + "A" * 42,
        SCRYPT + "A" * 45,
        SCRYPT + "A" * 43 + "$",
        SCRYPT + "A" * 43 + "\n",
        SCRYPT.replace("ln=4", "ln=30") + "A" * 43,
        SCRYPT.replace("ln=4", "ln=0") + "A" * 43,
        SCRYPT.replace("r=1", "r=0") + "A" * 43,
        SCRYPT.replace("c2FsdHNhbHRzYWx0c2FsdA", "c2FsdA") + "A" * 43,
        "$pbkdf2-sha256$i=0$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43,
        "$2b$12$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_what_is_no_hash_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(HashError) as caught:
        parse_hash(text)
    assert len(text) < 8 or text not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        SCRYPT.replace("ln=4,r=1,p=1", "ln=18,r=8,p=8") + "A" * 43,  # within the memory, for 8 s
        "$pbkdf2-sha256$i=99999999$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43,
    ],
)
def test_a_hash_that_takes_too_long_to_check_is_refused_for_that(text: str) -> None:
    with pytest.raises(HashError, match="too long to check"):
        parse_hash(text)


def test_scrypt_hashes_need_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_hash(SCRYPT + "A" * 43).cost == (4, 1, 1)
    monkeypatch.setattr(hashing, "HAS_SCRYPT", False)
    with pytest.raises(HashError, match="lacks"):
        parse_hash(SCRYPT + "A" * 43)


@settings(deadline=None)
@given(
    st.text(max_size=80)
    | st.builds(
        "${}${}${}${}".format,
        st.sampled_from(["scrypt", "pbkdf2-sha256"]),
        st.sampled_from(
            ["ln=4,r=1,p=1", "ln=99,r=99,p=99", "i=1", "i=0", "i=-1", "ln=\u0664,r=1,p=1"]
        ),
        st.text("ABCxyz019+/=$*", max_size=60),
        st.text("ABCxyz019+/=$*", max_size=60),
    )
)
def test_random_text_raises_only_hash_errors(text: str) -> None:
    with contextlib.suppress(HashError):
        parse_hash(text)


# The command.


class Input(io.TextIOWrapper):
    """A standard input that is a file, or claims to be a terminal."""

    def __init__(self, content: bytes, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("content", [b"se\xffcret\n", b"se\xffcret\r\nmore\n", b"se\xffcret"])
def test_the_password_is_the_first_line_of_standard_input(
    content: bytes, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(content))
    assert hash_password(None) == 0
    printed = capfdbinary.readouterr().out
    assert printed.endswith(b"\n")
    assert parse_hash(printed.decode().rstrip("\n")).verify(b"se\xffcret")


def test_a_user_makes_it_a_line_of_the_users_file(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(b"x\n"))
    assert hash_password(os.fsdecode(b"al\xffice")) == 0
    name, _, text = capfdbinary.readouterr().out.partition(b":")
    assert name == b"al\xffice"
    assert parse_hash(text.decode().strip()).verify(b"x")


def test_a_terminal_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(b"", terminal=True))
    answers = ["s\xe4cret", "s\xe4cret", "one", "other"]

    def answer(prompt: str) -> str:
        assert prompt
        return answers.pop(0)

    monkeypatch.setattr(getpass, "getpass", answer)
    assert hash_password(None) == 0
    printed = capfdbinary.readouterr().out.decode().strip()
    assert parse_hash(printed).verify("s\xe4cret".encode())
    assert hash_password(None) == 2
    assert b"differ" in capfdbinary.readouterr().err


@pytest.mark.parametrize("user", ["", " a", "a:b", "#a", "a\nb"])
def test_a_name_that_the_file_cannot_hold_is_refused(
    user: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert hash_password(user) == 2
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert captured.err.count(b"\n") == 1


def test_an_empty_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for content in (b"", b"\n"):
        monkeypatch.setattr(sys, "stdin", Input(content))
        assert hash_password(None) == 2
    assert b"empty" in capfdbinary.readouterr().err


def test_the_subcommand_is_registered() -> None:
    parser = argparse.ArgumentParser()
    StaticAuth().register_commands(parser.add_subparsers())
    arguments = parser.parse_args(["hash-password", "alice"])
    assert arguments.name == "alice"
    assert parser.parse_args(["hash-password"]).name is None
    assert callable(arguments.run)


def test_the_prompt_works_on_a_real_terminal() -> None:
    code = (
        "from neosocksd_static_auth.command import hash_password as h; raise SystemExit(h('alice'))"
    )
    ours, theirs = pty.openpty()
    try:
        command = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
        )
        with command:
            shown = b""
            for prompt in (b"Password: ", b"Again: "):
                while prompt not in shown:
                    shown += os.read(ours, 1024)
                os.write(ours, b"hidden\n")
            assert command.stdout is not None
            line = command.stdout.read().decode()
        assert command.returncode == 0
        assert line.startswith("alice:$")
        assert b"hidden" not in shown
    finally:
        os.close(ours)
        os.close(theirs)
