"""The tables of the metadata database as SQLModel rows. They stay in this folder: what leaves it are frozen values.

Times are microseconds since 1970 in UTC. A change here needs a migration (`governance/migrations`). The audit log's own
table stands in `audit.log`.
"""

from __future__ import annotations

from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata
"""Every table of this module."""


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
    batch: str
    salt: bytes


class ImportRow(SQLModel, table=True):
    """A file that was imported, so that it isn't again by mistake; its digest is salted, and neither is in the log."""

    __tablename__ = "consent_imports"
    batch: str = Field(primary_key=True)
    salt: bytes
    digest: bytes
    received: int


class CapRow(SQLModel, table=True):
    """The cap of an account that binds beside every policy's: the first that was asked for, or what an officer accepted since."""

    __tablename__ = "budget_caps"
    account: str = Field(primary_key=True)
    epsilon: float
    delta: float
    set_by: str
    created: int


class ReservationRow(SQLModel, table=True):
    """Budget set aside for one build or snapshot. `mu_squared` is a fraction `p/q`."""

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


class DrawRow(SQLModel, table=True):
    """One query charged to a reservation, written before its noise is drawn: the privacy transcript."""

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
    """One build of a segment: building, quarantined, released, rejected, recalled, refused or failed."""

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


class ApprovalRow(SQLModel, table=True):
    """Somebody's yes or no to a build."""

    __tablename__ = "approvals"
    id: int | None = Field(default=None, primary_key=True)
    build: str = Field(index=True)
    principal: str
    verdict: str
    comment: str
    created: int


class PurposeKeyRow(SQLModel, table=True):
    """A purpose whose pseudonym key was made, and by what that key is known again."""

    __tablename__ = "purpose_keys"
    purpose: str = Field(primary_key=True)
    fingerprint: str
    created: int
