"""`anukul plan`: what a run will cost, said before anything is paid for. No weights and no network are used."""

from anukul.plan.memory import on_gpu, trained_parameters
from anukul.plan.printed import print_plan

__all__ = ["on_gpu", "print_plan", "trained_parameters"]
