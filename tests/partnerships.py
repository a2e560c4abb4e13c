"""Shops that take part in collaborations, each in a workspace of its own, and the contract among them: shared by tests of partners.

All begin as one template, of whose customers each shop has a share. Messages go from hand to hand in this process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine import assess
from engine.bench import Bench
from engine.collaborations import contracts
from engine.outcome import JointPart, Outcome
from engine.partners import identity, joining
from engine.partners.participation import Participation, taking_part
from federated.contract import Agreed, Collaboration, agreed, join, sign
from federated.courier import InProcess
from governance.door import Cohort, Grant
from governance.noise import NoiseSource
from policies.segment import Segment
from tests.collaborations import signers
from tests.fakes import SeededNoise, ZeroNoise
from tests.scenes import GROUPS, SUBJECTS, Shop

NAME = "joint"


@dataclass(frozen=True)
class House:
    """One shop, and who it is to the others."""

    shop: Shop
    name: str

    def participation(self, noise: NoiseSource) -> Any:
        """At work, in this process."""
        return taking_part(Bench(self.shop.workspace(), noise, lambda _step: None), NAME)


def houses(template: Shop, folder: Path, count: int = 2) -> list[House]:
    """Copies of a template, each with its share of the customers and with keys."""
    made = []
    for place in range(count):
        shop = template.copy(folder / f"p{place}" / "shop")
        mine = SUBJECTS[place::count]
        file = shop.root / "data" / "purchases.parquet"
        table = pq.read_table(file)
        pq.write_table(table.filter(pc.is_in(table["customer"], pa.array(mine, pa.string()))), file)
        identity.make(shop.workspace(), f"p{place}")
        made.append(House(shop, f"p{place}"))
    return made


def contract_of(made: Sequence[House], spec: Mapping[str, Any] = GROUPS, **changed: Any) -> Collaboration:
    """What a segment spec says, as a contract among houses."""
    read = Segment.model_validate_json(json.dumps({**spec, "as_of": str(spec["as_of"])}))
    features = {
        name: {"meaning": name, "bounds": [str(end) for end in feature.bounds], "scale": feature.scale}
        for name, feature in read.features.items()
    }
    fields: dict[str, Any] = {
        "name": NAME,
        "purpose": read.purpose,
        "partners": [str(identity.keys(house.shop.workspace()).verifier) for house in made],
        "features": features,
        "model": read.model.model_dump(mode="json"),
        "clip": 1e12,
        "privacy": read.asked.model_dump(mode="json"),
        "rounds": 200,
        "max_subjects": 5000,
        "least_partners": len(made),
        "expires": "2036-12-31",
    }
    return Collaboration.model_validate_json(json.dumps(fields | changed), strict=True)


def signed(made: Sequence[House], contract: Collaboration) -> bytes:
    """By everybody."""
    return join(sign(contract, identity.signer(house.shop.workspace())) for house in made)


def joined(made: Sequence[House], segment: str = "groups", **changed: Any) -> Agreed:
    """A contract that every house joined."""
    contract = contract_of(made, **changed)
    envelope = signed(made, contract)
    for house in made:
        joining.join(house.shop.workspace(), envelope, contract.digest(), segment)
    return agreed(envelope, contract.digest())


@contextmanager
def at_work(made: Sequence[House], noise: NoiseSource | None = None) -> Iterator[dict[str, Participation]]:
    """All of them, by name."""
    with ExitStack() as stack:
        yield {house.name: stack.enter_context(house.participation(noise or SeededNoise(place))) for place, house in enumerate(made)}


def courier(there: Mapping[str, Participation]) -> InProcess:
    """Between them and a coordinator."""
    return InProcess({name: each.answer for name, each in there.items()})


def how_many(cohort: Cohort, grant: Grant) -> float:
    """Subjects in all shops, by a question of its own."""
    return float(assess.subjects(cohort, grant, ZeroNoise()).values[0])


def outcome(cohort_of: Sequence[str] = ("low", "middle", "high")) -> Outcome:
    """Parts by recency alone, as if partners had learned them: centres on one feature, for three features in order."""
    centres = [[0, at, 0] for at in (-30000, 0, 30000)]
    parts = [
        JointPart(id=f"S{number}", name=name, description=f"the {name} ones", size=800.0, sigma=9.0, share=1 / 3, withheld=False)
        for number, name in enumerate(cohort_of)
    ]
    model = {"kind": "centres", "centres": centres, "prototypes": centres, "weights": [1.0, 1.0, 1.0]}
    return Outcome(model=json.loads(json.dumps(model)), parts=parts, headline="three by recency", utility={"silhouette": 0.5})


def drawn_up(shop: Shop) -> None:
    """A contract with somebody who is not here, drawn up in this workspace, signed by both, and joined: no round was begun."""
    other, me = signers(1)[0], identity.make(shop.workspace())
    plain = contract_of([], partners=[str(me.verifier), str(other.verifier)], least_partners=2).model_dump(mode="json", by_alias=True)
    for feature in plain["features"].values():
        feature["bounds"] = [float(end) for end in feature["bounds"]]
    (shop.root / "collaborations").mkdir()
    shop.write("collaborations", plain)
    made = contracts.create(shop.workspace(), shop.root / "collaborations" / "joint.yaml")
    made.path.write_bytes(join([sign(made.contract, other), sign(made.contract, me.signer)]))
    assert shop.run("partner", "join", str(made.path), "--digest", made.digest, "--segment", "groups").code == 0
