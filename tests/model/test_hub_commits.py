"""A base named on the hub is known by the commit that was loaded, here from a cache of the hub and no network."""

import shutil
from pathlib import Path

import pytest

from anukul.config import ModelSettings
from anukul.configfile import is_local
from anukul.digests import commit_of, hash_model
from anukul.errors import UserError
from anukul.model.base import load_base, load_tokenizer
from anukul.model.build import build_llama, save_base, train_tokenizer

FIRST, SECOND = "1" * 40, "2" * 40
NAME, TOKENIZER = "someone/tiny", "someone/words"
TEXTS = ["Ram eats rice in the village. Sita went to school and read a book.", "रामले गाउँमा भात खायो।"]


def add(cache: Path, name: str, commit: str, folder: Path, files: str = "*") -> Path:
    """Lay a folder down as the hub's cache holds a repository; return the file that says what main stands for."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in folder.glob(files):
        shutil.copy(file, snapshot / file.name)
    if not (snapshot / "config.json").exists():
        # so the cache notes that the hub was asked and has no such file
        missing = repository / ".no_exist" / commit / "config.json"
        missing.parent.mkdir(parents=True)
        missing.touch()
    main = repository / "refs" / "main"
    main.parent.mkdir(exist_ok=True)
    main.write_text(commit)
    return main


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bases of one shape: other weights, other tokens for the same text."""
    found = []
    for seed, texts in enumerate((TEXTS, TEXTS[1:])):
        folder = tmp_path_factory.mktemp("base")
        tokenizer = train_tokenizer(texts, 280)
        save_base(build_llama(300, hidden=16, layers=1, heads=2, seed=seed), tokenizer, folder)
        found.append(folder)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which cannot be reached; the libraries read both variables when they load."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def settings(**more: str) -> ModelSettings:
    return ModelSettings.model_validate(
        {"path": NAME, "quantization": "none", "compute_dtype": "float32", **more}
    )


def test_a_moved_branch_is_another_base(cache: Path, bases: list[Path]) -> None:
    add(cache, NAME, SECOND, bases[1])
    main = add(cache, NAME, FIRST, bases[0])
    first = load_base(settings())
    assert first.fingerprint == hash_model(settings()) == hash_model(settings(revision=FIRST))
    main.write_text(SECOND)
    second = load_base(settings())
    assert second.fingerprint == hash_model(settings()) != first.fingerprint
    assert not first.model.lm_head.weight.equal(second.model.lm_head.weight)
    # the tokenizer comes from the same commit as the weights
    tokens = [loaded.tokenizer(TEXTS[0])["input_ids"] for loaded in (first, second)]
    assert tokens[0] != tokens[1]
    pinned = load_base(settings(revision=FIRST))
    assert pinned.fingerprint == first.fingerprint
    assert pinned.model.lm_head.weight.equal(first.model.lm_head.weight)
    assert pinned.tokenizer(TEXTS[0])["input_ids"] == tokens[0]
    assert load_tokenizer(settings(revision=FIRST))(TEXTS[0])["input_ids"] == tokens[0]


def test_a_tag_is_the_commit_that_it_stands_for(cache: Path, bases: list[Path]) -> None:
    main = add(cache, NAME, FIRST, bases[0])
    main.with_name("v1.0").write_text(FIRST)
    add(cache, NAME, SECOND, bases[1])
    assert commit_of(NAME, "v1.0") == FIRST and commit_of(NAME, None) == SECOND
    assert hash_model(settings(revision="v1.0")) == hash_model(settings(revision=FIRST))
    assert load_base(settings(revision="v1.0")).fingerprint == hash_model(settings(revision=FIRST))


def test_a_tokenizer_of_its_own_has_its_own_commit(cache: Path, bases: list[Path]) -> None:
    main = add(cache, NAME, FIRST, bases[0])
    main.with_name("v1.0").write_text(FIRST)
    add(cache, TOKENIZER, SECOND, bases[1], "tokenizer*")
    words = add(cache, TOKENIZER, FIRST, bases[0], "tokenizer*")
    # `revision` is that of the weights: the tokenizer's repository has no v1.0
    named = settings(tokenizer=TOKENIZER, revision="v1.0")
    first = load_base(named)
    words.write_text(SECOND)
    second = load_base(named)
    assert first.fingerprint != second.fingerprint == hash_model(named)
    assert first.tokenizer(TEXTS[0])["input_ids"] != second.tokenizer(TEXTS[0])["input_ids"]
    assert first.model.lm_head.weight.equal(second.model.lm_head.weight)
    assert load_tokenizer(named)(TEXTS[0])["input_ids"] == second.tokenizer(TEXTS[0])["input_ids"]


def test_what_neither_hub_nor_cache_holds_is_refused(cache: Path, bases: list[Path]) -> None:
    assert is_local(NAME)
    with pytest.raises(UserError, match="no such folder"):
        load_base(settings())
    add(cache, NAME, FIRST, bases[0])
    assert not is_local(NAME)
    for load in (load_base, hash_model, load_tokenizer):
        with pytest.raises(
            UserError, match="model: someone/tiny@v9: found neither on the hub nor in its cache"
        ):
            load(settings(revision="v9"))


def test_a_folder_is_known_by_its_files(bases: list[Path]) -> None:
    folders = [settings(path=str(base)) for base in bases]
    assert commit_of(str(bases[0]), None) is None
    assert load_base(folders[0]).fingerprint == hash_model(folders[0]) != hash_model(folders[1])
