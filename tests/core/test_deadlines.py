"""Queues of time limits that are the same for many."""

import anyio

from neosocksd_core.deadlines import DeadlineQueue
from neosocksd_core.loops import open_reactor
from neosocksd_core.testing import run_async
from neosocksd_core.testing.running import Backend


def test_items_of_a_deadline_queue_expire_in_order_unless_they_are_done(backend: Backend) -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            expired: list[str] = []
            done = anyio.Event()

            def expire(item: str) -> None:
                expired.append(item)
                if item == "last":
                    done.set()

            queue = DeadlineQueue(reactor, 0.01, expire)
            for item in ("first", "second", "last"):
                queue.add(item)
            queue.discard("second")
            queue.discard("never here")
            await done.wait()
            assert expired == ["first", "last"]
            queue.close()

    run_async(main, backend)


def test_a_shorter_limit_holds_for_the_items_that_are_here() -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            done = anyio.Event()
            expired: list[str] = []

            def expire(item: str) -> None:
                expired.append(item)
                if len(expired) == 2:
                    done.set()

            queue = DeadlineQueue(reactor, 3600.0, expire)
            queue.add("early")
            queue.limit = 0.01
            queue.add("late")
            await done.wait()
            assert expired == ["early", "late"]
            queue.limit = 3600.0
            queue.add("kept")
            queue.close()

    run_async(main)


def test_an_item_whose_end_raises_takes_no_other_items_limit_away() -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            errors: list[BaseException] = []
            reactor.on_error = errors.append
            done = anyio.Event()

            def expire(item: str) -> None:
                if item == "bad":
                    raise ZeroDivisionError
                done.set()

            queue = DeadlineQueue(reactor, 0.01, expire)
            queue.add("bad")
            queue.add("good")
            await done.wait()
            assert [type(error) for error in errors] == [ZeroDivisionError]
            queue.close()

    run_async(main)
