"""Sentences with figures: `{name:format}` is a fact, `[...]` a part left out when its fact is unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar

from gpu_rightsizer.explain import numbers
from gpu_rightsizer.explain.terms import CAUSE, KIND, WHY, term
from gpu_rightsizer.explain.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpu_rightsizer.domain.finding import Fact

_PART: Final = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_FACT: Final = re.compile(r"\{([a-z_]+):([a-z_]+)\}")
_T = TypeVar("_T")


def _expect(kind: type[_T], fact: Fact) -> _T:
    if not isinstance(fact, kind):
        raise TypeError(f"{fact!r} is not a {kind.__name__}")
    return fact


def _number(show: Callable[[float], str]) -> Callable[[Fact], str]:
    return lambda fact: show(numbers.as_float(fact))


def _money(show: Callable[[Decimal], str]) -> Callable[[Fact], str]:
    return lambda fact: show(_expect(Decimal, fact))


def _time(show: Callable[[timedelta], str]) -> Callable[[Fact], str]:
    return lambda fact: show(_expect(timedelta, fact))


def _term(terms: Mapping[str, str]) -> Callable[[Fact], str]:
    return lambda fact: term(terms, _expect(str, fact))


FORMATS: Final[Mapping[str, Callable[[Fact], str]]] = {
    "gib": _number(numbers.gibibytes),  # bytes
    "tokens": _number(numbers.tokens),
    "probability": _number(numbers.probability),  # 0..1
    "share": _number(numbers.share),  # 0..1
    "seconds": _number(numbers.seconds),
    "figure": _number(numbers.scaled),  # a rate or a level
    "count": _number(lambda count: str(round(count))),  # a whole number that matters exactly
    "cores": _number(numbers.cores),  # millicores
    "usd": _money(numbers.dollars),
    "dollars": _number(numbers.about),  # an estimate of money
    "length": _time(numbers.length),  # an estimate of time
    "span": _time(numbers.span),
    "at_least": _time(numbers.at_least),
    "duration": _time(numbers.duration),
    "why": _term(WHY),
    "cause": _term(CAUSE),
    "kind": _term(KIND),
    "day": lambda fact: numbers.day(_expect(datetime, fact)),
    "name": lambda fact: safe(str(fact), 80),  # a name: class, model, argument
    "problems": lambda fact: safe(str(fact), 500, quotes=True),  # our own sentences about fields
    "text": lambda fact: safe(str(fact), 300),  # words of somebody else
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A template: parts in order, each with whether it may be left out."""

    parts: tuple[tuple[str, bool], ...]

    @property
    def facts(self) -> tuple[str, ...]:
        """Names of the facts it can show, in order, each once."""
        return tuple(dict.fromkeys(name for part, _ in self.parts for name, _ in _FACT.findall(part)))

    def said(self, facts: Mapping[str, Fact]) -> str:
        """The sentence with the facts given; an optional part needs all of its own."""
        shown = (part for part, optional in self.parts if not optional or _known(part, facts))
        return "".join(_FACT.sub(lambda match: _formatted(match[1], match[2], facts), part) for part in shown)


def mismatches(template: Sentence, facts: Mapping[str, Fact]) -> tuple[str, ...]:
    """Facts that the sentence cannot show: of another kind than its format takes, or not in the sentence at all."""
    forms = {name: form for part, _ in template.parts for name, form in _FACT.findall(part)}
    wrong = []
    for name, fact in facts.items():
        try:
            FORMATS[forms[name]](fact)
        except (KeyError, TypeError, ValueError):
            wrong.append(name)
    return tuple(wrong)


def sentence(template: str) -> Sentence:
    """Parses a template; ValueError when it needs a fact outside brackets or names a format we lack.

    What always stands may hold no fact, so that a sentence is whole whatever is unknown.
    """
    parts = tuple((match[1] or match[2], match[1] is not None) for match in _PART.finditer(template))
    for part, optional in parts:
        for name, form in _FACT.findall(part):
            if not optional:
                raise ValueError(f"fact `{name}` stands outside brackets in {template!r}")
            if form not in FORMATS:
                raise ValueError(f"no format `{form}` in {template!r}")
    return Sentence(parts)


def _known(part: str, facts: Mapping[str, Fact]) -> bool:
    return all(name in facts and facts[name] != "" for name, _ in _FACT.findall(part))


def _formatted(name: str, form: str, facts: Mapping[str, Fact]) -> str:
    try:
        return FORMATS[form](facts[name])
    except (TypeError, ValueError):
        # Words must not stop a cycle: a fact of another kind is shown as it is. `mismatches` finds it in tests.
        return safe(str(facts[name]), 80)
