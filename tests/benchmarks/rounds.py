"""How long a secure round takes over the network, what an agent weighs, and Flower's own secure aggregation beside it.

Ten agents in processes of their own with sums of 100,000 numbers over TLS on loopback: a round is two exchanges, and its noise is drawn
before it opens, and told beside. Then 100 partners with 1,000 numbers in this process. The peer is SecAgg+ as Flower ships it (its legacy
workflow and modifier), in this process without network, waits or noise: over a SuperLink its grid alone waits 3 s in each of four steps.
Run with `python -m tests.benchmarks.rounds [ROUNDS]` (default 5).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import logging

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
from flwr.compat.common import recorddict_compat
from flwr.server import LegacyContext
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from federated.courier import Courier
from federated.messages import Terms
from federated.questions import Asked
from federated.rounds import conduct
from tests.agents import contract, grant_of, question
from tests.benchmarks import virtual
from tests.links import line

AGENTS, SIZE = 10, 100_000
MANY, NARROW = 100, 1_000
FEWER = 30
"""Nodes of the peer with as narrow sums: with every other as a neighbour it takes eleven times as long for 100."""


def seconds(n: int, size: int, over: Courier, number: int) -> float:
    """One round."""
    agreed = contract(n)
    began = time.perf_counter()
    summed = conduct(Terms.of(agreed), agreed.digest, Asked(number, question(size), grant_of(agreed, number)), over)
    took = time.perf_counter() - began
    assert len(summed.alive) == n
    return took


def told(name: str, spent: Sequence[float]) -> None:
    print(f"{name}: {statistics.median(spent):.2f} s a round, median of {len(spent)} ({min(spent):.2f} to {max(spent):.2f})", flush=True)


def over_tls(folder: Path, rounds: int) -> None:
    """Agents, with the noise of each round drawn before it; the first round is not counted."""
    at, spent, drawn = line(folder, AGENTS), list[float](), list[float]()
    with at.link, at.courier(seconds=600.0) as over, at.agents(["desk", str(AGENTS), str(SIZE)]):
        before = weights(over, at.keys)
        for number in range(1, rounds + 2):
            began = time.perf_counter()
            assert len(over.exchange(dict.fromkeys(at.keys, b"draw %d" % number))) == AGENTS
            drawn.append(time.perf_counter() - began)
            spent.append(seconds(AGENTS, SIZE, over, number))
        after = weights(over, at.keys)
    told(f"{AGENTS} agents × {SIZE:,} over TLS", spent[1:])
    print(f"noise of a round, before it opens: {statistics.median(drawn[1:]):.1f} s for all {AGENTS} on {os.cpu_count()} cores")
    (ready, _), (summed, peak) = before, after
    print(f"an agent has {ready:.0f} MB resident, and {summed:.0f} MB once it drew noise and summed, {peak:.0f} MB at most", flush=True)


def weights(over: Courier, names: Iterable[str]) -> tuple[float, float]:
    """MB of the heaviest agent, now and at most so far."""
    told = [tuple(map(float, each.split())) for each in over.exchange(dict.fromkeys(names, b"rss")).values()]
    return max(now for now, _ in told), max(peak for _, peak in told)


class Here(Grid):
    """Nodes in this process, each with Flower's modifier around a client that gives back zeros."""

    def __init__(self, nodes: int, size: int) -> None:
        state = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={})
        self._contexts = {node: replace(state, node_id=node, state=RecordDict()) for node in range(1, nodes + 1)}
        self._update = ndarrays_to_parameters([np.zeros(size, np.float32)])

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Each is answered at once; nodes change what they get, so each gets its own."""
        return [secaggplus_mod(deepcopy(each), self._contexts[each.metadata.dst_node_id], self._fitted) for each in messages]

    def _fitted(self, message: Message, _context: Context) -> Message:
        result = FitRes(Status(Code.OK, ""), self._update, num_examples=1, metrics={})
        return Message(recorddict_compat.fitres_to_recorddict(result, keep_input=True), reply_to=message)

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any: ...

    def create_message(self, *_: Any, **__: Any) -> Any: ...

    def get_node_ids(self) -> list[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Any: ...

    def pull_messages(self, message_ids: Iterable[str]) -> Any: ...


def peer(nodes: int, size: int, rounds: int) -> None:
    """SecAgg+ with every node a neighbour of every other, as ours is."""
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    spent = []
    for number in range(1, rounds + 1):
        grid = Here(nodes, size)
        context = LegacyContext(
            Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}),
            strategy=FedAvg(min_fit_clients=nodes, min_available_clients=nodes),
        )
        for node in grid.get_node_ids():
            context.client_manager.register(GridClientProxy(node, grid, 1))
        context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: number})
        context.state.array_records[MAIN_PARAMS_RECORD] = ArrayRecord([np.zeros(size, np.float32)])
        began = time.perf_counter()
        SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=0.6, max_weight=1.0)(grid, context)
        spent.append(time.perf_counter() - began)
        assert np.abs(context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()[0]).max() < 0.1
    told(f"Flower's SecAgg+, {nodes} nodes × {size:,} in one process", spent)


def main() -> None:
    """All figures."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        over_tls(Path(folder), rounds)
    virtual.main(MANY, NARROW, rounds)
    peer(AGENTS, SIZE, rounds)
    peer(FEWER, NARROW, 1)


if __name__ == "__main__":
    main()
