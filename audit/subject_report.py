"""The answer to a subject who asks what is held about them (GDPR art. 15): frozen values in, one self-contained HTML page out.

Like the officer's report (`audit.report`) the page loads nothing and runs nothing, and the same answer gives the same bytes. It is
written for the person it is about: plain words first, codes beside them. Unlike that report, nothing in it is noisy, because
all of it is about one person and goes to nobody else. Not here: where the values come from.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from audit import pages, wording


@dataclass(frozen=True, slots=True)
class Use:
    """One purpose that somebody may be used for: on what ground, whether they are at this moment, and who gets the results."""

    purpose: str
    description: str
    dataset: str
    policy: str
    basis: str
    used: bool
    reason: str
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One consent event: what was said, when, how, and the signal it came from, raw and decoded."""

    event_time: dt.datetime
    received_time: dt.datetime
    purpose: str
    status: str
    basis: str | None
    valid_until: dt.datetime | None
    notice: str | None
    method: str | None
    jurisdiction: str | None
    controller: str | None
    raw_signal: str | None
    decoded: str | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source table, and what kind of data it is (a fideslang category)."""

    name: str
    category: str
    sensitivity: str


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of the subject in one source table; `rows` in the order of `columns`, as text. `retention`: in words."""

    dataset: str
    name: str
    source: str
    retention: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """One figure that a model reads, how it is worked out, and why it is needed."""

    name: str
    expression: str
    why: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """A list with the subject in it that was handed over. `state`: of the notice that recalls it, if there is one."""

    destination: str
    at: dt.datetime
    state: str


@dataclass(frozen=True, slots=True)
class Opening:
    """The subject's own leaf of the tree that the log vouches for: whoever holds this can check it, and learns of nobody else."""

    value: str
    salt: str
    index: int
    proof: tuple[str, ...]
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Processing:
    """One build that considered the subject. `membership`: what its list says, as (column, value), empty: not in it. `logic`: how
    the model decides, in words; `epsilon`, `delta`: what bounds what its released results can show of anybody; none: nothing does, and
    nothing was shown."""

    build: str
    segment: str
    description: str
    purpose: str
    status: str
    at: dt.datetime
    model: str
    outcome: str
    trained: bool
    membership: tuple[tuple[str, str], ...]
    epsilon: float | None
    delta: float | None
    logic: str
    features: tuple[Feature, ...]
    recipients: tuple[Recipient, ...]
    expires: dt.datetime | None
    retrain_by: dt.datetime | None
    opening: Opening | None


@dataclass(frozen=True, slots=True)
class Right:
    """What the subject may ask for, and where the law says so."""

    name: str
    legal: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that is held about one subject. `keys`: all under which they are known; `kept_outside`: entries of the suppression
    list, in words; `missing`: what could not be read, and why."""

    keys: tuple[str, ...]
    controllers: tuple[str, ...]
    made_at: dt.datetime
    made_by: str
    notes: tuple[str, ...]
    uses: tuple[Use, ...]
    consent: tuple[Said, ...]
    tables: tuple[Table, ...]
    processing: tuple[Processing, ...]
    retention: tuple[tuple[str, str], ...]
    decisions: str
    kept_outside: tuple[str, ...]
    rights: tuple[Right, ...]
    missing: tuple[str, ...]


def render(answer: Answer) -> str:
    """The page. Autoescaped: nothing in the answer can become markup."""
    filters = wording.number, wording.sentence, wording.moment, wording.small
    page = pages.template("subject.html", *filters)
    return page.render(answer=answer)
