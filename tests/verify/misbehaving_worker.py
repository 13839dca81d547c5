"""A helper whose workers misbehave on request, for the fault injection of `test_pool.py`."""

import os
import socket
import subprocess
import sys

from simplerl.verify import judge, worker

thorough, harmless = judge.thorough, judge.harmless


def misbehave(answer, gold, engine, fallback=None):
    if answer.endswith("spin"):
        while True:
            pass
    if answer.endswith("memory"):
        return [bytearray(1 << 28) for _ in range(64)]
    if answer.endswith("write"):
        return open("/tmp/simplerl-must-not-exist", "w")
    if answer.endswith("connect"):
        return socket.create_connection(("127.0.0.1", 9))
    if answer.endswith("run"):
        return subprocess.run(["true"], check=True)
    if answer.endswith("exit"):
        os._exit(3)
    return thorough(answer, gold, engine, fallback)


def misbehave_alone(gold, engine, fallback=None):
    if gold.endswith("spin"):
        while True:
            pass
    return harmless(gold, engine, fallback)


judge.thorough, judge.harmless = misbehave, misbehave_alone

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control:
        worker.main(control)
