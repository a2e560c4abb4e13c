"""What a partner brings to the rounds: its people of now, its ledger, its noise, and its own yes (`federated.partner.Home`).

It says yes to a question where its documents are those that it began with and still allow it, where its noisy count is above its own
floor, and where its reservation has what the question costs. All that a coordinator hears of a no is one word. The count is that of the
plan's snapshot, which was paid for then: nothing here depends on a row.

What a process charged that was killed before anything left for it is not charged again: the transcript, whose lines are durable before
anything leaves, has no line of that charge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from engine.bench import Bench
from engine.gates import Refused
from engine.partners import columns, faults, groups
from engine.partners.attendance import Attendance
from engine.planning import prepare
from engine.prepared import Prepared
from engine.workspace import Workspace, WorkspaceError
from federated.contract import Agreed
from federated.questions import Asked
from federated.shares import Sharing
from federated.transcript import TranscriptFile
from governance import budget, builds
from governance.budget import Draw, LedgerMeter, Reservation
from governance.builds import Build, Plan, Status
from governance.door import BudgetError, Column, Grant, Query, ReservationId, check_path
from governance.minimise import Prepared as Extraction
from governance.noise import NoiseSource
from governance.reads import ExpressionError
from governance.snapshots import Snapshot
from policies.parsing import DocumentError


@dataclass(frozen=True, slots=True)
class Taking:
    """What takes part: the build and what was pinned for it (`engine.stages.Reading`)."""

    agreed: Agreed
    build: Build
    plan: Plan
    reservation: Reservation
    prepared: Prepared
    extraction: Extraction
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class PartnerHome:
    """See `federated.partner.Home`."""

    bench: Bench
    taking: Taking
    attendance: Attendance
    left: TranscriptFile

    @property
    def meter(self) -> PartnerMeter:
        """See `Home.meter`."""
        return PartnerMeter(LedgerMeter(self.bench.workspace.store, self.taking.reservation.id), self.left)

    @property
    def reservation(self) -> ReservationId:
        """See `Home.reservation`."""
        return self.taking.reservation.id

    @property
    def noise(self) -> NoiseSource:
        """See `Home.noise`."""
        return self.bench.noise

    def shapes(self, model: bytes) -> Mapping[str, tuple[int, ...]]:
        """See `Home.shapes`."""
        return columns.shapes(self.taking.prepared.spec, model, groups.count(self.taking.agreed.contract))

    def willing(self, asked: Asked) -> bool:
        """See `Home.willing`."""
        with faults.kept(self.bench.workspace):
            return self._lawful() and self._above_floor() and self._affords(asked)

    def rows(self, asked: Asked) -> Mapping[str, Column]:
        """See `Home.rows`."""
        with faults.kept(self.bench.workspace):
            people = self.attendance.people(asked.number)
            return columns.columns(people, asked.model) | groups.columns(
                self.bench, self.taking, self.taking.agreed.contract, people, asked
            )

    def spent(self) -> Fraction:
        """μ² that was charged so far."""
        return sum((draw.mu_squared for draw in self._drawn()), Fraction(0))

    def _drawn(self) -> tuple[Draw, ...]:
        with self.bench.workspace.store.read() as session:
            return budget.transcript(session, self.reservation)

    def _lawful(self) -> bool:
        """The policy of today says what the plan's said, and the build has not ended."""
        with self.bench.workspace.store.read() as session:
            found = builds.find_build(session, self.taking.build.id)
        return found is not None and found.status is Status.BUILDING and unchanged(self.bench.workspace, self.taking.plan)

    def _above_floor(self) -> bool:
        return self.taking.snapshot.admitted_low >= self.taking.prepared.policy.cohort_floor

    def _affords(self, asked: Asked) -> bool:
        price = Sharing.of(self.taking.agreed.contract).price(asked.grant, self.reservation)
        if self.meter.charged(price, asked.query) or self._answered(asked):
            return True
        drawn = self._drawn()
        try:
            check_path(price.path, (draw.path for draw in drawn))
        except BudgetError:
            return False
        return sum((draw.mu_squared for draw in drawn), price.mu_squared) <= self.taking.reservation.mu_squared

    def _answered(self, asked: Asked) -> bool:
        """Whether what left in this very round was charged: no more is, and its seat may be taken again."""
        paid = (entry.left for entry in self.left.entries if entry.left.charged is not None)
        return (asked.number, asked.grant.path) in ((left.round, left.path) for left in paid)


@dataclass(frozen=True, slots=True)
class PartnerMeter:
    """A `governance.door.Meter` of one reservation. `left`: what ever left for what it was charged."""

    ledger: LedgerMeter
    left: TranscriptFile

    def charge(self, grant: Grant, query: Query) -> None:
        """See `Meter.charge`."""
        if not self.charged(grant, query):
            self.ledger.charge(grant, query)

    def charged(self, grant: Grant, query: Query) -> bool:
        """Whether this very question was charged, and nothing left for it; nothing is, once the reservation was settled."""
        with self.ledger.store.read() as session:
            reserved = budget.find(session, self.ledger.reservation)
            drawn = budget.transcript(session, self.ledger.reservation)
        if reserved is None or reserved.status is not budget.Status.RESERVED:
            return False
        asked = (grant.path, grant.mu_squared, str(query.step), query.part.name.lower(), query.bound, query.size)
        found = ((draw.path, draw.mu_squared, draw.step, draw.part, draw.bound, draw.draws) for draw in drawn)
        paid = (entry.left.path for entry in self.left.entries if entry.left.charged is not None)
        return grant.reservation == self.ledger.reservation and asked in found and grant.path not in paid


def unchanged(workspace: Workspace, plan: Plan) -> bool:
    """Whether the documents that a plan pinned are still there, and still allow it."""
    try:
        digests = prepare(workspace, plan.segment).digests
    except (Refused, DocumentError, ExpressionError, WorkspaceError):
        return False
    return all(getattr(plan, what) == digest for what, digest in digests.items())
