"""The process of one runner: takes (command, argument) pairs on stdin, answers on stdout, both pickled."""

import os
import pickle
import sys
import traceback
from typing import Any

from bench.cases import Case
from bench.memory import extra_bytes
from bench.peers import PEERS
from bench.timing import per_call


class Skip(Exception):
    """The runner cannot do the case: no failure."""


class Worker:
    """Holds one prepared case at a time; every method is a command."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer, self.threads, self.prepared = PEERS[peer], threads, None

    def prepare(self, case: Case) -> Any:
        """Build the case and return what it computes."""
        self.prepared = None  # the case before must be gone before its successor is built
        reason = self.peer.unsupported(case)
        if reason:
            raise Skip(reason)
        self.prepared = self.peer.prepare(case, case.weights(), case.inputs(), self.threads)
        return self.prepared.result()

    def time(self, seconds: float) -> tuple[float, float]:
        """Median and least nanoseconds of one call."""
        return per_call(self.prepared.call, seconds)

    def extra_bytes(self, _: None) -> int | None:
        """Memory that a call needs at its peak beyond the output it returns; None where it cannot be told."""
        return extra_bytes(self.prepared.call)

    def version(self, _: None) -> str:
        """Version of the library."""
        return self.peer.version()


def serve(worker: Worker) -> None:
    """Answer until stdin closes."""
    # Libraries print to stdout: keep the real one for answers, and let theirs go to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            command, argument = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = ("ok", getattr(worker, command)(argument))
        except Skip as skip:
            answer = ("skip", str(skip))
        except Exception:  # the other end reports it beside the case and goes on
            answer = ("error", traceback.format_exc())
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    serve(Worker(sys.argv[1], int(sys.argv[2])))
