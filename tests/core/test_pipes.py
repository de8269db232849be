"""The pool of pipes."""

import os

import pytest

from neosocksd_core.pipes import HAS_SPLICE, PipePool

pytestmark = pytest.mark.skipif(not HAS_SPLICE, reason="this system has no splice")


def test_a_pipe_that_was_given_back_is_lent_again() -> None:
    pool = PipePool()
    first = pool.take()
    second = pool.take()
    assert first != second
    pool.give_back(first)
    assert pool.take() is first
    pool.give_back(first)
    pool.give_back(second)
    pool.close()


def test_only_a_few_are_kept() -> None:
    pool = PipePool(keep=1)
    pipes = [pool.take(), pool.take()]
    for pipe in pipes:
        pool.give_back(pipe)
    os.fstat(pipes[0].read)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipes[1].read)
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipes[0].read)


def test_neither_end_blocks_or_is_inherited() -> None:
    pool = PipePool()
    pipe = pool.take()
    for end in (pipe.read, pipe.write):
        assert not os.get_blocking(end)
        assert not os.get_inheritable(end)
    pipe.close()
    pool.close()
