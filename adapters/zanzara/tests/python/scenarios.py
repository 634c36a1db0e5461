"""What the scripts beside this one share: a register of scenarios, their command line, and waiting with a deadline."""

import asyncio
import multiprocessing
import queue
import sys

# How long anything may take before a scenario gives up, in seconds. It bounds a failing run and says nothing about speed.
PATIENCE = 40

_register = {}


class Failure(AssertionError):
    """What was expected did not happen."""


def scenario(*versions):
    """Registers a function under its name, to be called with the broker's port and each of the versions."""

    def enter(function):
        _register[function.__name__] = (function, versions)
        return function

    return enter


def expect(condition, message):
    """Fails with the message unless the condition holds."""
    if not condition:
        raise Failure(message)


def equal(actual, wanted, what):
    """Fails unless both are equal."""
    expect(actual == wanted, f"{what}: {actual!r} instead of {wanted!r}")


def take(source, what):
    """The next item of a queue, within the deadline."""
    try:
        return source.get(timeout=PATIENCE)
    except queue.Empty:
        raise Failure(f"{what} did not come") from None


def run_and_kill(coroutine_function, *arguments):
    """Runs a coroutine in a process of its own until it calls the function it gets first, then kills that process.

    Returns what the coroutine passed to that function.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    process = context.Process(target=_hold, args=(coroutine_function, reports, *arguments))
    process.start()
    try:
        return take(reports, "the report of the process to be killed")
    finally:
        process.kill()
        process.join()


def _hold(coroutine_function, reports, *arguments):
    async def run():
        await coroutine_function(reports.put, *arguments)
        await asyncio.Event().wait()

    asyncio.run(run())


def main():
    """`SCRIPT --list` prints the scenarios; `SCRIPT SCENARIO PORT [VERSION]` runs one, in each of its versions or in one."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(_register))
        return
    name, port = sys.argv[1], int(sys.argv[2])
    function, versions = _register[name]
    if len(sys.argv) > 3:
        versions = [int(sys.argv[3])]
    for version in versions:
        try:
            function(port, version)
        except Exception:
            print(f"{name} fails in version {version}", file=sys.stderr)
            raise
