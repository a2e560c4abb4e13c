"""Deep models: gradients are right, whole numbers say what the network said, and nothing but noisy sums is learned from."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from engine.models import Explained, Partition, Scorer, released
from engine.scale import UNIT
from engine.trainers import clusters
from engine.trainers.deep import autoencoder, dense, gradients, network, terms
from engine.trainers.deep.autoencoder import Embedded
from engine.trainers.deep.dense import Shape
from engine.trainers.deep.descent import TOLD, standardised
from engine.trainers.partitions import Parts
from engine.trainers.probabilities import logistic
from governance.blocks import Sampled
from governance.door import Array, LocalCohort, MemoryMeter, ReservationId, registered
from governance.sampling import LocalSampler, MemorySampledMeter, SampledGrant
from tests.fakes import SeededNoise, ZeroNoise

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(terms.missing()), reason="the extra `deep` is not installed")]

NETWORK, CODER = Shape((6, 8, 1)), Shape((6, 5, 2, 5, 6))


def columns(n: int, seed: int = 0) -> dict[str, Any]:
    """A label that is no weighted sum of features, and two groups."""
    generator = np.random.default_rng(seed)
    side = generator.choice([-0.5, 0.5], (n, 1))
    x = np.clip(generator.normal(0, 0.25, (n, 6)) + side * [1, 1, 1, 0, 0, 0], -1, 1)
    label = (x[:, 3] * x[:, 4] > 0).astype(np.int8)
    return {"features": np.rint(x * UNIT).astype(np.int32), "label": label, "part": generator.choice([1, 2], n).astype(np.int8)}


def fitted(
    fit: Callable[..., Any], shape: Shape, given: dict[str, Any], noise: Any, steps: int = 6, multiplier: float = 0.5
) -> tuple[Any, list[str], MemoryMeter]:
    drawn = Sampled(Fraction(1, 4), multiplier, steps, shape.size, 400)
    sampler = LocalSampler(given, SampledGrant(ReservationId("m"), drawn), MemorySampledMeter())
    meter = MemoryMeter(Fraction(1, 10))
    said: list[str] = []
    return fit(LocalCohort(given, meter), sampler, shape, meter.grant(), noise, said.append, seed=0), said, meter


@pytest.mark.parametrize(("step", "shape"), [(gradients.NETWORK, NETWORK), (gradients.AUTOENCODER, CODER)])
def test_gradients_are_those_of_the_loss_of_each_subject(step: Any, shape: Shape) -> None:
    given = columns(7)
    frame = standardised(np.zeros(6), np.full(6, UNIT / 4))
    weights = shape.start(np.random.default_rng(1))
    batch = {name: np.asarray(column, dtype=np.float64) for name, column in given.items()}

    def losses(at: Array) -> Array:
        rows = np.clip((batch["features"] / UNIT - frame["mean"]) @ frame["matrix"], -gradients.FARTHEST, gradients.FARTHEST)
        values, layers = rows, shape.layers(at)
        for layer in layers[:-1]:
            values = np.tanh(values @ layer[:-1] + layer[-1])
        out = values @ layers[-1][:-1] + layers[-1][-1]
        if step == gradients.AUTOENCODER:
            return np.asarray(((out - rows) ** 2).mean(axis=1))
        return np.asarray(np.logaddexp(0, out[:, 0]) - batch["label"] * out[:, 0])

    found = registered()[step](batch, {"weights": weights, "widths": np.array(shape.widths, dtype=np.float64)} | frame).values
    assert found.shape == (7, shape.size)
    for place in range(0, shape.size, 5):
        nudge = np.zeros(shape.size)
        nudge[place] = 1e-5
        assert found[:, place] == pytest.approx((losses(weights + nudge) - losses(weights - nudge)) / 2e-5, abs=2e-4)


def test_whole_numbers_say_what_the_network_said_in_any_batches() -> None:
    generator = np.random.default_rng(3)
    layers = Shape((6, 8, 3)).layers(Shape((6, 8, 3)).start(generator) * 2)
    features = columns(5000)["features"]
    exact = np.tanh(np.tanh(features / UNIT @ layers[0][:-1] + layers[0][-1]) @ layers[1][:-1] + layers[1][-1])
    found = dense.hidden(features, dense.whole(layers))
    assert np.abs(found / UNIT - exact).max() < 4e-3
    assert np.array_equal(np.concatenate([dense.hidden(each, dense.whole(layers)) for each in np.array_split(features, 7)]), found)
    assert np.abs(dense.hidden(np.full((1, 6), UNIT), [np.full((7, 3), dense.MAX_WEIGHT)])).max() == UNIT


def test_a_first_layer_takes_rows_of_the_grid_instead_of_framed_ones() -> None:
    frame = standardised(np.array([100.0, -3000.0, 0, 0, 5, 6]), np.linspace(1000, 9000, 6))
    features = columns(20)["features"] / UNIT
    first = NETWORK.layers(NETWORK.start(np.random.default_rng(1)))[0]
    framed = (features - frame["mean"]) @ frame["matrix"] @ first[:-1] + first[-1]
    taken = dense.unframed(first, frame["mean"], frame["matrix"])
    assert features @ taken[:-1] + taken[-1] == pytest.approx(framed)


def test_a_network_learns_what_no_weighted_sum_can() -> None:
    from sklearn.metrics import roc_auc_score

    given, held = columns(4000), columns(1000, seed=1)
    found, _, _ = fitted(network.fit, NETWORK, given, SeededNoise(0), steps=200, multiplier=0.2)
    assert roc_auc_score(held["label"], found.score(held["features"])) > 0.8


def test_a_network_promises_what_it_keeps() -> None:
    """Uncalibrated, gradients that are clipped so short would promise far too much."""
    given, held = columns(6000), columns(3000, seed=1)
    given["label"], held["label"] = (
        (np.random.default_rng(n).random(n) < 0.2 + 0.6 * (each["features"][:, 0] > 0)).astype(np.int8)
        for n, each in ((6000, given), (3000, held))
    )
    found, _, _ = fitted(network.fit, NETWORK, given, SeededNoise(0), steps=150, multiplier=0.2)
    scores = found.score(held["features"]) / (1 << 16)
    for low, high in ((0.0, 0.5), (0.5, 1.0)):
        chosen = (scores >= low) & (scores < high)
        assert held["label"][chosen].mean() == pytest.approx(scores[chosen].mean(), abs=0.05)
    assert scores.max() < 0.95


def test_a_network_is_explained_by_contributions_that_add_up() -> None:
    found, _, _ = fitted(network.fit, NETWORK, columns(400), SeededNoise(0), steps=20)
    assert isinstance(found, Explained)
    features = columns(30)["features"]
    added = found.contributions(features).sum(axis=1) + found._log_odds(found.mean[None, :])
    assert logistic(added) == pytest.approx(found.score(features) / (1 << 16), abs=3e-3)
    curves = found.curves()
    assert curves.shape == (6, 16) and np.isfinite(curves).all()
    moved = np.tile(found.mean, (1, 1))
    moved[0, 2] = UNIT * 15 / 16
    assert curves[2, -1] == pytest.approx(found.contributions(moved)[0, 2], abs=2e-3)


def test_an_embedding_and_clusters_on_it_are_one_partition_of_features() -> None:
    given = columns(3000)
    embedding, _, _ = fitted(autoencoder.fit, CODER, given, SeededNoise(0), steps=60, multiplier=0.2)
    shown = embedding.apply(given["features"])
    assert shown.shape == (3000, 2) and np.abs(shown).max() <= UNIT
    meter = MemoryMeter(Fraction(1))
    cohort = LocalCohort(given | {"features": shown}, meter)
    clustered = clusters.fit(cohort, 2, meter.grant(), SeededNoise(1), lambda _: None, 0)
    found = Embedded(embedding, clustered.model)
    assert isinstance(found, Parts) and isinstance(found, Partition)
    parts = found.assign(given["features"])
    assert np.array_equal(parts, clustered.model.assign(shown))
    side = given["features"][:, :3].sum(axis=1) > 0
    assert max(np.mean(parts == side), np.mean(parts != side)) > 0.9
    low, high = sorted(found.centres[:, :3].sum(axis=1))
    assert low < -UNIT / 2 and high > UNIT / 2  # told in features, not in embeddings
    step, parameters = found.question()
    counted = registered()[step](given, parameters)  # type: ignore[index]
    assert np.array_equal(counted.slots, parts)


@pytest.mark.parametrize(("fit", "shape"), [(network.fit, NETWORK), (autoencoder.fit, CODER)])
def test_models_come_back_from_their_facts(fit: Any, shape: Shape) -> None:
    given = columns(500)
    found, _, _ = fitted(fit, shape, given, SeededNoise(0))
    if isinstance(found, Scorer):
        again = released(found.facts())
        assert isinstance(again, Scorer) and np.array_equal(again.score(given["features"]), found.score(given["features"]))
        return
    meter = MemoryMeter(Fraction(1))
    cohort = LocalCohort(given | {"features": found.apply(given["features"])}, meter)
    partition = Embedded(found, clusters.fit(cohort, 2, meter.grant(), SeededNoise(1), lambda _: None, 0).model)
    again = released(partition.facts())
    assert isinstance(again, Embedded)
    assert np.array_equal(again.assign(given["features"]), partition.assign(given["features"]))
    assert np.array_equal(again.centres, partition.centres)
    with pytest.raises(ValueError, match="expected a partition behind an embedding, got `logistic`"):
        Embedded.of(partition.facts() | {"model": {"kind": "logistic"}}, lambda _: object())


@pytest.mark.parametrize(("fit", "shape"), [(network.fit, NETWORK), (autoencoder.fit, CODER)])
def test_progress_and_spending_do_not_depend_on_the_population(fit: Any, shape: Shape) -> None:
    for noise in (SeededNoise(2), ZeroNoise()):
        told = []
        for n in (0, 1, 900):
            found, said, meter = fitted(fit, shape, columns(n), noise, steps=20)
            assert sum(meter.spent.values()) == meter.limit
            assert all(np.isfinite(layer).all() for layer in found.layers)
            told.append(said)
        assert told[0] == told[1] == told[2]
        assert len(told[0]) == TOLD + (2 if shape is NETWORK else 1)


def test_terms_are_public() -> None:
    assert [terms.rate(subjects) for subjects in (100, 65_536)] == [terms.MOST_RATE] * 2
    assert terms.rate(10_000_000) * 10_000_000 == pytest.approx(terms.MOST_SAMPLED, rel=1e-5)
    assert terms.autoencoder(60, 4).size == 61 * 24 + 25 * 4 + 5 * 24 + 25 * 60
