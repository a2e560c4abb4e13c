"""A coordinator killed with -9 at its durable steps and at random moments: the next run ends in the same bytes, pays nothing twice, and
releases once. Where a partner was killed too, it takes its seat again, and its noise may be other noise.

`CRASHES` says how many random moments are taken, a few of them.
"""

from __future__ import annotations

import json
import os
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from audit import joint_passport
from audit import log as audit_log
from audit.failpoint import KILL, TRACE
from engine.collaborations import contracts
from federated.messages import Step
from governance.partner_keys import PartnerKeys
from governance.principals import UNSAFE_VARIABLE
from tests import scenes
from tests.collaborations import fields, signers
from tests.failpoints import names
from tests.joint import LEADER, LOGISTIC, Partners, agreed, blobs, child, forked, leader, opened, partners, run

pytestmark = pytest.mark.slow

AGREED = agreed(**LOGISTIC)
SIZES = (300, 300)
MOMENTS = int(os.environ.get("CRASHES", "50")) // 12
SEED = int(os.environ.get("CRASH_SEED", "2026"))


def releases(root: Path) -> int:
    """How many the log knows of."""
    with opened(root).store.read() as session:
        return [entry.parsed["action"] for entry in audit_log.entries(session.connection(), 0)].count("collaboration.released")


def hold(root: Path, courier: Partners) -> None:
    """What must hold whenever: the log verifies, nothing is released twice; no partner paid more than it has, or less than it let out; for
    each vector that left it drew noise, once."""
    assert scenes.run("audit", "verify", env={"CONSENTRIC_WORKSPACE": str(root), UNSAFE_VARIABLE: LEADER}).code == 0
    assert releases(root) <= 1
    for place in courier.places.values():
        left = [leaving for leaving, _ in place.book.left if leaving.code is None]
        vectors = [leaving for leaving in left if leaving.step == Step.VECTOR]
        drawn = [leaving.round for leaving in left if leaving.step == Step.KEYS]
        assert {vector.path: vector.mu_squared for vector in vectors}.items() <= place.meter.spent.items()
        assert len({vector.round for vector in vectors}) == len({vector.path for vector in vectors}) == len(vectors)
        assert {vector.round for vector in vectors} <= {*drawn} and len({*drawn}) == len(drawn)
        assert sum(place.meter.spent.values(), Fraction(0)) <= place.meter.limit


def test_killed_at_random_moments_it_goes_on(tmp_path: Path) -> None:
    """Up to three kills of one run; before every other of the next runs a partner is started anew."""
    draw = random.Random(SEED)
    for name in ("here", "forked"):  # here first, so that children have imported everything
        leader(root := tmp_path / name)
        courier, began = partners(AGREED, blobs(900), SIZES), time.monotonic()
        assert name == "here" or forked(root, AGREED, courier, {}) == 0
        whole = time.monotonic() - began
        expected = run(opened(root), AGREED, courier).result.canonical()
    for number in range(MOMENTS):
        root, courier = tmp_path / str(number), partners(AGREED, blobs(900), SIZES)
        leader(root)
        both = number % 2 == 1
        moments = [draw.uniform(0, whole) for _ in range(draw.randint(1, 3))]
        try:
            for moment in moments:
                assert forked(root, AGREED, courier, {}, moment) in {-9, 0}
                hold(root, courier)
                if both:
                    draw.choice([*courier.places.values()]).start()
            ran = run(opened(root), AGREED, courier)
            hold(root, courier)
            assert releases(root) == 1 and not ran.silent
            assert both or ran.result.canonical() == expected
        except Exception as error:
            raise AssertionError(f"killed after {moments} s of {whole:.3f}, moment {number} of seed {SEED}") from error


def test_killed_at_every_failpoint_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    root, trace, courier = tmp_path / "whole", tmp_path / "trace", partners(AGREED, blobs(900), SIZES)
    leader(root)
    assert forked(root, AGREED, courier, {TRACE: str(trace)}) == 0
    points = list(dict.fromkeys(trace.read_text().split()))
    assert {name for name in names() if name.startswith(("round-intent:", "round-outcome:", "joint-", "acknowledgement:"))} <= {*points}
    expected = run(opened(root), AGREED, courier).result.canonical()
    for number, point in enumerate([*points, "answer:after-sync#5", "round-outcome:after-commit#7"]):
        root, courier = tmp_path / str(number), partners(AGREED, blobs(900), SIZES)
        leader(root)
        assert forked(root, AGREED, courier, {KILL: point}) == -9, point
        workspace = opened(root)
        ran = run(workspace, AGREED, courier)
        assert ran.result.canonical() == expected, point
        assert all(sum(place.meter.spent.values()) == place.meter.limit for place in courier.places.values()), point
        joint_passport.read(ran.passport.read_bytes(), workspace.keys.signer.verifier)
        assert releases(root) == 1 and not ran.silent, point


def test_killed_while_a_passport_takes_the_place_of_one_that_fewer_signed_for(tmp_path: Path) -> None:
    """In the order of the steps: each run goes on from where the one before it was killed, and both releases are in the log once."""
    four = agreed(4, **LOGISTIC, least_partners=3, dropouts=1)
    root, courier = tmp_path / "lead", partners(four, blobs(900), (300, 200, 200))
    leader(root)
    courier.before = lambda number, _step: courier.gone.add("p3") if number == 3 else None
    first = run(opened(root), four, courier)
    assert list(first.silent) == ["p3"]
    courier.before = lambda _number, _step: None
    courier.gone.clear()

    def again() -> None:
        run(opened(root), four, courier)

    steps = "joint-draft:before-rename", "joint-draft:after-rename", "joint-release:before-commit", "joint-release:after-commit"
    for point in (*steps, "joint-passport:before-rename", "joint-passport:after-rename", "report:before-rename"):
        assert child(again, {KILL: point}) == -9, point
        read = joint_passport.read(first.passport.read_bytes(), opened(root).keys.signer.verifier)  # always a whole one
        assert read.silent == (() if point in ("joint-passport:after-rename", "report:before-rename") else ("p3",)), point
    ran = run(opened(root), four, courier)
    assert not ran.silent and "unrecorded" not in ran.page.read_text()
    with opened(root).store.read() as session:
        released = [entry.parsed["action"] for entry in audit_log.entries(session.connection(), 0)].count("collaboration.released")
    assert released == 2


def test_a_contract_whose_signing_was_killed_is_signed_again(tmp_path: Path) -> None:
    """Whatever the moment, the file is one whole envelope or not there, and the log knows of a signature before the file has it."""
    leader(tmp_path)
    made = PartnerKeys(opened(tmp_path).keys.folder)
    made.create("p0")
    written = tmp_path / "joint.yaml"
    keys = [str(made.verifier), *(str(signer.verifier) for signer in signers(3)[1:])]
    written.write_text(yaml.safe_dump(fields(3) | {"partners": keys}))

    def draw_up() -> None:
        contracts.create(opened(tmp_path), written)

    def sign() -> None:
        contracts.sign_envelope(opened(tmp_path), "joint")

    envelope = tmp_path / "collaborations" / "joint.json"
    for point in sorted(name for name in names() if name.startswith(("collaboration:", "collaboration-file:"))):
        envelope.unlink(missing_ok=True)
        assert child(draw_up, {KILL: point}) == -9, point
        draw_up()
        assert child(sign, {KILL: point}) == -9, point
        assert "signatures" in json.loads(envelope.read_bytes())
        sign()
        assert [verifier.name for verifier in contracts.read(envelope).signed] == ["p0"], point
