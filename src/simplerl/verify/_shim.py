"""Temporary: calls the judge with a question where it accepts one."""

import inspect

from simplerl.verify import judge


def quick(answer, gold, *, question=None):
    if "question" in inspect.signature(judge.quick).parameters:
        return judge.quick(answer, gold, question=question)
    return judge.quick(answer, gold)


def thorough(answer, gold, *, question=None):
    if "question" in inspect.signature(judge.thorough).parameters:
        return judge.thorough(answer, gold, question=question)
    from simplerl.verify import algebra

    return judge.thorough(answer, gold, algebra)


def harmless(gold):
    if "engine" not in inspect.signature(judge.harmless).parameters:
        return judge.harmless(gold)
    from simplerl.verify import algebra

    return judge.harmless(gold, algebra)
