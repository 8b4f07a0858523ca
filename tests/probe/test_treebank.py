"""CoNLL-U: spans, contractions, empty nodes, arcs seen backwards, and every fault with its sentence."""

from pathlib import Path

import pytest

from anukul.errors import UserError
from anukul.probe.treebank import Arc, arcs_of, read_treebank


def write(tmp_path: Path, rows: str, text: str | None = None, name: str = "t.conllu") -> Path:
    """Rows are `id form head deprel [misc]`, one per line."""
    lines = ["# sent_id = one", *([f"# text = {text}"] if text else [])]
    for row in rows.strip().split("\n"):
        number, form, head, relation, *misc = row.split()
        lines.append("\t".join([number, form, "_", "_", "_", "_", head, relation, "_", *(misc or ["_"])]))
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return path


def test_arcs_are_seen_from_the_later_word(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "1 राम 3 nsubj\n2 घर 3 obl:tmod\n3 गयो 0 root SpaceAfter=No\n4 । 3 punct\n5 हिजो 3 advmod",
        "राम घर गयो। हिजो",
    )
    (sentence,) = read_treebank(path)
    assert [sentence.text[w.start : w.end] for w in sentence.words] == ["राम", "घर", "गयो", "।", "हिजो"]
    assert arcs_of(sentence) == [
        Arc(2, 0, "nsubj", "head"),
        Arc(2, 1, "obl:tmod", "head"),
        Arc(4, 2, "advmod", "dependent"),
    ]


def test_contractions_and_empty_nodes(tmp_path: Path) -> None:
    rows = (
        "1-2 don't _ _\n1 do 3 aux\n2 n't 3 advmod\n3 go 0 root\n3.1 went _ _\n"
        "4-5 du _ _\n4 de 6 case\n5 le 6 det\n6 lac 3 obl"
    )
    (sentence,) = read_treebank(write(tmp_path, rows, "don't  go du lac"))
    spans = [(w.form, sentence.text[w.start : w.end]) for w in sentence.words]
    assert spans == [("do", "do"), ("n't", "n't"), ("go", "go"), ("de", "du"), ("le", ""), ("lac", "lac")]


def test_what_stands_beside_the_words_does_not_count(tmp_path: Path) -> None:
    """Comments anywhere, empty nodes before, inside and after a range, enhanced dependencies of any kind."""
    lines = [
        "# newdoc id = d",
        "#sent_id=two",
        "# text = Vamos alla!",
        "0.1\tyo\tyo\tPRON\t_\t_\t_\t_\t1:nsubj\tCopyOf=1",
        "1-2\tVamos\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tVamo\tir\tVERB\t_\tbroken||=\t0\troot\t0:root|4:conj:x_1\t_",
        "# a comment between words",
        "1.1\tx\t_\t_\t_\t_\t_\t_\t1:obj\t_",
        "2\ts\tnos\tPRON\t_\t_\t1\tobl\t?:what|is:this\t_",
        "3\talla\talla\tADV\t_\t_\t1\tadvmod\t1.1:advmod\tSpaceAfter=No|Gloss=there",
        "3.1\ty\t_\t_\t_\t_\t_\t_\t_\t_",
        "4\t!\t!\tPUNCT\t_\t_\t1\tpunct\t_\tSpaceAfter=No",
    ]
    path = tmp_path / "t.conllu"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (sentence,) = read_treebank(path)
    assert sentence.id == "two"
    spans = [(word.form, sentence.text[word.start : word.end], word.head) for word in sentence.words]
    assert spans == [("Vamo", "Vamo", -1), ("s", "s", 0), ("alla", "alla", 0), ("!", "!", 0)]
    assert arcs_of(sentence) == [Arc(1, 0, "obl", "dependent"), Arc(2, 0, "advmod", "dependent")]


def test_a_range_without_space_after_is_put_together(tmp_path: Path) -> None:
    rows = "1-2 don't _ _ SpaceAfter=No\n1 do 0 root\n2 n't 1 advmod\n3 ! 1 punct\n4 Go 1 parataxis"
    (sentence,) = read_treebank(write(tmp_path, rows))
    assert sentence.text == "don't! Go"
    assert [sentence.text[w.start : w.end] for w in sentence.words] == ["do", "n't", "!", "Go"]


