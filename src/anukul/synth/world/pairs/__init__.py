"""Agreement minimal pairs for Nepali, made from the world's grammar.

Every frame (a verb with its object and setting, or a noun with what stands before it) is used twice, with two
controllers that demand the one and the other form: whoever just likes one form better gets one of the two right.
The norm is standard written Nepali as schools teach it; what speech or polite usage allows is not called wrong:
भाइ आए (respect for one brother) and रामको छोरी stand in no pair.
"""

from anukul.synth.world.pairs.draw import draw_agreement
from anukul.synth.world.pairs.sentences import AgreementPair

__all__ = ["AgreementPair", "draw_agreement"]
