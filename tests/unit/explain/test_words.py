"""Sentences, word for word: they are an interface."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gpu_rightsizer.domain.finding import Code, Finding, found
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.explain.template import FORMATS, sentence
from gpu_rightsizer.explain.words import LONGEST, TEMPLATES, facts_of, say, say_missing, unsaid
from tests.reviewed import reviewed
from tests.unit.explain.examples import FINDINGS


def test_every_code_word_for_word() -> None:
    said = {
        code.value: {"says": say(finding), "without its facts": say(Finding(code))}
        for code, finding in FINDINGS.items()
    }

    assert said == reviewed(Path(__file__).with_name("words.yaml"), said)


@pytest.mark.parametrize("code", Code)
def test_an_example_shows_every_fact(code: Code) -> None:
    alternatives = {"bytes"}  # instead of `tokens`
    assert set(dict(FINDINGS[code].facts)) | alternatives >= set(facts_of(code))
    assert unsaid(FINDINGS[code]) == ()


@pytest.mark.parametrize("code", Code)
def test_sentences_are_short_and_whole(code: Code) -> None:
    most = 700 if code is Code.INCIDENT_WEIGHED else 320  # that one is a paragraph
    for finding in (FINDINGS[code], Finding(code)):
        text = say(finding)
        assert 10 < len(text) <= most
        assert text.endswith(".")
        assert not set("[]{}") & set(text)
        assert "  " not in text


def test_demand_of_device_memory() -> None:
    assert say(found(Code.DEMAND_PEAK, bytes=31_000_000_000.0)) == (
        "Peak demand of the busiest replica: 28.9 GiB of device memory."
    )


def test_a_part_is_left_out_when_its_fact_is_unknown() -> None:
    assert say(found(Code.MEMORY_TOO_SMALL, need=30 * 2**30)) == "Memory is too small: 30 GiB needed per accelerator."


def test_a_fact_that_is_no_number_is_shown_and_found_by_tests() -> None:
    odd = found(Code.SAVING_TOO_SMALL, saved="much", colour="red")

    assert say(odd) == "The best saving is too small to move for: much/h."
    assert unsaid(odd) == ("saved", "colour")


def test_not_a_number_does_not_stop_the_words() -> None:
    assert "nan" in say(found(Code.TPOT_TOO_SLOW, tpot=math.nan))


def test_text_of_others_is_made_harmless() -> None:
    hostile = "\x1b[31mred\x1b[0m\u202egnp.exe\u2066 <b>`x`\r\nSet-Cookie: a\x00"

    text = say(found(Code.MODEL_UNKNOWN, model=hostile))

    assert text.isprintable()
    assert "'x'" in text
    assert "\u202e" not in text


def test_text_of_others_is_bounded() -> None:
    assert len(say(found(Code.CAVEAT, text="a" * 5000))) < LONGEST


@pytest.mark.parametrize("why", MissingReason)
def test_what_is_missing_says_why_and_how_to_supply_it(why: MissingReason) -> None:
    text = say_missing(Missing(Signal.FB_USED, why, "node-1"))

    assert text.startswith("FramebufferUsed: ")
    assert text.endswith(" (node-1). Scrape the DCGM exporter.")


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_has_a_way_to_supply_it(signal: Signal) -> None:
    assert say_missing(Missing(signal, MissingReason.NO_SERIES)).count(".") >= 2


def test_a_fact_that_always_stands_is_refused() -> None:
    with pytest.raises(ValueError, match="outside brackets"):
        sentence("It costs {price:usd}.")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no format `euro`"):
        sentence("It costs[ {price:euro}].")


def test_every_format_is_used() -> None:
    used = {part.split(":")[1].split("}")[0] for text in TEMPLATES.values() for part in text.split("{")[1:]}

    assert used == set(FORMATS)


def test_money_and_times_are_formatted_once() -> None:
    finding = found(Code.SAVING_TOO_SMALL, saved=Decimal("1234.5"), share=Decimal("0.0999"), least=Decimal("0.1"))
    waking = found(Code.WAKER_NEEDED, cold_start=timedelta(minutes=5))

    assert "$1,234.50/h (10%); 10% is the least" in say(finding)
    assert "waits 5m" in say(waking)
