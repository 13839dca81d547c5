"""The rules. To add one: write it in a file of its kind and put it into that file's list.

`RULES` maps names to rules, in the order in which they are shown.
"""

from simplerl.doctor.rules.data import DATA
from simplerl.doctor.rules.length import LENGTH
from simplerl.doctor.rules.outcome import OUTCOME
from simplerl.doctor.rules.policy import POLICY
from simplerl.doctor.rules.wording import WORDING
from simplerl.doctor.types import Rule

#: Name → rule.
RULES: dict[str, Rule] = {rule.name: rule for rule in (*OUTCOME, *POLICY, *DATA, *LENGTH, *WORDING)}
