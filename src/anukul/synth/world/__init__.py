"""The embedded world: a seeded bilingual grammar whose every fact and dependency is known."""

from anukul.synth.world.build import build
from anukul.synth.world.config import VERSION, WorldConfig

__all__ = ["VERSION", "WorldConfig", "build"]
