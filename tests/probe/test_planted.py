"""Heads set by hand in a real Llama are named; heads of random weights are named at no more than the nominal rate."""

import numpy as np
import pytest
import torch
from probe_planted import (
    PREVIOUS,
    SPARE,
    SUBJECT,
    THIRD,
    WORDS,
    conllu,
    plain_model,
    plant_offset,
    subject_weights,
    word_tokenizer,
)

from anukul.model.build import build_llama
from anukul.model.loaded import Loaded, pick_device
from anukul.model.random import random_like
from anukul.probe.align import align
from anukul.probe.heads import Scores, groups_of
from anukul.probe.observe import Prepared, observe
from anukul.probe.prepare import table_of
from anukul.probe.results import Seen, entries_of, permutation_tests
from anukul.probe.treebank import Arc, Sentence, arcs_of, read_treebank


def loaded_of(model: object) -> Loaded:
    return Loaded(model, word_tokenizer(), pick_device(), torch.float32, "made here")


def observed(loaded: Loaded, items: list[Prepared]) -> Scores:
    """Everything in one batch."""
    seen = observe(loaded, items)
    return Scores(seen.correct, seen.mass, seen.found)


def prepared(sentences: list[Sentence], third: bool = False) -> list[Prepared]:
    """Sentences as tokens; `third` adds an arc from each word to the one three before it, where that is no noun.

    Nouns have longer embeddings, which the norm makes weaker keys.
    """
    tokenizer = word_tokenizer()
    items = []
    for sentence in sentences:
        arcs = arcs_of(sentence)
        if third:
            plain = [i for i, word in enumerate(sentence.words[:-3]) if word.form[0] not in "nv"]
            arcs += [Arc(i + 3, i, "third", "head") for i in plain]
        items.append(Prepared(align(sentence, tokenizer, 0), tuple(arcs)))
    return items


def test_previous_word_fixed_offset_and_agreement_heads_are_named(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("trees") / "trees.conllu"
    file.write_text(conllu(80, seed=4), encoding="utf-8")
    items = prepared(read_treebank(file), third=True)
    base, adapted = plain_model(), plain_model()
    for model in (base, adapted):
        plant_offset(model, *PREVIOUS, back=1)
        plant_offset(model, *THIRD, back=3)
    attention = adapted.model.layers[SUBJECT[0]].self_attn
    for name, weight in zip(("q_proj", "k_proj"), subject_weights(), strict=True):
        getattr(attention, name).weight.data += weight
    table = table_of(items, 0)
    groups, _ = groups_of(table, 20)
    models = {
        name: observed(loaded_of(model), items) for name, model in (("base", base), ("adapted", adapted))
    }
    weightless = observed(random_like(loaded_of(base), 1), items)
    seen = Seen(table, groups, [], {"random-0": weightless, **models}, {})
    tests = {name: permutation_tests(seen, name, 0, 0.05) for name in models}
    entries = {entry["relation"]: entry["adapted"] for entry in entries_of(seen, tests, 0, 0.05)}
    for relation, head in (("det", PREVIOUS), ("third", THIRD), ("nsubj", SUBJECT)):
        found = entries[relation]
        assert (found["layer"], found["head"]) == head and found["accuracy"] > 0.95, relation
        assert found["crossfit"]["heads"] == [list(head)] * 2
    # the first two do what a fixed offset does: best heads, and no grammar
    assert entries["nsubj"]["named"] == [list(SUBJECT)]
    for relation in ("det", "third"):
        assert (
            entries[relation]["named"] == []
            and entries[relation]["permuted"] == entries[relation]["accuracy"]
        )


def wordless_trees(count: int, seed: int) -> str:
    """Trees that have nothing to do with their words: every word hangs on any word before it."""
    rng = np.random.default_rng(seed)
    blocks = []
    for number in range(count):
        words = rng.choice(WORDS[3:], int(rng.integers(6, 12)))
        rows = ["\t".join(["1", words[0], "_", "X", "_", "_", "0", "root", "_", "_"])]
        for i, word in enumerate(words[1:], start=2):
            relation = rng.choice(["alpha", "beta"])
            rows.append(
                "\t".join([str(i), word, "_", "X", "_", "_", str(rng.integers(1, i)), relation, "_", "_"])
            )
        blocks.append("\n".join([f"# sent_id = s{number}", f"# text = {' '.join(words)}", *rows]) + "\n\n")
    return "".join(blocks)


def test_random_weights_are_named_at_no_more_than_the_nominal_rate(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("trees") / "trees.conllu"
    trials = 30
    named = permutation = 0
    for trial in range(trials):
        file.write_text(wordless_trees(50, seed=trial), encoding="utf-8")
        items = prepared(read_treebank(file))
        table = table_of(items, trial)
        groups, _ = groups_of(table, 20)
        models = {}
        for place, name in enumerate(("base", "adapted")):
            # larger weights than a fresh model has, so that its heads look somewhere
            model = build_llama(
                len(WORDS + SPARE),
                32,
                layers=2,
                heads=4,
                key_value_heads=4,
                seed=2 * trial + place,
                max_positions=64,
            )
            for layer in model.model.layers:
                layer.self_attn.q_proj.weight.data *= 20
                layer.self_attn.k_proj.weight.data *= 20
            models[name] = observed(loaded_of(model), items)
        seen = Seen(table, groups, [], models, {})
        tests = {name: permutation_tests(seen, name, trial, 0.05) for name in models}
        entries = entries_of(seen, tests, trial, 0.05)
        for name in models:
            named += any(entry[name]["resolvers"] for entry in entries)
            permutation += any(test.found for test in tests[name])
    # nothing is there to be found: the discovery rate is the rate of any discovery; 99.9 % of 60 models at 5 %
    assert permutation <= 9
    assert named <= 9


def test_random_weights_have_the_architecture_and_nothing_else() -> None:
    base = loaded_of(plain_model())
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    one, again, other = (random_like(base, seed) for seed in (1, 1, 2))
    assert torch.rand(1) == before  # the caller's random numbers are its own
    assert (
        len({one.fingerprint, other.fingerprint, base.fingerprint}) == 3
        and one.fingerprint == again.fingerprint
    )
    weights = [dict(item.causal_lm.named_parameters()) for item in (one, again, other, base)]
    assert [{name: p.shape for name, p in w.items()} for w in weights] == [
        {name: p.shape for name, p in weights[3].items()}
    ] * 4
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert not torch.equal(weights[0][name], weights[3][name])
