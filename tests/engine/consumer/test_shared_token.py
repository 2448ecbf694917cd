"""Tests that a reader of a shared token never sees half of a write."""

import multiprocessing
import os
import signal

from jobqueue.consumer.shared_token import TOKEN, SharedToken

TOKENS = ["a" * TOKEN, "", "b" * TOKEN, "c" * TOKEN]
TIMES = 100_000


def write(token: SharedToken) -> None:
    """Write all tokens, one after the other, many times."""
    for _ in range(TIMES):
        for each in TOKENS:
            token.value = each


def test_a_reader_gets_whole_tokens_while_another_process_writes() -> None:
    token = SharedToken()
    writer = multiprocessing.get_context("fork").Process(target=write, args=[token])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.update([token.value for _ in range(1000)])
    writer.join()
    assert writer.exitcode == 0
    assert seen == set(TOKENS)
    assert token.value == TOKENS[-1]


def test_a_token_can_be_read_and_written_after_its_writer_was_killed() -> None:
    token = SharedToken()
    for _ in range(50):
        writer = multiprocessing.get_context("fork").Process(target=write, args=[token])
        writer.start()
        before = token.value
        while token.value == before:
            pass
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        assert token.value in TOKENS
        token.value = TOKENS[0]
        assert token.value == TOKENS[0]
