"""The notations of the API as types: bounded strings with a pattern and, for what users write, a rule in words."""

import re
from datetime import date
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gpu_rightsizer.api import units
from gpu_rightsizer.api.wire import Rule, Text


def _is_time(text: str) -> str:
    units.parse_time(text)
    return text


def _is_day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise units.BadValue(f"`{text}` is not a day; write for example `2026-07-20`") from error
    return text


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


# CEL's duration() knows no days, so the digits are bounded instead: no sum leaves what a date can be moved by.
_BOUNDED_DURATION: Final = "^([0-9]{1,3}d|[0-9]{1,4}h|[0-9]{1,5}m|[0-9]{1,7}(s|ms))+$"
DURATION: Final = Rule(
    f"self.matches('{_BOUNDED_DURATION}') && self.matches('[1-9]')",
    "must be a duration greater than zero and less than `1000d`, for example `90s`, `1h30m` or `30d`",
    lambda text: _matches(_BOUNDED_DURATION, text) and _matches("[1-9]", text),
)
SHARE: Final = Rule(
    r"self.matches('^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?)%$')",
    "must be a percentage from `0%` to `100%`, for example `1%` or `99.9%`",
    lambda text: _matches(r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$", text),
)
AMOUNT: Final = Rule(
    r"self.matches('^[0-9]+(\\.[0-9]+)?$')",
    'must be an amount in USD of 0 or more, as a quoted decimal such as `"1.861"`',
    lambda text: _matches(units.DECIMAL_PATTERN, text),
)
COUNT: Final = Rule(
    r"self.matches('^[0-9]+(\\.[0-9]+)?[KMBT]?$') && self.matches('[1-9]')",
    "must be a number of parameters greater than zero, for example `8.03B` or `405B`",
    lambda text: _matches(units.COUNT_PATTERN, text) and _matches("[1-9]", text),
)
POSITIVE_QUANTITY: Final = Rule(
    r"self.matches('^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$') && self.matches('^[0-9.]*[1-9]')",
    "must be a quantity greater than zero, for example `46068Mi`, `32Gi` or `4`",
    lambda text: _matches(units.QUANTITY_PATTERN, text) and _matches("^[0-9.]*[1-9]", text),
)
GLOB: Final = Rule(
    "self.matches('^[A-Za-z0-9._*?/+:-]+$')",
    "must be a class name or a glob with `*` and `?`, for example `g6e.*`",
    lambda text: _matches("^[A-Za-z0-9._*?/+:-]+$", text),
)

# What users write: a broken one is answered in words.
Duration = Annotated[str, Text(32, 1, units.DURATION_PATTERN, (DURATION,))]
Share = Annotated[str, Text(16, 1, units.PERCENT_PATTERN, (SHARE,))]
Amount = Annotated[str, Text(24, 1, units.DECIMAL_PATTERN, (AMOUNT,))]
ParameterCount = Annotated[str, Text(16, 1, units.COUNT_PATTERN, (COUNT,))]
Quantity = Annotated[str, Text(32, 1, units.QUANTITY_PATTERN, (POSITIVE_QUANTITY,))]
Day = Annotated[str, Text(10, 10, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", date_format="date"), AfterValidator(_is_day)]
Glob = Annotated[str, Text(63, 1, "", (GLOB,))]

# What the operator writes: the pattern alone keeps it honest.
SpanOut = Annotated[str, Text(32, 1, units.DURATION_PATTERN)]
ShareOut = Annotated[str, Text(16, 1, units.PERCENT_PATTERN)]
UsdOut = Annotated[str, Text(24, 1, units.SIGNED_DECIMAL_PATTERN)]
NumberOut = Annotated[str, Text(24, 1, units.DECIMAL_PATTERN)]
QuantityOut = Annotated[str, Text(32, 1, units.QUANTITY_PATTERN)]
TimeOut = Annotated[str, Text(40, 1, date_format="date-time"), AfterValidator(_is_time)]
Sentence = Annotated[str, Text(1024)]

# Names.
ObjectName = Annotated[str, Text(253, 1)]
LabelValue = Annotated[str, Text(63)]
ContainerName = Annotated[str, Text(63, 1)]
ClassName = Annotated[str, Text(253, 1)]
Region = Annotated[str, Text(63, 1, r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
FreeText = Annotated[str, Text(253)]

CountOut = Annotated[int, Field(ge=0, le=2_147_483_647)]  # as Kubernetes counts replicas
Generation = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
NodeCount = Annotated[int, Field(ge=0, le=100_000)]
