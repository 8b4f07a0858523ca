"""Named normalisation rules: each one repairs one thing, and says when it changed a text.

The rules run in order until none changes anything, so that normalising twice is normalising once: every rule
but NFC can only shorten a text or leave its length, and NFC has nothing left to do the second time.
"""

import html
import unicodedata
from collections.abc import Callable

import ftfy
import ftfy.badness
import regex

from anukul.languages import Language

# Viramas of the Indic scripts; a joiner beside one changes how a word is written and stays: गर्‍यो, not गर्यो.
VIRAMAS = "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca\ua953"
JOINERS = regex.compile(r"[\u200c\u200d]+")
DEVANAGARI = regex.compile(r"\p{Script=Devanagari}")
JOINABLE = regex.compile(r"[\p{L}\p{M}\p{N}\p{So}\p{Sk}\ufe0f]")  # also emoji, which join by ZWJ

# Zero-width space is a word break in the scripts that write without spaces, and noise elsewhere.
SPACELESS = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
ZERO_WIDTH = regex.compile(rf"(?<!{SPACELESS})\u200b|\u200b(?!{SPACELESS})|[\u00ad\u2060-\u2064\u180e]")
DIRECTION = regex.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
RIGHT_TO_LEFT = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Syriac}\p{Thaana}\p{Nko}]")

CONTROL = regex.compile(r"[\p{Cc}\p{Cs}--[\t\n\v\f\r\x85]]|[\ufff9-\ufffb\ufffe\uffff]", regex.V1)

TAGS = (
    "a|abbr|article|aside|b|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|figcaption|figure|font|footer|"
    "form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|meta|nav|nobr|ol|option|p|pre|q|s|"
    "section|select|small|span|strong|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|video|wbr"
)
HIDDEN = regex.compile(r"(?is)<(script|style)\b[^<>]*>.*?</\1\s*>|<!--.*?-->")
BLOCK_TAG = regex.compile(
    r"(?i)</?(?:article|aside|blockquote|body|br|dd|div|dl|dt|footer|form|h[1-6]|head|header|hr|html|li|main|nav|ol|"
    r"p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul)(?:\s[^<>]*)?/?>"
)
TAG = regex.compile(rf"(?i)</?(?:{TAGS})(?:\s[^<>]*)?/?>")
ENTITY = regex.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

SPACES = regex.compile(r"[^\S\n]+")
LINE_BREAKS = regex.compile(r"(?:\r\n?|[\v\f\x85\u2028\u2029])")
BLANK_LINES = regex.compile(r" ?\n[ \n]*")

# A vowel written as a letter and a sign, where Unicode gives it one letter: The Unicode Standard 16.0, section
# 12.1, "Devanagari Vowel Letters". The last four are a vowel sign in two parts, as legacy-font converters leave it.
DEVANAGARI_SPELLINGS = {
    "\u0905\u093e": "आ",
    "\u0930\u094d\u0907": "ई",
    "\u0909\u0941": "ऊ",
    "\u090f\u0945": "ऍ",
    "\u090f\u0946": "ऎ",
    "\u090f\u0947": "ऐ",
    "\u0905\u0949": "ऑ",
    "\u0906\u0945": "ऑ",
    "\u0905\u094a": "ऒ",
    "\u0906\u0946": "ऒ",
    "\u0905\u094b": "ओ",
    "\u0906\u0947": "ओ",
    "\u0905\u094c": "औ",
    "\u0906\u0948": "औ",
    "\u0905\u0945": "ॲ",
    "\u0905\u0946": "ऄ",
    "\u093e\u0947": "ो",
    "\u0947\u093e": "ो",
    "\u093e\u0948": "ौ",
    "\u0948\u093e": "ौ",
}
SPELLING = regex.compile("|".join(map(regex.escape, DEVANAGARI_SPELLINGS)))
# The same sign twice on one letter, drawn on top of itself. Chandrabindu is never made anusvara.
DOUBLED_SIGN = regex.compile(r"([\u0901\u0902\u093c\u0941-\u0943\u0947\u0948\u094d])\1+")


def _mojibake(text: str) -> str:
    return ftfy.fix_encoding(text) if ftfy.badness.is_bad(text) else text


def _byte_order_mark(text: str) -> str:
    return text.replace("\ufeff", "")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _html(text: str) -> str:
    if "<" in text:
        text = HIDDEN.sub(" ", text)
        text = TAG.sub("", BLOCK_TAG.sub(" ", text))
    while "&" in text:
        plain = ENTITY.sub(lambda match: html.unescape(match.group()), text)
        if plain == text:
            break
        text = plain
    return text


def _control(text: str) -> str:
    return CONTROL.sub("", text)


def _zero_width(text: str) -> str:
    text = ZERO_WIDTH.sub("", text)
    if not RIGHT_TO_LEFT.search(text):
        text = DIRECTION.sub("", text)
    return JOINERS.sub(_joiner, text)


def _joiner(match: "regex.Match[str]") -> str:
    """Keep one joiner where it means something: beside a virama, inside an Arabic word, between emoji."""
    text, start, end = match.string, match.start(), match.end()
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    kept = match.group()[0]
    if before in VIRAMAS or (after in VIRAMAS and JOINABLE.match(before)):
        return kept
    if DEVANAGARI.match(before) or DEVANAGARI.match(after):
        return ""
    return kept if JOINABLE.match(before) or JOINABLE.match(after) else ""


def _white_space(text: str) -> str:
    text = SPACES.sub(" ", LINE_BREAKS.sub("\n", text))
    return BLANK_LINES.sub("\n", text).strip()


def _misspelling(text: str) -> str:
    text = SPELLING.sub(lambda match: DEVANAGARI_SPELLINGS[match.group()], text)
    return DOUBLED_SIGN.sub(r"\1", text)


RULES: dict[str, Callable[[str], str]] = {
    "mojibake": _mojibake,
    "byte_order_mark": _byte_order_mark,
    "html": _html,
    "control": _control,
    "zero_width": _zero_width,
    "nfc": _nfc,
    "white_space": _white_space,
}
SCRIPT_RULES: dict[str, dict[str, Callable[[str], str]]] = {"Devanagari": {"misspelling": _misspelling}}


def normalize(text: str, language: Language) -> tuple[str, list[str]]:
    """Return the normalised text and the names of the rules that changed it, in order; idempotent.

    Lines stay lines; runs of other white space become one space. The rules of a script run for its languages.
    """
    rules = {**RULES, **SCRIPT_RULES.get(language.script, {})}
    changed: dict[str, None] = {}
    while True:
        before = text
        for name, rule in rules.items():
            result = rule(text)
            if result != text:
                changed[name] = None
                text = result
        if text == before:
            return text, [name for name in rules if name in changed]
