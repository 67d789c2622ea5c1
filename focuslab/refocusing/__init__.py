"""Refocusing: from one plane along its direction, between two planes of a field, and what is built on that."""

from focuslab.refocusing.between import between_steps
from focuslab.refocusing.engine import CodedRegion, Engine, PlaneFacts
from focuslab.refocusing.fusion import AllInFocus, all_in_focus, all_in_focus_steps
from focuslab.refocusing.progress import Progress, finish
from focuslab.refocusing.refocus import between, refocus
from focuslab.refocusing.request import RefocusRequest
from focuslab.refocusing.steps import refocus_steps
from focuslab.refocusing.survey import BlurMap, PlaneFocus, blur_map, blur_map_steps, focus_curve, focus_curve_steps
from focuslab.refocusing.synthesis import SynthesisRequest, focal_stack, focal_stack_steps

__all__ = [
    "AllInFocus",
    "BlurMap",
    "CodedRegion",
    "Engine",
    "PlaneFacts",
    "PlaneFocus",
    "Progress",
    "RefocusRequest",
    "SynthesisRequest",
    "all_in_focus",
    "all_in_focus_steps",
    "between",
    "between_steps",
    "blur_map",
    "blur_map_steps",
    "finish",
    "focal_stack",
    "focal_stack_steps",
    "focus_curve",
    "focus_curve_steps",
    "refocus",
    "refocus_steps",
]
