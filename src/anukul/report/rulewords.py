"""What each rule that drops or changes a row is for, in words that a reader of the report can follow."""

RULES: dict[str, str] = {
    # of the corpus, in their order
    "oversized_row": "longer than any document is; most often a file that is none of text",
    "invalid_utf8": "bytes that are no UTF-8",
    "invalid_json": "the line is no JSON",
    "invalid_csv": "the line is no row of a table; most often a quotation mark is open",
    "extra_cells": "the row has more cells than the table has columns",
    "missing_column": "the row lacks the column that holds the text",
    "corrupt_file": "the file broke off, so that nothing of it is trusted",
    "empty": "nothing was left after normalisation",
    "too_short": "fewer characters than corpus.min_characters",
    "too_long": "more characters than corpus.max_characters",
    "wrong_script": "too few of its letters are in the script of its language",
    "wrong_language": "its words are those of another language",
    "language_score": "GlotLID does not believe that it is the language",
    "foreign_paragraph": "paragraphs in another language, cut out of a document that stays",
    "boilerplate": "lines of menus, cookie notices and share buttons, cut out of a document that stays",
    "mojibake": "broken encoding that could not be repaired",
    "word_length": "words far longer or shorter than the language's: codes, lists, text without spaces",
    "alphabetic_words": "too many of its words hold no letter: tables, prices, scores",
    "stop_words": "none of the words that no prose does without: a list of names or keywords",
    "duplicate_lines": "lines that say the same again",
    "exact_duplicate": "a copy, word for word, of an earlier document",
    "near_duplicate": "nearly a copy of an earlier document",
    "repeated_paragraphs": "paragraphs that earlier documents hold: cut out, or the whole where nothing else is left",
    "contaminated": "it holds something that the run is evaluated on",
    # of pairs
    "empty_side": "a side is empty",
    "untranslated": "both sides are the same text",
    "length_ratio": "one side is far longer than the other: something is missing, or they do not belong together",
    "copied": "too many words of the translation are copied from the source",
    "untranslated_span": "a stretch of the other side stands in it untranslated",
    "repetition": "the translation runs in circles",
    "numbers_differ": "the two sides do not hold the same numbers",
    "duplicate_pair": "the same words on both sides stand in an earlier pair",
    "duplicate_side": "one side stands in an earlier pair already",
    "unlikely": "the model that was asked finds it unlikely that one side translates the other",
    "round_trip": "translated back, too little of it returns",
    "not_ended": "the translation never reached its end and would be cut",
    "empty_translation": "nothing came back for a part of it",
    "sentence_too_long": "a sentence is longer than what the translator takes",
    "translation_failed": "the translator gave nothing, or an error",
    # of instructions
    "bad_conversation": "a conversation that cannot be read",
    "no_answer": "a conversation without a question and its answer",
    "empty_instruction": "it asks nothing",
    "empty_output": "it answers nothing",
    "empty_turn": "somebody says nothing",
    "question_language": "asked in another language than the row's",
    "answer_language": "answered in another language than was asked for",
    "protected_lost": "the translation lost code, a URL, a placeholder or a tag",
    "protected_changed": "the translation changed code, a URL, a placeholder or a tag",
    "numbers_changed": "the translation has other numbers",
    "markdown_changed": "the translation has more or fewer marks of emphasis",
    "translate_limit": "beyond the number of rows that may be translated",
    "duplicate_instruction": "the words of an earlier row",
}

# those that change a row and keep it
REPAIRS: dict[str, str] = {
    "mojibake": "broken encoding, read again as it was meant",
    "byte_order_mark": "byte order marks, taken out",
    "html": "tags and entities of HTML, taken out or written as the letters they stand for",
    "control": "control characters, taken out",
    "zero_width": "invisible joiners that nothing needs, taken out; those that shape a letter stay",
    "nfc": "letters written in several ways, written in one",
    "white_space": "runs of spaces and blank lines, made one",
    "misspelling": "vowel signs in a wrong order or doubled, written as they are read",
    "danda": "pipes typed for a danda, written as one",
    "mask_email": "e-mail addresses, masked",
    "mask_phone": "phone numbers, masked",
    "foreign_paragraph": "paragraphs in another language, cut out",
    "boilerplate": "lines of menus, cookie notices and share buttons, cut out",
    "repeated_paragraphs": "paragraphs that stand in earlier documents, cut out",
}


def meaning(rule: str) -> str:
    """Return what a rule is for; "" for one that is not known here."""
    if rule in RULES:
        return RULES[rule]
    kind, _, rest = rule.partition("_")
    words, _, gram = rest.partition("_")
    if gram != "gram" or not words.isdecimal():
        return ""
    if kind == "top":
        return f"one run of {words} words takes up too much of it"
    return f"runs of {words} words that come again take up too much of it" if kind == "duplicate" else ""
