"""Who moved: the people of today by the segment that the model of the last build puts them in, and by the one of this build.

One paid table: a subject adds 1 to one slot, L2 sensitivity 1 under add/remove neighbours. Where somebody was is not looked up in
the list of the last build: that list stands on the consent of then, holds people who may not be used today, and would make a
statistic of two days, with more people in it than may be asked about. Instead the last *released* model is applied to the features
of today, which everybody could do. So a row of the table tells how the people of today would lie in the old segments; how these
changed in size since then is told by the sizes that were released then.

Not here: which segments are the same (`engine.lineage`), what distributions do (`engine.drift`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.explanation_page import Movement, Named
from engine import models
from engine.assess import counted, ones
from engine.lineage import Last
from engine.scale import UNIT, Scale
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource
from policies.segment import Segment

SHARE = 2.0
"""Share of a build's μ², beside 100 for everything else, where there is a last release to compare with."""


def comparable(last: Last | None, spec: Segment) -> bool:
    """Whether the last release may be applied to what a build reads: released still, for the same purpose, of the same features."""
    if last is None or not last.serves:
        return False
    same = len(last.same(spec)) == len(spec.features) == len(last.spec.features)
    return same and (last.spec.purpose, last.spec.dataset) == (spec.purpose, spec.dataset)


def origins(last: Last, features: NDArray[np.int32], scales: Mapping[str, Scale], then: Mapping[str, Scale]) -> NDArray[np.int64]:
    """(n_subjects,) the part that the last release puts each in, below 0 none. `features` on `scales`, in the order of these;
    `then`: how features met the grid at the last build."""
    places = {name: place for place, name in enumerate(scales)}
    columns = [_moved(features[:, places[name]], scales[name], then[name]) for name in last.order]
    return models.parts_of(last.model, np.stack(columns, axis=1))


def movement(cohort: Cohort, last: Last, parts: Sequence[Named], grant: Grant, noise: NoiseSource) -> Movement:
    """The table. Reads `origin` and `segment` (n_subjects,), below 0 none."""
    rows, columns = len(last.parts) + 1, len(parts) + 1
    shape = {"shape": np.array([float(rows), float(columns)])}
    found = counted(cohort, "movement.table", shape, (1, rows * columns), grant, noise, Part.ALL)
    table = found.values[0].reshape(rows, columns)
    counts = tuple(tuple(float(value) for value in row) for row in table)
    return Movement(last.parts, tuple(parts), counts, found.sigma, last.sizes, last.sizes_sigma)


def _moved(column: NDArray[np.int32], here: Scale, there: Scale) -> NDArray[np.int32]:
    """Points of one scale as those of another, by a table."""
    if here == there:
        return column
    table = there.encode(here.decode(np.arange(-UNIT, UNIT + 1, dtype=np.float64)))
    return np.asarray(table[column + UNIT], dtype=np.int32)


@register("movement.table")
def _table(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """The cell of each subject; whoever is in no part has the last row or column."""
    rows, columns = parameters["shape"]
    origin, segment = batch["origin"], batch["segment"]
    row = np.where((origin >= 0) & (origin < rows - 1), origin, rows - 1)
    return ones(row * columns + np.where((segment >= 0) & (segment < columns - 1), segment, columns - 1))
