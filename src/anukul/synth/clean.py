"""Normalise the prose of an instruction, and nothing else: code, what is protected, and lines stay as they are.

Text of the corpus is prose alone, so white space and HTML in it are noise. In instructions they carry meaning:
indentation, blank lines, columns of a table, a tag that is asked about.
"""

from collections.abc import Sequence

import regex

from anukul.languages import Language
from anukul.synth.markup import ADDRESS, INLINE, segments
from anukul.text.normalize import LINE_BREAKS, RULES, SCRIPT_RULES, run_rules, settled
from anukul.text.pii import mask

ODD_SPACE = regex.compile(r"[^\S\n\t ]")
BLANK_START = regex.compile(r"\A(?:[^\S\n]*\n)+")
FEW_BLANKS = regex.compile(r"\A {1,3}(?=\S)")
RULES_OF_PROSE = {name: rule for name, rule in RULES.items() if name not in ("html", "white_space")}


def masked(text: str, languages: Sequence[Language]) -> tuple[str, list[str]]:
    """Return a text without e-mail addresses and telephone numbers, and the rules that changed it.

    Numbers are known as they are written where each of the languages is spoken: English text tells of Nepal, too.
    """
    rules: dict[str, None] = {}
    for language in languages:
        text, counts = mask(text, language)
        rules.update(dict.fromkeys(f"mask_{name}" for name, count in counts.items() if count))
    return text, list(rules)


def clean(text: str, language: Language, masks: Sequence[Language] = ()) -> tuple[str, list[str]]:
    """Return a text with its prose normalised and `masked`, and the rules that changed it.

    What is code is said by the text as it is given: it is not looked for again where something before it went.
    """
    done: list[str] = []
    rules: dict[str, None] = {}
    for fixed, piece in _pieces(text):
        while not fixed:  # what stood beside an address may mean nothing beside its mask
            piece, found = _prose(piece, language)
            piece, hidden = masked(piece, masks)
            rules.update(dict.fromkeys([*found, *hidden]))
            fixed = not hidden
        done.append(piece)
    return _trimmed("".join(done)), list(rules)


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Return (whether it stays as it is, piece) one after the other; an address is prose, as it may be masked."""
    pieces: list[tuple[bool, str]] = []
    for code, block in segments(text):
        if code:
            pieces.append((True, block))
            continue
        end = 0
        for found in INLINE.finditer(block):
            if not ADDRESS.fullmatch(found.group()):
                pieces += [(False, block[end : found.start()]), (True, found.group())]
                end = found.end()
        pieces.append((False, block[end:]))
    return pieces


def _prose(text: str, language: Language) -> tuple[str, list[str]]:
    if settled(text, language.script):
        return text, []
    rules = {**RULES_OF_PROSE, **SCRIPT_RULES.get(language.script, {}), "white_space": _spaces}
    return run_rules(text, rules, language.script)


def _spaces(text: str) -> str:
    """Make every line break and every odd space a plain one; how many there are may be meant."""
    return ODD_SPACE.sub(" ", LINE_BREAKS.sub("\n", text))


def _trimmed(text: str) -> str:
    """Drop the blanks after a text, the blank lines before it, and few blanks before a single line: more mean code."""
    text = BLANK_START.sub("", text.rstrip())
    return text if "\n" in text else FEW_BLANKS.sub("", text)
