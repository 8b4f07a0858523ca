"""Named normalisation rules: each one repairs one thing, and says when it changed a text.

The rules run in order until none changes anything, so that normalising twice is normalising once: every rule
but NFC can only shorten a text or leave its length, and NFC has nothing left to do the second time.

What may go: tags, comments and scripts of HTML; control characters; invisible characters that mean nothing where they
stand; white space beside white space; the second of two equal signs on one letter; of two characters that the
spelling table writes as one, the second. No other letter, mark or digit. A nasal sign before its vowel sign changes
places with it. Of two pipes that stand for a double danda one is left, as that danda. Where broken encoding was
repaired, the bytes of a letter that was cut off at the end go.

Most texts have nothing to repair. One scan for characters that are out of the ordinary, and a few for pairs, tell so
(`settled`); then no rule runs. Each rule also has its own sign, without which it cannot change a text.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Mapping

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

SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")  # all but one plain space
LINE_BREAKS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
BLANK_LINES = re.compile(r" \n[ \n]*|\n[ \n]+")  # all but one plain line break

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
# Chandrabindu, anusvara or visarga typed before the vowel sign that it belongs behind: हँुदैन for हुँदैन.
EARLY_NASAL = regex.compile(r"([\u0900-\u0903]+)([\u093e-\u094c]+)")
# A pipe that stands for a danda: behind a word, with white space or the end after it but none before; in a line that
# ends with one, behind a space too. " | " in other lines parts the words of a menu, and a table's line begins with it.
LINE_WITH_PIPE = re.compile(r"(?m)^(?!\|).*\|.*$")
AFTER_WORD = r"(?<=[\p{Script=Devanagari}\u200c\u200d][\"'”’)]?"
PIPE = regex.compile(AFTER_WORD + r")\|\|?(?=[\s\"'”’)]|$)")
PIPE_OR_SPACED = regex.compile(AFTER_WORD + r" ?)\|\|?(?=[\s\"'”’)]|$)")
PIPE_AT_END = regex.compile(r"[\p{Script=Devanagari}\u200c\u200d][\"'”’)]? ?\|\|?[\"'”’)]?\s*$")
# The same sign twice on one letter, drawn on top of itself. Chandrabindu is never made anusvara.
DOUBLED_SIGN = regex.compile(r"([\u0901\u0902\u093c\u0941-\u0943\u0947\u0948\u094d])\1+")


# Signs: without a match the rule beside it changes nothing. `re` finds one of a set several times faster than `regex`.
# Every pattern of ftfy 6.3's badness needs a character outside ASCII, quotes and dashes; a test tries all short texts
# without one, and compares with ftfy's own `is_bad` on others.
MOJIBAKE_SIGN = re.compile(
    "[^\x00-\x7f\xa0\xa9\xab\xad\xae\xb4\xb7\xbb\u0500-\u06ff\u0900-\u1fff\u200b-\u2019\u201c\u201d\u2022\u2026\u2028-\u202e\u2060-\u2069"
    "\u2122\u3000-\ud7ff]+"
)
NEAR_SIGN = 8  # characters: the longest of ftfy's patterns has six
BADNESS = ftfy.badness.BADNESS_RE
# The first one or two bytes of an Indic letter, left at the end of a text that was cut by its bytes.
CUT_LETTER = regex.compile(r"\u00e0[\u00a4-\u00b7]\Z|(?<=[\u0900-\u0dff] ?)\u00e0\Z")
CONTROL_SIGN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufff9-\ufffb\ufffe\uffff]")
INVISIBLE_SIGN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069]")
ODD_SPACE = re.compile("[\t\v\f\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# ASCII without & and <, Devanagari, line break, dashes, quotes, ellipsis, and the joiners, which are counted instead.
ODD = re.compile("[^\n -%'-;=-~\u0900-\u097f\u200c\u200d\u2013\u2014\u2018\u2019\u201c\u201d\u2026]")
# A vowel letter or sign, or a nasal sign, before a vowel sign: every entry of the spelling table but one, every early
# nasal, and little else.
VOWEL_PAIR = re.compile("[\u0900-\u0903\u0905\u0906\u0909\u090f\u093e\u0947\u0948][\u093e-\u094c]")
REPH_I = "\u0930\u094d\u0907"
DOUBLED_SIGN_SIGN = re.compile(r"([\u0901\u0902\u093c\u0941-\u0943\u0947\u0948\u094d])\1")


def _mojibake(text: str) -> str:
    for sign in MOJIBAKE_SIGN.finditer(text):
        if BADNESS.search(text, max(0, sign.start() - NEAR_SIGN), sign.end() + NEAR_SIGN):
            repaired = str(ftfy.fix_encoding(text))
            return CUT_LETTER.sub("", repaired) if repaired != text else text
    return text


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
    return CONTROL.sub("", text) if CONTROL_SIGN.search(text) else text


def _zero_width(text: str) -> str:
    if _joiners_stay(text) and not INVISIBLE_SIGN.search(text):
        return text
    text = ZERO_WIDTH.sub("", text)
    if not RIGHT_TO_LEFT.search(text):
        text = DIRECTION.sub("", text)
    return JOINERS.sub(_joiner, text)


def _joiners_stay(text: str) -> bool:
    """Say whether every joiner stands after a Devanagari virama, where each one is kept."""
    for joiner in ("\u200d", "\u200c"):
        if joiner in text and text.count(joiner) != text.count("\u094d" + joiner):
            return False
    return True


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


def _spaces_pile_up(text: str) -> bool:
    """Say whether a space or line break stands beside another."""
    return "  " in text or ("\n" in text and ("\n\n" in text or " \n" in text or "\n " in text))


def _white_space(text: str) -> str:
    if not _spaces_pile_up(text) and not ODD_SPACE.search(text):
        return text.strip()
    text = SPACES.sub(" ", LINE_BREAKS.sub("\n", text))
    return BLANK_LINES.sub("\n", text).strip()


def _misspelling(text: str) -> str:
    if VOWEL_PAIR.search(text) or REPH_I in text:
        text = EARLY_NASAL.sub(r"\2\1", text)
        text = SPELLING.sub(lambda match: DEVANAGARI_SPELLINGS[match.group()], text)
    return DOUBLED_SIGN.sub(r"\1", text) if DOUBLED_SIGN_SIGN.search(text) else text


def _danda(text: str) -> str:
    return LINE_WITH_PIPE.sub(_pipes, text) if "|" in text else text


def _pipes(match: "re.Match[str]") -> str:
    line = match.group()
    pattern = PIPE_OR_SPACED if PIPE_AT_END.search(line) else PIPE
    return str(pattern.sub(lambda pipe: "॥" if len(pipe.group()) > 1 else "।", line))


Rule = Callable[[str], str]
RULES: dict[str, Rule] = {
    "mojibake": _mojibake,
    "byte_order_mark": _byte_order_mark,
    "html": _html,
    "control": _control,
    "zero_width": _zero_width,
    "nfc": _nfc,
    "white_space": _white_space,
}
SCRIPT_RULES: dict[str, dict[str, Rule]] = {"Devanagari": {"misspelling": _misspelling, "danda": _danda}}


def settled(text: str, script: str) -> bool:
    """Say whether a text plainly has nothing for any rule; False where only the rules can tell."""
    if not text:
        return True
    if ODD.search(text) or text[0] in " \n" or text[-1] in " \n":
        return False
    if _spaces_pile_up(text):
        return False
    if not _joiners_stay(text) or not unicodedata.is_normalized("NFC", text):
        return False
    if script != "Devanagari":
        return True
    return not ("|" in text or VOWEL_PAIR.search(text) or REPH_I in text or DOUBLED_SIGN_SIGN.search(text))


def normalize(text: str, language: Language) -> tuple[str, list[str]]:
    """Return the normalised text and the names of the rules that changed it, in order; idempotent.

    Lines stay lines; runs of other white space become one space. The rules of a script run for its languages.
    """
    return normalize_script(text, language.script)


def normalize_script(text: str, script: str) -> tuple[str, list[str]]:
    """Do what `normalize` does, for a language of which only the script is known."""
    if settled(text, script):
        return text, []
    return run_rules(text, {**RULES, **SCRIPT_RULES.get(script, {})}, script)


def run_rules(text: str, rules: Mapping[str, Rule], script: str) -> tuple[str, list[str]]:
    """Run rules of a script until none changes anything; return the text and the names of those that did, in order."""
    changed: dict[str, None] = {}
    while True:
        before = text
        for name, rule in rules.items():
            result = rule(text)
            if result != text:
                changed[name] = None
                text = result
        if text == before or settled(text, script):
            return text, [name for name in rules if name in changed]
