"""A worker that misbehaves on request, for the fault injection of `test_pool.py`."""

import os
import socket
import subprocess

from simplerl.verify import judge, pool

thorough, harmless = judge.thorough, judge.harmless


#: Expressions that only a worker compares, and what it does with them.
ACTS = {
    rf"\sqrt{{{1009 + i}}}": act
    for i, act in enumerate(("spin", "memory", "write", "connect", "run", "exit", "noise", "nonsense"))
}


def misbehave(answer, gold, *, question=None):
    act = ACTS.get(answer.split("+")[0])
    if act == "spin":
        while True:
            pass
    if act == "memory":
        return [bytearray(1 << 26) for _ in range(8)]
    if act == "write":
        return open("/tmp/simplerl-must-not-exist", "w")
    if act == "connect":
        return socket.create_connection(("127.0.0.1", 9))
    if act == "run":
        return subprocess.run(["true"], check=True)
    if act == "exit":
        os._exit(3)
    if act == "noise":
        print("not a reply")
    if act == "nonsense":
        os.write(0, b"nonsense\n")
    return thorough(answer, gold, question=question)


def misbehave_alone(gold):
    if ACTS.get(gold) == "spin":
        while True:
            pass
    return harmless(gold)


if __name__ == "__main__":
    judge.thorough, judge.harmless = misbehave, misbehave_alone
    pool.main()
