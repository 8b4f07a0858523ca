"""Which pieces may be added for a script, so that text without that script is cut as before.

A piece can only be made where its bytes stand. UTF-8 shows where a character begins, so the bytes of a whole
character of the script stand only in text that holds that character. That is the rule: a new piece is of whole
characters, one of the script among them, or it is the beginning of one character that no other script shares.
"""

from functools import cache

import regex

CONTINUATION = range(0x80, 0xC0)


@cache
def _alphabet() -> dict[str, int]:
    """The characters that stand for the 256 bytes in byte-level vocabularies (GPT-2's table)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return table


def bytes_of(piece: str) -> bytes | None:
    """Return the bytes that a piece of a byte-level vocabulary stands for; None where it is no such piece."""
    table = _alphabet()
    if any(character not in table for character in piece):
        return None
    return bytes(table[character] for character in piece)


def is_cut_letter(data: bytes) -> bool:
    """Whether bytes begin or end inside a character."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


class Script:
    """A Unicode script, and the pieces that belong to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._one = regex.compile(rf"\p{{Script={name}}}")

    def within(self, text: str) -> bool:
        """Whether a character of the script stands in the text."""
        return self._one.search(text) is not None

    def owns(self, data: bytes) -> bool:
        """Whether these bytes may be a new piece: they stand in no text without the script."""
        if not data or data[0] in CONTINUATION:
            return False
        head, tail = _whole(data)
        try:
            text = head.decode("utf-8")
        except UnicodeDecodeError:
            return False
        if tail:
            return not head and tail in _own_beginnings(self.name)
        return self.within(text)


def _whole(data: bytes) -> tuple[bytes, bytes]:
    """Split off the beginning of a character that is not whole at the end."""
    for size in range(1, min(4, len(data)) + 1):
        byte = data[-size]
        if byte in CONTINUATION:
            continue
        needed = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        return (data[:-size], data[-size:]) if size < needed else (data, b"")
    return data, b""


@cache
def _own_beginnings(script: str) -> frozenset[bytes]:
    """Beginnings of UTF-8 characters that lead to letters of this script, and to none of another script."""
    every = "".join(chr(code) for code in range(0x80, 0x110000) if not 0xD800 <= code < 0xE000)
    own = regex.findall(rf"\p{{Script={script}}}", every)
    pattern = rf"[^\p{{Script={script}}}\p{{Script=Common}}\p{{Script=Inherited}}\p{{Cn}}\p{{Co}}]"
    others = regex.findall(pattern, every)
    return frozenset(_beginnings(own) - _beginnings(others))


def _beginnings(characters: list[str]) -> set[bytes]:
    encoded = [character.encode("utf-8") for character in characters]
    return {data[:size] for data in encoded for size in range(1, len(data))}
