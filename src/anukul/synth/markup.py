"""What in an instruction is no prose: code, what stands inside a sentence and is none of it, and Markdown's marks.

Chat data hold much code without a fence. A line is taken for code on strong signs only, such as an assignment or a
call that fills it: prose taken for code stays untranslated, code taken for prose is destroyed.
"""

from collections.abc import Iterator

import regex

from anukul.text.words import LETTER

# Lines of their own, as CommonMark has it; else somewhere in a line. An open fence runs to the end.
FENCED = regex.compile(
    r"(?m)^[ \t>]*(?P<fence>`{3,}|~{3,})[^`\n]*\n(?:[\s\S]*?\n)??[ \t>]*(?P=fence)[`~]*[ \t]*(?=\r?$)"
    r"|(?P<run>`{3,})(?!`)[\s\S]*?(?:(?<!`)(?P=run)(?!`)|\Z)"
    r"|^[ \t>]*~{3,}[\s\S]*\Z"
)
ADDRESS = regex.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[A-Za-z][\w-]*)+")
INLINE = regex.compile(
    r"(?<!`)(?:`[^`\n]+`|``(?!`)[^\n]*?[^`\n]``)(?!`)"  # code
    r"|\$\$[^$]+\$\$|\\\([^\n]*?\\\)|\\\[[\s\S]*?\\\]"  # formulas
    r"|!?\[(?=[^\[\]\n]*\]\()|\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ \t]+\"[^\"\n]*\")?\)"  # [text](where)
    r"|(?:https?|ftp)://[^\s<>\"'`।]*[^\s<>\"'`।.,;:!?)\]}]|www\.[^\s<>\"'`।]*[^\s<>\"'`।.,;:!?)\]}]"
    rf"|{ADDRESS.pattern}"
    r"|\{\{[^{}\n]*\}\}|\$\{[^{}\n]*\}|\{[A-Za-z_][\w.]*\}|\{\}|\{\d+\}"  # {{name}} ${name} {name} {}
    r"|%\([A-Za-z_]\w*\)[sdif]|%[sdifg](?![\p{L}\p{M}])"  # %(name)s %s
    r"|\[[A-Z][A-Z0-9_ ]*\]|\[(?:email|phone)\]"  # [NAME], and what stands for personal data
    r"|<!--[\s\S]*?-->|<![A-Za-z][^<>\n]*>|</?[A-Za-z][\w-]*(?:\s[^<>\n]*)?/?>"  # tags
    r"|&(?:lt|gt|amp|nbsp);"
    r"|\$[A-Za-z_]\w*"  # $name
    r"|(?<!\w)(?<!\w\.)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\(\)"  # call()
    r"|\b[A-Za-z]\w*_\w+\b|\b__[a-z]\w*__\b"  # snake_case
)

# A line that is code wherever it stands. English in lower case must not match: "for example:", "class of 1990".
CODE = regex.compile(
    r"\s*(?:"
    r"(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*(?:\([^()]*\))?\s*[:{]\s*$"
    r"|import\s+[\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+)*;?\s*$|from\s+[\w.]+\s+import\s"
    r"|(?:if|elif|while|for|with|switch|catch|except)\b.*[=<>()\[\]{}_].*[:{]\s*$"
    r"|for\s+\w+(?:,\s*\w+)*\s+in\s+[\w.]+\s*:\s*$|(?:else|try|finally|do)\s*[:{]\s*$"
    r"|(?:var|let|const|int|float|double|char|String|bool|boolean|long|auto)\s+\w+\s*(?:=|;|\[)"
    r"|(?:function|func|fn)\s+\w+\s*\(|(?:public|private|protected):\s*$"
    r"|(?:public|private|protected|static)\s+[\w<>\[\], ]*(?:\w\(|[;{]\s*$)"
    r"|#include\b|#define\b|using\s+namespace\b|package\s+[\w.]+;|<\?php|#!/|//\s"
    r"|SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\s|(?:CREATE|ALTER|DROP)\s+TABLE\s|(?:GROUP|ORDER)\s+BY\s"
    r"|FROM\s+\w+\s*;?\s*$|WHERE\s+[\w.]+\s*(?:[=<>]|LIKE\b|IN\b)"
    r"|\$\s+[a-z]|[}\])]+[\s;,)\]}]*$|\}.*[{;]\s*$"
    r"|(?!\w+\(s\)\s*$)[A-Za-z_][\w.]*\(.*\)[;,]?\s*$"  # a call
    r"|[A-Za-z_][\w.\[\]'\"]*\s*(?:[-+*/%|&^]?=|:=|<-)\s*(?:[-\d\"'\[({].*|[\w.]+\s*;?\s*$|[^=]*[(\[{].*)"  # x = 5
    r"|[\"'][\w -]+[\"']\s*:\s*\S"  # of JSON
    r"|\S.*[)\w]\s*\{\s*$|\S*\w\(.*\).*;\s*$|.*\w\s*=.*;\s*$"
    r")"
)
LONGEST = 500  # characters of a line that is looked at for signs of code
OPENS = regex.compile(r"[:{(\[,]\s*$")  # a line after which the more indented ones belong to it
SIGN = regex.compile(r"[=(){}\[\];<>_$\\|]|->|^\s*[#@/]|:\s*$|\s-{1,2}\w")
SENTENCE = regex.compile(r"^\p{Lu}|[^\x00-\x7f]|[.?!,।]\s*$|(?:\S+\s+){6}")

