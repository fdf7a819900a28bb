"""Learners: the outer losses of labels that `learn` lowers.

A learner is `learner(task, *, real or expert, options) → Objective`; it gets what it asks for.
"""

from ddlabel.commands.learners import bptt, mtt
from ddlabel.commands.learners.task import Objective, StepSize, Task, learners

__all__ = ["Objective", "StepSize", "Task", "bptt", "learners", "mtt"]
