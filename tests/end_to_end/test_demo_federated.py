"""The demo of partners in small, over a real link, with a proxy before every agent: what it shows, and every byte that left."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from engine import release
from engine.demo import beside, data, together
from engine.demo.agents import Reached
from engine.demo.data import DemoDataError, package_file
from engine.demo.dealing import PARTNERS
from engine.demo.run import ANALYST
from engine.display import Display
from engine.partners import participation, places
from engine.workspace import Workspace
from federated import transcript
from federated.contract import agreed
from federated.transcript import Verified
from governance.principals import UNSAFE_VARIABLE
from policies.documents import digest_of
from tests import traffic
from tests.proxy import Recorded, recording

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'click.utils.get_binary_stream' is deprecated:DeprecationWarning"),  # by what Flower's CLI imports
]

CUSTOMERS, NAME = 3000, "joint_shoppers"


def write_small(folder: Path) -> None:
    """Some of CDNOW's customers, under numbers as long as those of cards, which nothing else looks like."""
    data.write_cdnow(folder)
    table = pq.read_table(folder / "purchases.parquet")
    names = sorted(set(table["customer_id"].to_pylist()))[:CUSTOMERS]
    cards = [str(card) for card in np.random.default_rng(6).choice(9 * 10**15, len(names), replace=False) + 10**15]
    table = table.filter(pc.is_in(table["customer_id"], pa.array(names)))
    renamed = pc.replace_with_mask(table["customer_id"], [True] * len(table), pa.array(_looked_up(table, names, cards)))
    pq.write_table(table.set_column(0, "customer_id", renamed), folder / "purchases.parquet")
    data.write_consents(sorted(cards), folder / "consents.parquet", seed=3)


def _looked_up(table: pa.Table, names: list[str], cards: list[str]) -> list[str]:
    found = dict(zip(names, cards, strict=True))
    return [found[name] for name in table["customer_id"].to_pylist()]


@dataclass(frozen=True)
class Shown:
    """A demo that ran: what it printed, and what was recorded of each partner."""

    folder: Path
    data: dict[str, Any]
    text: str
    records: dict[str, Recorded]

    def partner(self, name: str) -> Workspace:
        return Workspace.find(self.folder / "cdnow" / name, {UNSAFE_VARIABLE: ANALYST}).open()

    def transcript(self, name: str) -> Verified:
        """As anybody verifies it, with the file and the key in the contract."""
        workspace = self.partner(name)
        envelope = participation.find(workspace, NAME)
        key = next(each for each in agreed(envelope.envelope, envelope.contract).contract.identities if each.name == name)
        return transcript.verify((places.folder(workspace, NAME) / places.TRANSCRIPT).read_bytes(), key)

    def sent(self, name: str) -> bytes:
        return b"".join(map(bytes, self.records[name].sent))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    try:
        package_file("lifetimes", "datasets", "CDNOW_master.txt")
    except DemoDataError as error:
        pytest.skip(str(error))
    pytest.importorskip("flwr")
    from federated.flower.certificates import keep_server

    folder, records = tmp_path_factory.mktemp("federated"), dict[str, Recorded]()
    theirs = keep_server(folder / "proxy", "the test's own authority", ["127.0.0.1"], dt.datetime.now(dt.UTC))
    with ExitStack() as stack:

        def line(partner: str, link: Reached) -> Reached:
            records[partner] = stack.enter_context(recording(theirs.certificate, theirs.key, link.address, link.ca))
            return Reached(records[partner].address, theirs.ca)

        told, text = together.run(folder / "demo", Display(False), (replace(together.SCENES[0], write=write_small),), line)
    yield Shown(folder / "demo", told, text, records)


def test_the_joint_segment_is_shown_beside_the_central_one_with_what_left(shown: Shown) -> None:
    (scene,) = shown.data["scenes"]
    assert 0.3 < scene["ari"] <= 1  # so few customers are noise enough to differ; the demo's own have above 0.9
    assert Path(scene["report"]).is_file()
    assert scene["report"] in shown.text
    for partner in PARTNERS:
        left = scene["left"][partner]
        assert left["transcript"] == "verified"
        assert left["refusals"] == 0
        assert left["epsilon"] == pytest.approx(1.0, abs=1e-3)
        assert re.search(rf"^{partner} +{left['rounds']} +{left['messages']} +{left['bytes']:,} ", shown.text, re.MULTILINE)
    assert "generated" in shown.text


