"""A headless Chromium for tests, driven through chromedriver by plain WebDriver calls (https://www.w3.org/TR/webdriver2/)."""

import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import pytest

from neosocksd_core.testing import DEADLINE

PATIENCE = 6 * DEADLINE
"""Seconds after which what should happen soon is given up: a browser takes its time on a busy machine."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_READY = "started successfully on port "
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1280,800",
)


def find_programs() -> tuple[str, str]:
    """The paths of chromedriver and the browser. Without them the test is skipped, or fails where ``REQUIRE_PEERS`` is set."""
    driver = shutil.which("chromedriver")
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if not driver or not browser:
        _miss("chromedriver or Chromium is not installed")
    return driver, browser


def find_program(name: str) -> str:
    """The path of a program. Without it the test is skipped, or fails where ``REQUIRE_PEERS`` is set."""
    return shutil.which(name) or _miss(f"{name} is not installed")


def _miss(message: str) -> NoReturn:
    if os.environ.get("REQUIRE_PEERS"):
        pytest.fail(f"{message}, and REQUIRE_PEERS is set")
    pytest.skip(message)


_WAIT = """
for (const end = performance.now() + {milliseconds}; performance.now() < end; await new Promise(requestAnimationFrame)) {{
  const value = {expression};
  if (value) return value;
}}
"""


class Browser:
    """One browser window with a profile of its own in *directory*; *arguments* are further ones of the command line."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        driver, browser = find_programs()
        self._driver = subprocess.Popen(  # noqa: S603 - found by its name
            [driver, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._session = ""
        try:
            self._port = self._read_port()
            options = {
                "binary": browser,
                "args": [*_ARGUMENTS, *arguments, f"--user-data-dir={directory / 'profile'}"],
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            opened = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{opened['sessionId']}"
            self._call("POST", f"{self._session}/timeouts", {"script": 2 * int(PATIENCE * 1000)})
        except BaseException:
            self.close()
            raise

    def open(self, url: str) -> None:
        """Load a page, and wait for its ``load`` event."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """What a function of this body returns in the page."""
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def wait_for(self, expression: str, *arguments: object) -> Any:
        """Wait until a JavaScript expression is true, which is looked at with each frame that is drawn; returns its value.

        :raises AssertionError: if it does not come true, with what the page shows.
        """
        value = self.run(
            _WAIT.format(expression=expression, milliseconds=PATIENCE * 1000), *arguments
        )
        if not value:
            shown = self.run("return document.body.innerText")
            raise AssertionError(f"{expression} did not come true: {shown}")
        return value

    def write(self, selector: str, text: str) -> None:
        """Type *text* into the element."""
        found = self._call(
            "POST", f"{self._session}/element", {"using": "css selector", "value": selector}
        )
        (element,) = found.values()
        self._call("POST", f"{self._session}/element/{element}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press and release a key on whatever has the focus."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self._call("POST", f"{self._session}/actions", body)

    def emulate(self, command: str, **parameters: object) -> None:
        """Give a command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        self._call("POST", f"{self._session}/goog/cdp/execute", body)

    def complaints(self) -> list[str]:
        """What has gone to the console since the last call, warnings and errors."""
        lines = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def close(self) -> None:
        """End the browser, then the driver."""
        try:
            if self._session:
                self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.communicate(timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read_port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if _READY in line:
                return int(line.partition(_READY)[2].strip().rstrip("."))
        raise AssertionError("chromedriver did not start")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2 * PATIENCE)
        try:
            sent = None if method in ("GET", "DELETE") else json.dumps(body or {})
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
            status = response.status
        finally:
            connection.close()
        if status >= 400:
            raise AssertionError(f"{method} {path}: {value['message']}")
        return value
