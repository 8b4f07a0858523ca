import pytest

from anukul import languages
from anukul.errors import UserError

CODES = languages.available()


def test_the_languages_are_there() -> None:
    assert {"npi_Deva", "hin_Deva", "eng_Latn", "mai_Deva"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_file_loads_and_its_rivals_exist(code: str) -> None:
    language = languages.load(code)
    assert language.code == code
    assert [str(int(digit)) for digit in language.digits] == list("0123456789")
    assert len(language.function_words) > 50
    for rival in language.confusables:
        assert languages.load(rival).script == language.script


def test_py3langid_knows_every_label() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = set(LanguageIdentifier.from_model_file(MODEL_FILE).labels)
    used = {label for code in CODES for label in languages.load(code).identifier_rivals}
    assert used and used <= labels
    assert {code for code in CODES if languages.load(code).iso639_1 is None} == {"mai_Deva", "bho_Deva"}


@pytest.mark.parametrize("code", CODES)
def test_thresholds_of_quality_make_sense(code: str) -> None:
    quality = languages.load(code).quality
    assert quality.min_word_length < 6 < quality.max_word_length
    assert list(quality.max_duplicate_ngrams) == sorted(quality.max_duplicate_ngrams, reverse=True)
    assert len(quality.stop_words) >= 8 and quality.min_stop_words == 2


def test_a_faulty_phone_pattern_is_named() -> None:
    from importlib import resources

    text = resources.files(languages).joinpath("npi_Deva.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"npi_Deva\.yaml: phone: .*numbers: \(: "):
        languages.parse(text.replace("'0[1-9][0-9]{7}'", "'('"), "npi_Deva")


def test_an_unknown_language_says_how_to_add_one() -> None:
    with pytest.raises(UserError, match=r"'xyz_Latn'.*npi_Deva.*To add one, copy"):
        languages.load("xyz_Latn")


def test_faults_are_named() -> None:
    from importlib import resources

    text = resources.files(languages).joinpath("npi_Deva.yaml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"npi_Deva.yaml: surprise: "):
        languages.parse(text + "surprise: 1\n", "npi_Deva")
    with pytest.raises(UserError, match="its code says npi_Deva"):
        languages.parse(text, "hin_Deva")
    with pytest.raises(UserError, match="not its own rival"):
        languages.parse(text.replace("confusables: [hin_Deva", "confusables: [npi_Deva"), "npi_Deva")
    with pytest.raises(UserError, match="not valid YAML"):
        languages.parse("a: [", "npi_Deva")
    # YAML reads a bare `no` as false; strict types catch it.
    with pytest.raises(UserError, match=r"abbreviations\.0"):
        languages.parse(text.replace("abbreviations: [", "abbreviations: [no, "), "npi_Deva")