def test_a_second_run_spends_nothing_and_says_the_same(shown: Shown) -> None:
    heads = [shown.transcript(partner).head for partner in PARTNERS]
    again, _ = together.run(shown.folder, Display(False), (replace(together.SCENES[0], write=write_small),))
    assert again == shown.data
    assert heads == [shown.transcript(partner).head for partner in PARTNERS]


@pytest.mark.parametrize("partner", PARTNERS)
def test_every_byte_that_a_partner_sent_is_in_its_transcript_or_a_named_header(shown: Shown, partner: str) -> None:
    """What is between payloads is read strictly by `tests.traffic`."""
    found = shown.transcript(partner)
    assert found.findings == ()
    assert found.ended
    payloads = traffic.payloads(shown.records[partner])
    said = {(entry.left.payload, entry.left.size) for entry in found.entries if entry.left.size}
    assert {(digest_of(payload), len(payload)) for payload in payloads} == said
    assert len(said) > 20


@pytest.mark.parametrize("place", ["in a header", "in a field", "in a field that nobody knows", "in a payload"])
def test_a_byte_that_is_nowhere_named_is_noticed(shown: Shown, place: str) -> None:
    sent = next(bytes(each) for each in shown.records["north"].sent if b"push-messages" in each)
    head, body = _first(sent, b"/v1/fleet/push-messages")
    traffic.payloads(Recorded(sent=[bytearray(head + body)]))
    match place:
        case "in a header":
            head = head[:-2] + b"x-customer: 4111111111111111\r\n\r\n"
        case "in a field":
            body = body.replace(b"query", b"quern")
        case "in a field that nobody knows":
            body += b"\xfa\x06\x0241"
        case _:
            body = body.replace(b"hello", b"hella")
    head = re.sub(rb"content-length: [0-9]+", b"content-length: %d" % len(body), head, flags=re.IGNORECASE)
    with pytest.raises(AssertionError):
        traffic.payloads(Recorded(sent=[bytearray(head + body)]))


def _first(sent: bytes, path: bytes) -> tuple[bytes, bytes]:
    """Head and body of the first request of a path."""
    rest = sent[sent.index(b"POST " + path) :]
    head, blank, after = rest.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", head, re.IGNORECASE)
    assert length is not None
    return head + blank, after[: int(length[1])]


@pytest.mark.parametrize("partner", PARTNERS)
def test_no_identifier_and_no_value_of_a_partners_data_is_in_what_it_sent(shown: Shown, partner: str) -> None:
    """Not as text, and not as a number of eight bytes in either order; neither are pseudonyms, dates, or the vectors on the grid."""
    needles = _needles(shown, partner)
    sent = shown.sent(partner)
    assert len(needles) > 10_000
    assert len(sent) > 20_000
    assert traffic.found(needles, sent) == set()
    for needle in (needles[0], needles[len(needles) // 2], needles[-1]):  # the search finds what is there, wherever it stands
        for middle in (1, len(sent) // 2 + 3, len(sent)):
            assert traffic.found(needles, sent[:middle] + needle + sent[middle:]) >= {needle}


def _needles(shown: Shown, partner: str) -> list[bytes]:
    workspace = shown.partner(partner)
    table = pq.read_table(workspace.root / "data" / "purchases.parquet")
    cards = sorted(set(table["customer_id"].to_pylist()))
    numbers = chain.from_iterable((int(card).to_bytes(8, "little"), int(card).to_bytes(8, "big")) for card in cards)
    amounts = {float(amount) for amount in table["amount"].to_pylist() if amount % 1}  # 30.0 is how often Flower's heart beats
    days = {str(day) for day in table["bought_on"].to_pylist()}
    pseudonyms = [row["pseudonym"] for row in release.members(workspace, "shoppers")]
    envelope = participation.find(workspace, NAME)
    contract = agreed(envelope.envelope, envelope.contract).contract
    vectors = beside.everybody(workspace.root / "data", beside.CUSTOMERS, contract).features
    return [
        *(card.encode() for card in cards),
        *numbers,
        *(np.array(amount, kind).tobytes() for amount in amounts for kind in ("<f8", ">f8")),
        *(day.encode() for day in days),
        *(pseudonym.encode() for pseudonym in pseudonyms),
        *(bytes.fromhex(pseudonym) for pseudonym in pseudonyms),
        *{vector.astype(kind).tobytes() for vector in vectors for kind in ("<i4", "<i8", "<f8")},
    ]
