import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.languages import load
from anukul.text.pii import mask

NEPALI = load("npi_Deva")


@pytest.mark.parametrize(
    ("text", "masked", "counts"),
    [
        ("सम्पर्क: ९८४१२३४५६७ मा फोन गर्नुहोस्", "सम्पर्क: [phone] मा फोन गर्नुहोस्", {"phone": 1}),
        ("मोबाइल नं. ९८५१-०१२३४५, ०१-४२५६७८९", "मोबाइल नं. [phone], [phone]", {"phone": 2}),
        ("फोन : ०१ ४४२६७८९ / ४४२६७९०", "फोन : [phone] / [phone]", {"phone": 2}),
        ("Call 9841234567 or 01-4256789.", "Call [phone] or [phone].", {"phone": 2}),
        ("+977-1-4256789 र +९७७ ९८४१२३४५६७", "[phone] र [phone]", {"phone": 2}),
        ("+1 (415) 555-0123 वा 00919812345678", "[phone] वा [phone]", {"phone": 2}),
        ("(०१) ४२५६७८९ र ०२१-५२३४५६", "[phone] र [phone]", {"phone": 2}),
        ("tel 4256789", "tel [phone]", {"phone": 1}),
        ("इमेल:ram_k@gmail.com वा info@example.com.np।", "इमेल:[email] वा [email]।", {"email": 2}),
        ("Write to a.b+c@mail.co.uk.", "Write to [email].", {"email": 1}),
    ],
)
def test_addresses_and_numbers_are_masked(text: str, masked: str, counts: dict[str, int]) -> None:
    assert mask(text, NEPALI) == (masked, counts)


@pytest.mark.parametrize(
    "text",
    [
        "मूल्य रु ९८४१२३४५६७ मात्र",
        "९८,००,००,००० रुपैयाँ र ९८०००००००० जना",
        "२०७२-०१-०४ देखि २०७३/०२/०५ सम्म",
        "01-02-2010, 2019-2020, 1990 1991 1992",
        "contact 2019-2020",
        "ISBN 978-9937-0-1234-5, ISBN: 9843456789",
        "जनसंख्या 26494504 छ; 1,051,635 केसहरू",
        "3.14159265358979 0.012345678 4.8 (3.0-7.2)",
        "192.168.100.254",
        "खाता नं. 9841234567890",
        "@prakash ले a@b भने; 5 @ 10",
        "COVID-19, SARS-CoV-2, 97,039/1,617,204",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert mask(text, NEPALI) == (text, {})


def test_without_a_language_only_what_is_announced() -> None:
    assert mask("9841234567, phone 9841234567, +977 9841234567") == (
        "9841234567, phone [phone], [phone]",
        {"phone": 2},
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *"0198०९७ -+()./,@a\n",
                "9841234567",
                "फोन ",
                "रु ",
                "a@b.com",
                "[phone]",
                "2072",
                "01-4256789",
                "जना",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_masking_twice_is_masking_once(text: str) -> None:
    once, _ = mask(text, NEPALI)
    assert mask(once, NEPALI) == (once, {})


@pytest.mark.real
def test_nothing_is_masked_in_real_news_that_is_no_address(real_data: Path) -> None:
    """Read by a person: these samples hold amounts, dates and statistics, and no number to be called."""
    csv.field_size_limit(10**9)
    with (real_data / "mono/ekbana/sample_train.csv").open(encoding="utf-8-sig", newline="") as file:
        news = [row["text"] for row in csv.DictReader(file)]
    tico = (real_data / "parallel/tico19/tico19-test.nep").read_text("utf-8").split("\n")
    assert len(news) > 30 and len(tico) > 2000
    found = [mask(text, NEPALI)[1] for text in [*news, *tico]]
    assert [counts for counts in found if counts] == []