LIST = r"(?:[-*+•●○◦▪▫■□‣–—·]|\(?(?:\p{Nd}{1,3}|[A-Ha-h])[.)])[ \t]+(?:\[[ xX]\][ \t]+)?"
PREFIX = regex.compile(rf"[ \t]*(?:>[ \t]?)*[ \t]*(?:#{{1,6}}[ \t]+|{LIST})?")
ITEM = regex.compile(rf"[ \t]*(?:>[ \t]?)*[ \t]*{LIST}")
STRONG = regex.compile(r"(\*\*\*|\*\*|__)(?=\S)((?:(?!\1).)+?)(?<=\S)(\1)(?=\s*[:–—-]|\s*$|(?<=:\1))")
RULED = regex.compile(r"(?m)^[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)+\|?[ \t\r]*$")
CELL = regex.compile(rf"(?P<kept>(?:{INLINE.pattern})|\\\|)|\|")
ROW = regex.compile(r"\|.*\|\s*")
AFTER_STRONG = regex.compile(r"\s*[:–—-]*\s*")
EMPHASIS = regex.compile(r"\*+|__+|~~+")


def code_spans(text: str) -> list[tuple[int, int]]:
    """Return where the blocks of code stand, fenced or not, in order."""
    spans: list[tuple[int, int]] = []
    end = 0
    for block in FENCED.finditer(text):
        spans += [*_code_lines(text, end, block.start()), block.span()]
        end = block.end()
    return [*spans, *_code_lines(text, end, len(text))]


def segments(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is code, piece) one after the other; together they are the text."""
    end = 0
    for start, stop in code_spans(text):
        if start > end:
            yield False, text[end:start]
        yield True, text[start:stop]
        end = stop
    if end < len(text):
        yield False, text[end:]


def _code_lines(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield where lines of code stand between fences, neighbors as one."""
    held: tuple[int, int] | None = None
    body: int | None = None  # the indentation of the code whose body this may be
    blank, listed, indented = True, False, False
    place = start
    while place < stop:
        end = text.find("\n", place, stop)
        end = stop if end < 0 else end
        line = text[place:end]
        if line.strip():
            width = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
            deep = width >= 4 and not listed and (blank or indented)
            code = (len(line) <= LONGEST and bool(CODE.match(line))) or (body is not None and width > body)
            indented = not code and deep and (bool(SIGN.search(line)) or not SENTENCE.search(line.strip()))
            if code or indented:
                last = end - line.endswith("\r")
                held = (held[0], last) if held else (place, last)
                if code and (body is None or width <= body):
                    body = width if OPENS.search(line) else None
            else:
                if held:
                    yield held
                held = body = None
                listed = bool(ITEM.match(line)) or (listed and (width > 0 or not blank))
        blank = not line.strip()
        place = end + 1
    if held:
        yield held


def line_pieces(line: str, ruled: bool) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is prose, piece) of a line: marks stand apart; `ruled`: a row of a table may be among it."""
    mark = PREFIX.match(line)
    start = mark.end() if mark else 0
    if start:
        yield False, line[:start]
    rest = line[start:]
    if (ruled and "|" in rest) or ROW.fullmatch(rest):
        end = 0
        for cell in CELL.finditer(rest):
            if cell.group("kept") is None:
                yield from ((True, rest[end : cell.start()]), (False, "|"))
                end = cell.end()
        yield True, rest[end:]
        return
    strong = STRONG.match(rest)
    if strong and not INLINE.match(rest):
        yield from ((False, strong.group(1)), (True, strong.group(2)), (False, strong.group(3)))
        rest = rest[strong.end() :]
        ends = AFTER_STRONG.match(rest)
        if ends:
            yield False, ends.group()
            rest = rest[ends.end() :]
    yield True, rest


def prose(text: str) -> str:
    """Return a text without code and what is protected: what a reader reads as language."""
    return INLINE.sub(" ", "".join("\n" if code else piece for code, piece in segments(text)))


def has_words(text: str) -> bool:
    """Say whether a piece without code holds a letter beside what is protected."""
    return LETTER.search(INLINE.sub(" ", text)) is not None
