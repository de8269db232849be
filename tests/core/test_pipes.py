"""The pool of pipes."""

import os
import resource

import pytest

from neosocksd_core.pipes import HAS_SPLICE, Pipe, PipePool

pytestmark = pytest.mark.skipif(not HAS_SPLICE, reason="this system has no splice")


def take(pool: PipePool) -> Pipe:
    pipe = pool.take()
    assert pipe is not None
    return pipe


def test_a_pipe_that_was_given_back_is_lent_again() -> None:
    pool = PipePool()
    first = take(pool)
    second = take(pool)
    assert first != second
    pool.give_back(first)
    assert pool.take() is first
    pool.give_back(first)
    pool.give_back(second)
    pool.close()


def test_only_a_few_are_kept() -> None:
    pool = PipePool(keep=1)
    pipes = [take(pool), take(pool)]
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
    pipe = take(pool)
    for end in (pipe.read, pipe.write):
        assert not os.get_blocking(end)
        assert not os.get_inheritable(end)
    pipe.close()
    pool.close()


def test_where_there_are_none_to_be_had_none_is_lent() -> None:
    assert PipePool(has_pipes=False).take() is None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    pool = PipePool()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert pool.take() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
