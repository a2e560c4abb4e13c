"""The dataset contract: what the data is, who answers for it, and which facts about it are public."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from policies.documents import Document, Duration, Jurisdiction, one_of, refuse

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""An identifier that people write: table, column, feature."""

Place = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}\.[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""TABLE.COLUMN."""

KEY_TYPES = ("text", "integer")
"""Types of subject keys: equal keys are spelled alike, as those of floating numbers (0.0 and -0.0) are not."""

MAX_SUBJECTS = 100_000_000
"""Evidence is padded to `max_subjects`: a leaf each, in time and memory."""

MAX_DOMAIN = 1000
"""Every value of a domain is a group of its own in what is asked of the door."""

_TYPE = re.compile(r"text|integer|double|boolean|date|timestamp|decimal\(\s*([0-9]{1,2})\s*,\s*([0-9]{1,2})\s*\)")


class Outliers(StrEnum):
    """What happens to a value outside its public bounds."""

    CLIP = "clip"
    DISCARD = "null"


class Column(Document):
    """One column. Bounds, grid and domain are public: they must not come from looking at the data."""

    category: str = Field(description="fideslang data category, such as `user.behavior.purchase_history`")
    type: str = Field("text", description="text, integer, double, boolean, date, timestamp or decimal(p,s); money is decimal")
    sensitivity: Literal["plain", "pseudonymous", "sensitive"] = "plain"
    unit: str | None = None
    bounds: tuple[Decimal, Decimal] | None = Field(None, description="public lower and upper bound")
    domain: tuple[str, ...] | None = Field(None, description="public set of categories", min_length=1, max_length=MAX_DOMAIN)
    outliers: Outliers = Outliers.CLIP
    missing: str | int | float | None = Field(None, description="value that stands in for NULL, NaN and failed casts; none: stays NULL")
    source_name: str | None = Field(None, alias="from", description="name in the source, where it differs")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if not (match := _TYPE.fullmatch(value)):
            raise ValueError("expected text, integer, double, boolean, date, timestamp or decimal(p,s)")
        if match[1] and not int(match[2]) <= int(match[1]) <= 18:
            raise ValueError("expected decimal(p,s) with s <= p <= 18")
        return value.replace(" ", "")

    @model_validator(mode="after")
    def _ordered_bounds(self) -> Self:
        if self.bounds and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"`bounds` must ascend, got `{self.bounds[0]}` and `{self.bounds[1]}`")
        return self

    @model_validator(mode="after")
    def _distinct_domain(self) -> Self:
        counts = Counter(self.domain or ())
        refuse(f"`domain` must not repeat a value, got `{value}` {count} times" for value, count in counts.items() if count > 1)
        return self


class Returns(Document):
    """Rows that take a purchase back: `column` below `below`. They are dropped, or kept and net against the sums."""

    column: Name
    below: Decimal = Decimal(0)
    rule: Literal["drop", "net"] = "net"


class Repeats(Document):
    """Rows of one subject that are equal in these columns are one row that arrived several times: it counts once."""

    by: tuple[Name, ...] = Field(min_length=1, description="columns that tell a row from another, beside the subject key")


class Table(Document):
    """One table of the dataset; `reference: true` marks a look-up without subject key."""

    source: str = Field(description="path of a Parquet or CSV file from the workspace, or postgresql:CONNECTION/SCHEMA.TABLE")
    key: Name | None = Field(None, description="subject key column, where it differs from the dataset's")
    event_time: Name | None = Field(None, description="column that says when a row happened; none: a table of states")
    retention: Duration | None = Field(None, description="rows older than this at processing time do not exist")
    collected_under_consent: bool = Field(False, description="only rows whose event time lies within a valid consent")
    duplicates: Literal["keep", "drop"] | Repeats = Field(
        "keep", description="`drop`: identical rows of the granted columns count once; `by`: rows with the same key columns do"
    )
    returns: Returns | None = None
    reference: bool = False
    columns: dict[Name, Column] = Field(min_length=1)


class SubjectKind(StrEnum):
    """What one subject is; privacy protects this unit with all of its rows."""

    PERSON = "person"
    HOUSEHOLD = "household"


class Subject(Document):
    """The unit of privacy and how it is found in the tables."""

    key: Name
    kind: SubjectKind = SubjectKind.PERSON
    namespace: Name = Field(description="subject namespace; the cap account is kept per controller and namespace")
    registered_in: Name = Field(description="table whose keys are the population")
    max_subjects: int = Field(1_000_000, gt=0, le=MAX_SUBJECTS, description="public upper bound of the population")
    born: Place | None = Field(None, description="TABLE.COLUMN with the date of birth, which tells who is a child")
    child: Place | None = Field(None, description="TABLE.COLUMN with `true` for a child")

    @property
    def told_by(self) -> tuple[str, str] | None:
        """Table and column that tell who is a child; they are read for admission, not for features."""
        place = self.born or self.child
        if place is None:
            return None
        table, _, column = place.partition(".")
        return table, column

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if self.born and self.child:
            raise ValueError(f"expected one of `born` and `child`, got `{self.born}` and `{self.child}`")
        return self


class Contract(Document):
    """What a dataset is. `population` names whom it is about, for budget accounts (default: the contract's name)."""

    kind: Literal["contract"] = "contract"
    name: Name
    description: str = ""
    controller: str
    processors: tuple[str, ...] = ()
    jurisdiction: Jurisdiction = Field("eu", description="of subjects whose consent events name none")
    subject: Subject
    tables: dict[Name, Table] = Field(min_length=1)

    def key_of(self, table: str) -> str:
        """The subject key column of `table`."""
        return self.tables[table].key or self.subject.key

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        refuse(self._broken_references())
        return self

    def _broken_references(self) -> Iterator[str]:
        if not (population := self.tables.get(self.subject.registered_in)):
            yield f"`subject.registered_in` names no table, got `{self.subject.registered_in}`, expected {one_of(self.tables)}"
        elif population.reference:
            yield f"`subject.registered_in` must not name a reference table, got `{self.subject.registered_in}`"
        yield from self._broken_telling()
        for name, table in self.tables.items():
            needed = {} if table.reference else {"key": self.key_of(name)}
            if table.event_time:
                needed["event_time"] = table.event_time
            if table.returns:
                needed["returns.column"] = table.returns.column
            if isinstance(table.duplicates, Repeats):
                needed |= {f"duplicates.by.{place}": column for place, column in enumerate(table.duplicates.by)}
            for field, column in needed.items():
                if column not in table.columns:
                    yield f"`tables.{name}.{field}` names no column of its table, got `{column}`, expected {one_of(table.columns)}"
            key = None if table.reference else table.columns.get(self.key_of(name))
            if key is not None and key.type not in KEY_TYPES:
                yield f"`tables.{name}.columns.{self.key_of(name)}.type` of a subject key, got `{key.type}`, expected {one_of(KEY_TYPES)}"

    def _broken_telling(self) -> Iterator[str]:
        """What is wrong with the column that tells who is a child."""
        if self.subject.told_by is None:
            return
        name, column = self.subject.told_by
        field, types = ("born", ("date", "timestamp")) if self.subject.born else ("child", ("boolean",))
        owner = self.tables.get(name)
        if owner is None:
            yield f"`subject.{field}` names no table, got `{name}.{column}`, expected {one_of(self.tables)}"
        elif owner.reference:
            yield f"`subject.{field}` must lie in a table with a subject key, got `{name}.{column}`"
        elif column not in owner.columns:
            yield f"`subject.{field}` names no column of `{name}`, got `{column}`, expected {one_of(owner.columns)}"
        elif owner.columns[column].type not in types:
            yield f"`subject.{field}` names a column of type `{owner.columns[column].type}`, expected {one_of(types)}"
