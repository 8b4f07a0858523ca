"""Which attention heads resolve which dependency relations, base against adapted.

In a notebook: `from anukul.probe import HeadScores`.
"""

from anukul.probe.api import BestHead, Change, HeadScores

__all__ = ["BestHead", "Change", "HeadScores"]
