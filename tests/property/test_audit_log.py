"""However entries come in batches and whenever a head is published, there is one history, and every proof of it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit import log
from audit.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from tests.evidence import Evidence

batches = st.lists(st.tuples(st.lists(st.binary(max_size=40), max_size=9), st.booleans()), max_size=6)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches)
def test_one_history(tmp_path: Path, batches: list[tuple[list[bytes], bool]]) -> None:
    for name in ("log.db", "checkpoint"):
        (tmp_path / name).unlink(missing_ok=True)
    evidence = Evidence(tmp_path)
    evidence.publish()
    heads, bodies = [], list[bytes]()
    for batch, publish in batches:
        assert evidence.add(*batch, publish=publish) == len(bodies)
        bodies += batch
        head = evidence.file.read()
        assert head is not None
        heads.append(head)
    leaves = [leaf_hash(body) for body in bodies]
    with evidence.read() as connection:
        assert [entry.body for entry in log.entries(connection)] == bodies
        for head in heads:
            log.check_against(connection, head)
            assert head.root == root_of(leaves[: head.size])
            if head.size:
                proof = log.consistency_proof(connection, head.size, len(bodies))
                verify_consistency(head.size, len(bodies), proof, head.root, root_of(leaves))
            for index in range(head.size):
                verify_inclusion(index, head.size, leaves[index], log.inclusion_proof(connection, index, head.size), head.root)
    report = evidence.verify()
    assert (report.findings, report.entries, report.covered) == ((), len(bodies), heads[-1].size if heads else 0)
