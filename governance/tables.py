"""The tables of the metadata database as SQLModel rows. They stay in this folder: what leaves it are frozen values.

Times are microseconds since 1970 in UTC. A change here needs a migration (`governance/migrations`). The audit log's own
tables stand in `audit.log`; here is what finds their entries (`governance.entries`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Integer, String, Table, Text, event, literal_column
from sqlmodel import AutoString, Field, SQLModel

from audit.log import log_entries

metadata = SQLModel.metadata
"""Every table of this module."""

NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; SQLite takes INTEGER alone as its row number."""

TEXT = String().with_variant(Text(collation="C"), "postgresql")
"""Ordered by its bytes everywhere."""


@event.listens_for(Column, "after_parent_attach")
def _portable(column: Column[Any], table: object) -> None:
    """Whole numbers and texts of these tables are the same in each database."""
    if isinstance(table, Table) and table.metadata is metadata:
        if isinstance(column.type, Integer):
            column.type = NUMBER
        elif isinstance(column.type, AutoString):
            column.type = TEXT


class ConsentRow(SQLModel, table=True):
    """One consent event (fields of ISO/IEC TS 27560). Append-only."""

    __tablename__ = "consent_events"
    id: int | None = Field(default=None, primary_key=True)
    subject: str = Field(index=True)
    purpose: str
    status: str
    event_time: int
    received_time: int
    valid_until: int | None = None
    basis: str | None = None
    notice_version: str | None = None
    notice_hash: str | None = None
    controller: str | None = None
    jurisdiction: str | None = None
    method: str | None = None
    raw_signal: str | None = None
    decoded: str | None = None  # what of the raw signal led to this event, as JSON
    batch: str
    salt: bytes
    leaf: bytes | None = None  # of an erased event: what its batch committed to, so that the root still verifies


class ErasureRow(SQLModel, table=True):
    """An erasure: the subject stands here from the intent until nothing else of it is left, then nobody does."""

    __tablename__ = "erasures"
    id: str = Field(primary_key=True)
    subject: str
    begun: int
    finished: int | None = None


class ImportRow(SQLModel, table=True):
    """A file that was imported, so that it isn't again by mistake; its digest is salted, and neither is in the log."""

    __tablename__ = "consent_imports"
    batch: str = Field(primary_key=True)
    salt: bytes
    digest: bytes
    received: int


class IdentityRow(SQLModel, table=True):
    """From event number `after` on, another key stands for a subject; `survivor` NULL: it stands for itself again. Append-only."""

    __tablename__ = "identities"
    id: int | None = Field(default=None, primary_key=True)
    subject: str = Field(index=True)
    survivor: str | None = Field(default=None, index=True)
    after: int
    event_time: int
    received_time: int
    salt: bytes


class ConsentSnapshotRow(SQLModel, table=True):
    """The one columnar copy of the consent events that may be believed, and how often what it copies was rewritten.

    `folder`: its name beside the database, empty where there is none; `digests`: SHA-256 of each file, as JSON; `watermark`: the
    number of the last event in it; `newest`: the latest time in it.
    """

    __tablename__ = "consent_snapshot"
    id: int = Field(default=1, primary_key=True)
    epoch: int = 0
    folder: str = ""
    digests: str = "{}"
    watermark: int = 0
    events: int = 0
    newest: int = 0


class CapRow(SQLModel, table=True):
    """The cap of an account that binds beside every policy's: the first that was asked for, or what an officer accepted since."""

    __tablename__ = "budget_caps"
    account: str = Field(primary_key=True)
    epsilon: float
    delta: float
    set_by: str
    created: int


class ReservationRow(SQLModel, table=True):
    """Budget set aside for one build or snapshot. `mu_squared` is a fraction `p/q`.

    `block_epsilon` and `block_delta`, fractions too, are what it costs on top; `block`: the mechanisms that cost it, JSON.
    """

    __tablename__ = "budget_reservations"
    id: str = Field(primary_key=True)
    cap_account: str = Field(index=True)
    allocation: str = Field(index=True)
    purpose: str
    label: str
    mu_squared: str
    draws: int
    epsilon: float
    delta: float
    status: str
    principal: str
    created: int
    block_epsilon: str | None = None
    block_delta: str | None = None
    block: str | None = None


class DrawRow(SQLModel, table=True):
    """One query charged to a reservation, written before its noise is drawn: the privacy transcript.

    `sampled`: all steps of training by samples are one row, with their terms as JSON; it has no μ², and `draws` is of all steps.
    """

    __tablename__ = "budget_draws"
    id: int | None = Field(default=None, primary_key=True)
    reservation: str = Field(index=True)
    path: str
    step: str
    part: str
    mu_squared: str
    bound: float
    sigma: float
    draws: int
    created: int
    sampled: str | None = None


