"""The rules. To add one: write it in a file of its kind and put it into that file's list.

`RULES` maps names to rules, in the order in which they are shown.
"""

from simplerl.diagnosis.rules.data import DATA
from simplerl.diagnosis.rules.length import LENGTH
from simplerl.diagnosis.rules.outcome import OUTCOME
from simplerl.diagnosis.rules.policy import POLICY
from simplerl.diagnosis.rules.wording import WORDING
from simplerl.diagnosis.types import Rule

#: Name → rule.
RULES: dict[str, Rule] = {rule.name: rule for rule in (*OUTCOME, *POLICY, *DATA, *LENGTH, *WORDING)}
