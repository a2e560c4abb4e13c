"""Consent records and receipts of ISO/IEC TS 27560:2023, as JSON: header, PII processing and events (6.3.3, 6.3.4, 6.3.7).

The specification names fields and lets implementations add more, so that what is not used here is let through and stays in the
raw record. A purpose must be a fideslang data use, a ground one of the law's, a jurisdiction one that exists: nobody here guesses what
another word means.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from governance.signals.bits import Fault, SignalError, check_length
from policies import jurisdictions
from policies.policy import Basis
from policies.taxonomy import Vocabulary, known

State = Literal["requested", "given", "refused", "withdrawn", "expired", "invalidated"]
"""`event_state` of 6.3.7, in the words that a consent event has as well."""


_FIRST, _LAST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9000, 1, 1, tzinfo=dt.UTC)
"""Times of events. There is room for a duration behind the last, and for any time zone."""


def _use(purpose: str) -> str:
    if not known(Vocabulary.USE, purpose):
        raise ValueError("expected a fideslang data use")
    return purpose


def _place(jurisdiction: str) -> str:
    if not jurisdictions.known(jurisdiction):
        raise ValueError("expected a code of ISO 3166, or `eu`")
    return jurisdiction


class _Part(BaseModel):
    """Frozen; further fields are let through."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Header(_Part):
    """6.3.3: which record this is, and whose."""

    schema_version: str
    record_id: str
    pii_principal_id: str | None = None


class Purpose(_Part):
    """6.3.4: one purpose, and on what ground."""

    purpose: Annotated[str, AfterValidator(_use)]
    lawful_basis: Basis = Basis.CONSENT
    jurisdiction: Annotated[str, AfterValidator(_place)] | None = None


class Processing(_Part):
    """6.3.4: what the principal was told, and the purposes."""

    privacy_notice: str | None = None
    notice_hash: str | None = None
    language: str | None = None
    collection_method: str | None = None
    pii_controller: str | None = None
    purposes: tuple[Purpose, ...] = Field(min_length=1, max_length=1000)


class Event(_Part):
    """6.3.7: what was decided, and when."""

    event_time: AwareDatetime = Field(ge=_FIRST, le=_LAST)
    event_state: State
    event_type: str | None = None
    validity_duration: dt.timedelta | None = Field(None, gt=dt.timedelta(0), le=dt.timedelta(days=36525))


class Record(_Part):
    """A consent record."""

    header: Header
    pii_processing: Processing
    events: tuple[Event, ...] = Field(min_length=1, max_length=1000)


class _Receipt(_Part):
    """6.4: a receipt, which carries the record."""

    consent_record: Record


def read_record(text: str) -> Record:
    """Raises SignalError: at the character where the text is no JSON, else with the path of the first field that is wrong."""
    check_length(text)
    record = _read(text)
    json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)
    return record


def _read(text: str) -> Record:
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise SignalError(Fault.RECORD, _offset(text, str(first["ctx"]["error"])))
    if first["loc"] == ("header",):
        try:
            return _Receipt.model_validate_json(text).consent_record
        except ValidationError as error:
            receipt = error.errors(include_url=False, include_input=False)[0]
        if receipt["loc"] != ("consent_record",):
            first = receipt
    raise SignalError(Fault.RECORD, 0, ".".join(map(str, first["loc"])))


_FIELDS = {name for part in (Record, Header, Processing, Purpose, Event, _Receipt) for name in part.model_fields}


def _once(pairs: list[tuple[str, Any]]) -> None:
    """An object that says one thing about each of its fields: of two, a reader would believe the one and drop the other."""
    names = [name for name, _ in pairs if name in _FIELDS]
    for name in names:
        if names.count(name) > 1:
            raise SignalError(Fault.TWICE, 0, name)


def _offset(text: str, message: str) -> int:
    """The character that JSON's own message names by line and column."""
    found = re.search(r"line (\d+) column (\d+)", message)
    if found is None:
        return 0
    before = text.split("\n")[: int(found[1]) - 1]
    return min(sum(len(line) + 1 for line in before) + max(int(found[2]) - 1, 0), len(text) - 1)