class SnapshotRow(SQLModel, table=True):
    """A noisy histogram of admission reasons, one for each public interval."""

    __tablename__ = "admission_snapshots"
    id: str = Field(primary_key=True)
    dataset: str
    purpose: str
    policy: str
    interval: int
    taken: int
    reservation: str
    sigma: float
    histogram: str


class PlanRow(SQLModel, table=True):
    """What a plan pins: digests of spec, contract and policy."""

    __tablename__ = "plans"
    id: str = Field(primary_key=True)
    segment: str = Field(index=True)
    spec: str
    contract: str
    policy: str
    snapshot: str
    principal: str
    created: int


class BuildRow(SQLModel, table=True):
    """One build of a segment: building, quarantined, released, rejected, recalled, expired, refused or failed.

    `model`: the build whose released model this one scored people with; `expires`: when it ends; `listed_until`: when its lists do;
    `retrain_by`: by when its model must be trained anew, because somebody whose rows it was trained on may not be used any more.
    """

    __tablename__ = "builds"
    id: str = Field(primary_key=True)
    segment: str = Field(index=True)
    plan: str
    purpose: str
    status: str
    builder: str
    created: int
    released: int | None = None
    reservation: str
    facts: str = "{}"
    entry: int | None = None
    model: str | None = None
    expires: int | None = None
    listed_until: int | None = None
    retrain_by: int | None = None


class ApprovalRow(SQLModel, table=True):
    """Somebody's yes or no to a build, under the policy of this digest. `claimed`: they were an officer by a token alone."""

    __tablename__ = "approvals"
    id: int | None = Field(default=None, primary_key=True)
    build: str = Field(index=True)
    principal: str
    verdict: str
    comment: str
    created: int
    policy: str | None = None
    claimed: bool | None = None


class ExportRow(SQLModel, table=True):
    """A list that was handed to a destination; `finished` is missing where a crash came between the intent and the end."""

    __tablename__ = "exports"
    id: str = Field(primary_key=True)
    build: str = Field(index=True)
    destination: str
    file: str
    principal: str
    created: int
    finished: int | None = None


class NoticeRow(SQLModel, table=True):
    """A recall notice: who must be deleted from an export. Whom it names stands in its file alone, until it is acknowledged."""

    __tablename__ = "recall_notices"
    id: str = Field(primary_key=True)
    export: str = Field(index=True)
    whole: bool
    created: int
    handed: int | None = None
    acknowledged: int | None = None
    acknowledged_by: str | None = None


class RotatedKeyRow(SQLModel, table=True):
    """A key that is no purpose's and was rotated, and by what the present one is known again."""

    __tablename__ = "rotated_keys"
    name: str = Field(primary_key=True)
    fingerprint: str
    created: int


class PurposeKeyRow(SQLModel, table=True):
    """A purpose whose pseudonym key was made, and by what that key is known again."""

    __tablename__ = "purpose_keys"
    purpose: str = Field(primary_key=True)
    fingerprint: str
    created: int


class AccessRow(SQLModel, table=True):
    """A change of who may do what: where in the log it stands."""

    __tablename__ = "access_changes"
    id: int | None = Field(default=None, primary_key=True)
    entry: int


class DocumentRow(SQLModel, table=True):
    """A policy, contract or spec as it was when a plan or an approval first pinned its digest: canonical JSON. Append-only."""

    __tablename__ = "documents"
    digest: str = Field(primary_key=True)
    kind: str
    name: str = Field(index=True)
    text: str
    created: int


class PolicyApprovalRow(SQLModel, table=True):
    """Somebody's yes to a version of a policy. `before`: the version that was approved last until then. Append-only."""

    __tablename__ = "policy_approvals"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    policy: str
    before: str | None = None
    principal: str
    created: int


class PartnershipRow(SQLModel, table=True):
    """A collaboration that was joined: the signed contract, and the segment that takes part in it at home.

    `spec`: digest of that segment's spec; `build`: what takes part, once its budget is reserved.
    """

    __tablename__ = "partnerships"
    contract: str = Field(primary_key=True)
    name: str = Field(unique=True, index=True)
    segment: str
    spec: str
    envelope: str
    created: int
    build: str | None = None


BEGINNING: ColumnElement[bytes] = literal_column("substr(body, 12, 72)")
"""Where the body of an entry names its action and its time: `{"action":"` is before it. Spelt the same in index and query."""

Index("ix_log_entries_beginning", BEGINNING, _table=log_entries)
