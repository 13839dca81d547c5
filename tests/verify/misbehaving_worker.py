"""A worker that misbehaves on request, for the fault injection of `test_pool.py`."""

import os
import socket
import subprocess

from simplerl.verify import judge, worker

thorough, harmless = judge.thorough, judge.harmless


def misbehave(answer, gold, *, question=None):
    if answer.endswith("spin"):
        while True:
            pass
    if answer.endswith("memory"):
        return [bytearray(1 << 26) for _ in range(8)]
    if answer.endswith("write"):
        return open("/tmp/simplerl-must-not-exist", "w")
    if answer.endswith("connect"):
        return socket.create_connection(("127.0.0.1", 9))
    if answer.endswith("run"):
        return subprocess.run(["true"], check=True)
    if answer.endswith("exit"):
        os._exit(3)
    if answer.endswith("noise"):
        print("not a reply")
    if answer.endswith("nonsense"):
        os.write(1, b"nonsense\n")
    return thorough(answer, gold, question=question)


def misbehave_alone(gold):
    if gold.endswith("spin"):
        while True:
            pass
    return harmless(gold)


judge.thorough, judge.harmless = misbehave, misbehave_alone

if __name__ == "__main__":
    worker.main()