def test_a_form_may_hold_a_space(tmp_path: Path) -> None:
    lines = ["# sent_id = n", "# text = 10 000 lacs."]
    for row in ("1\t10 000\t2\tnummod\t_", "2\tlacs\t0\troot\tSpaceAfter=No", "3\t.\t2\tpunct\t_"):
        number, form, head, relation, misc = row.split("\t")
        lines.append("\t".join([number, form, "_", "_", "_", "_", head, relation, "_", misc]))
    path = tmp_path / "t.conllu"
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (sentence,) = read_treebank(path)
    assert [sentence.text[w.start : w.end] for w in sentence.words] == ["10 000", "lacs", "."]


def test_text_is_put_together_where_none_is_given(tmp_path: Path) -> None:
    (sentence,) = read_treebank(write(tmp_path, "1 a 2 det\n2 b 0 root SpaceAfter=No\n3 . 2 punct"))
    assert sentence.text == "a b."
    assert sentence.id == "one"


@pytest.mark.parametrize(
    ("rows", "text", "fault"),
    [
        ("1 a 2 x\n2 b 3 x\n3 c 1 x\n4 d 0 root", None, r"a cycle: 1 'a' -> 2 'b' -> 3 'c' -> 1 'a'"),
        ("1 a 1 x\n2 b 0 root", None, r"a cycle: 1 'a' -> 1 'a'"),
        ("1 a 2 x\n2 b 1 x", None, "no root"),
        ("1 a 0 root\n2 b 0 root", None, "2 roots"),
        ("1 a 0 root\n2 b 7 x", None, "word 2 'b' has head 7, out of range 0 to 2"),
        ("1 a 0 root\n2 b _ x", None, "word 2 'b' has head None"),
        ("1 a 0 root\n2 b 1 _", None, "word 2 'b' has no relation"),
        ("1 a 0 root\n3 b 1 x", None, "without gaps"),
        ("1 a 0 root\n2 b 1 x", "a c", "the text reads 'c' where the word is 'b'"),
        ("1 a 0 root\n2 b 1 x", "a b c", "the text goes on with 'c'"),
        ("1 a x root", None, "not CoNLL-U"),
    ],
)
def test_a_bad_sentence_is_an_error_that_names_it(
    tmp_path: Path, rows: str, text: str | None, fault: str
) -> None:
    path = write(tmp_path, rows, text)
    with pytest.raises(UserError, match=rf"t\.conllu: sentence one \(line 1\): .*{fault}"):
        read_treebank(path)


def test_a_file_that_is_not_a_treebank_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.conllu"
    empty.write_text("# only a comment\n\n")
    with pytest.raises(UserError, match="no sentences"):
        read_treebank(empty)
    with pytest.raises(UserError, match="cannot be read"):
        read_treebank(tmp_path / "absent.conllu")
    wrong = tmp_path / "wrong.conllu"
    wrong.write_bytes("# text = a\n1\té".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 at byte 13 \(line 2\)"):
        read_treebank(wrong)


def test_the_limit_counts_sentences(tmp_path: Path) -> None:
    path = write(tmp_path, "1 a 0 root")
    path.write_text(path.read_text() * 3 + "broken\n")
    assert [s.index for s in read_treebank(path, 3)] == [0, 1, 2]


@pytest.mark.real
def test_real_treebanks_read_whole(real_data: Path) -> None:
    words = {}
    for name in ("ne_bk", "hi_pud", "en_pud"):
        sentences = read_treebank(real_data / "treebank" / f"{name}-ud-test.conllu")
        words[name] = (len(sentences), sum(len(s.words) for s in sentences))
        for sentence in sentences:
            for word in sentence.words:
                assert sentence.text[word.start : word.end] == word.form
            assert len(arcs_of(sentence)) == sum(w.relation not in ("root", "punct") for w in sentence.words)
    assert words["ne_bk"] == (69, 801)
    assert words["hi_pud"][0] == words["en_pud"][0] == 1000
