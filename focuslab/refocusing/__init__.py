"""Refocusing: from one plane along its direction, or between two planes of a field."""

from focuslab.refocusing.between import between_steps
from focuslab.refocusing.engine import CodedRegion, Engine, PlaneFacts
from focuslab.refocusing.refocus import between, finish, refocus
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import Progress, refocus_steps

__all__ = [
    "CodedRegion",
    "Engine",
    "PlaneFacts",
    "Progress",
    "RefocusRequest",
    "between",
    "between_steps",
    "finish",
    "refocus",
    "refocus_steps",
]
