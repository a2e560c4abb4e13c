"""The whole way of a joint segment, by commands: a contract drawn up, signed by three houses, run among their own people, and shown."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import yaml

from audit import joint_passport
from engine.bench import Bench
from engine.collaborations import contracts, running
from federated.contract import proposed, read_collaboration
from governance.builds import Status
from governance.principals import UNSAFE_VARIABLE
from policies.documents import digest_of
from policies.reading import DocumentError
from tests.fakes import ZeroNoise
from tests.joint import LEADER, leader, opened
from tests.partnerships import House, at_work, contract_of, courier, houses
from tests.scenes import OFFICER, Ran, Shop, run

AGES = {
    "purpose": "analytics.reporting",
    "attributes": {"age": {"meaning": "years of age at joining", "groups": ["young", "old"]}},
}


def led(root: Path, *words: str) -> Ran:
    """A command in the coordinator's workspace."""
    return run(*words, env={"CONSENTRIC_WORKSPACE": str(root), UNSAFE_VARIABLE: LEADER})


def document(made: list[House], **changed: Any) -> dict[str, Any]:
    """The contract among houses as YAML holds it."""
    plain: dict[str, Any] = contract_of(made, **changed).model_dump(mode="json", by_alias=True)
    for feature in plain["features"].values():
        feature["bounds"] = [float(end) for end in feature["bounds"]]
    return plain


@pytest.fixture(scope="module")
def three(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[House]:
    return houses(made, tmp_path_factory.mktemp("houses"), 3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    leader(tmp_path / "lead")
    return tmp_path / "lead"


def drawn_up(root: Path, plain: dict[str, Any]) -> Ran:
    file = root / "joint.yaml"
    file.write_text(yaml.safe_dump(plain, sort_keys=False))
    return led(root, "collaboration", "create", str(file), "--json")


@pytest.mark.slow
def test_three_houses_learn_together_and_each_releases_its_own(three: list[House], root: Path, tmp_path: Path) -> None:
    made = drawn_up(root, document(three))
    assert made.code == 0, made.err
    envelope, digest = made.data["file"], made.data["digest"]
    assert led(root, "collaboration", "verify", "joint").code == 3  # nobody signed yet
    assert led(root, "collaboration", "verify", "joint", "--digest", "abc").code == 2
    copies = []
    for house in three:
        copies.append(str(tmp_path / f"{house.name}.json"))
        signed = house.shop.run("collaboration", "sign", envelope, "--to", copies[-1], "--json", by=OFFICER)
        assert signed.code == 0 and signed.data["digest"] == digest and house.name in signed.data["signed"]
    assert led(root, "collaboration", "join", *copies, "--to", envelope).code == 0
    assert led(root, "collaboration", "verify", envelope, "--digest", digest).code == 0
    assert led(root, "collaboration", "verify", envelope, "--digest", "sha256:" + "0" * 64).code == 6
    for house in three:
        assert house.shop.run("partner", "join", envelope, "--digest", digest, "--segment", "groups").code == 0

    workspace = opened(root)
    agreed = contracts.of(workspace, "joint").agreed
    with at_work(three) as there:
        ran = running.run(Bench(workspace, ZeroNoise(), lambda _step: None), agreed, courier(there))
    assert not ran.silent and len(ran.result.parts) == 3
    assert ran.result.subjects.value == pytest.approx(2_400, abs=6 * ran.result.subjects.sigma)  # four in five of 3,000 consent

    passport = joint_passport.read(ran.passport.read_bytes(), workspace.keys.signer.verifier)
    for house, share in zip(three, passport.partners, strict=True):
        build = house.shop.newest("groups")
        assert build.status is Status.QUARANTINED and [part["name"] for part in build.facts["parts"]] == [p.name for p in ran.result.parts]
        kept = house.shop.root / ".consentric" / "partnerships" / "joint" / "transcript.jsonl"
        lines = kept.read_bytes().splitlines()
        assert f"sha256:{share.head}" in {digest_of(line) for line in lines}  # the head that it gave is a line of its transcript
        assert house.shop.run("approve", "groups", by=OFFICER).code == 0 and house.shop.verify() == 0
    shown = led(root, "collaboration", "status", "joint", "--json").data
    assert shown["state"] == "learned" and shown["share_charged"] == pytest.approx(1) and not shown["silent"]
    again = led(root, "collaboration", "run", "joint", "--json")  # there is nobody to ask, and no link is needed
    assert again.code == 0 and again.data["rounds"] == len(ran.result.asked) and not again.data["silent"]
    assert led(root, "audit", "verify").code == 0


CHANGES: dict[str, Any] = {
    "purpose": "personalize.profiling",
    "rounds": 201,
    "clip": 2e12,
    "max_subjects": 4_999,
    "expires": "2036-12-30",
    "cohort_floor": 1,
    "colluders": 1,
    "presence": 2,
}


def test_a_changed_field_is_another_contract_to_everybody(three: list[House], root: Path) -> None:
    made = drawn_up(root, document(three))
    for house in three:
        assert house.shop.run("collaboration", "sign", made.data["file"], by=OFFICER).code == 0
    there = contracts.read(Path(made.data["file"]))
    for field, value in CHANGES.items():
        other = drawn_up(root, document(three) | {field: value})
        assert other.code == 2 and "holds another contract" in other.err and "signed by p0, p1, p2" in other.err, field
        changed = json.loads(there.contract.canonical()) | {field: value}
        forged = json.loads(there.raw) | {"payload": b64encode(rfc8785.dumps(changed)).decode()}
        there.path.write_text(json.dumps(forged))
        assert led(root, "collaboration", "verify", "joint").code == 3, field  # under the old signatures it is signed by nobody
        assert led(root, "collaboration", "verify", "joint", "--digest", made.data["digest"]).code == 6, field
        ran = led(root, "collaboration", "run", "joint")
        assert ran.code == 2 and "not signed by" in ran.err, field
        there.path.write_bytes(there.raw)


def test_the_example_is_nearly_a_contract(three: list[House], root: Path) -> None:
    """Whoever puts keys in it has one; what it says until then names each line to change."""
    text = led(root, "collaboration", "create").out
    file = root / "mine.yaml"
    file.write_text(text)
    told = led(root, "collaboration", "create", str(file))
    said = [f"mine.yaml:{line}: partners.{place}" for place, line in enumerate((8, 9, 10))]
    assert told.code == 2 and [line.removeprefix("error: ").split(": got")[0].split("/")[-1] for line in told.err.splitlines()] == said
    assert told.err.count("as `consentric partner init` prints it at that partner") == 3
    assert "`[]`, expected 2 or more entries" in drawn_up(root, document(three) | {"partners": []}).err
    plain = yaml.safe_load(text) | {"partners": document(three)["partners"], "expires": "2036-12-31"}
    assert drawn_up(root, plain).code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "nope"), 2, "no contract `nope`"),
        (("sign", "nope"), 2, "no contract `nope`"),
        (("create", "nope.yaml"), 2, "cannot be read"),
        (("run", "nope"), 2, "no contract `nope`"),
        (("verify", "consentric.toml"), 2, "`consentric.toml`: not a DSSE envelope"),
        (("join", "nope", "consentric.toml", "--to", "x.json"), 2, "no contract `nope`"),
    ],
)
def test_what_is_not_there_is_said(root: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str) -> None:
    monkeypatch.chdir(root)
    ran = led(root, "collaboration", *words)
    assert ran.code == code and said in ran.err


def test_before_it_can_begin_each_step_says_what_comes_first(three: list[House], root: Path) -> None:
    made = drawn_up(root, document(three))
    assert led(root, "collaboration", "sign", "joint").code == 1  # the coordinator is no partner, and has no such key
    assert "waits for the signature of p0, p1, p2" in led(root, "collaboration", "status", "joint").out
    stranger = three[0].shop.run("collaboration", "sign", made.data["file"])
    assert stranger.code == 3  # an analyst does not bind the house
    for house in three:
        house.shop.run("collaboration", "sign", made.data["file"], by=OFFICER)
    assert "nobody ran it yet" in led(root, "collaboration", "status", "joint").out
    unserved = led(root, "collaboration", "run", "joint")
    assert unserved.code == 2 and "consentric collaboration serve" in unserved.err
    keyless = led(root, "collaboration", "serve", "joint")
    assert keyless.code == 2 and "collaborations/nodes/p0.pub" in keyless.err


def test_each_command_names_the_files_that_go_from_hand_to_hand(three: list[House], root: Path, tmp_path: Path) -> None:
    file = root / "joint.yaml"
    file.write_text(yaml.safe_dump(document(three)))
    told = led(root, "collaboration", "create", str(file)).out
    for words in ("hand joint.json to every partner", "in collaborations/nodes", "p0.pub, p1.pub, p2.pub", "collaborations/joint.ca.pem"):
        assert words in told, words
    copy = tmp_path / "joint.p0.json"
    signed = three[0].shop.run("collaboration", "sign", str(root / "collaborations" / "joint.json"), "--to", str(copy), by=OFFICER)
    assert "next: hand joint.p0.json back" in signed.out and "still to sign: p1, p2" in signed.out
    told = led(root, "collaboration", "join", str(copy), "--to", str(tmp_path / "signed.json")).out
    assert "whoever leads keeps it as collaborations/joint.json" in told
    assert "keeps it as collaborations/nodes/p1.pub" in three[1].shop.run("partner", "init").out


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_file_that_is_not_there_is_said_outside_a_workspace_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("collaboration", command, "nix.json")
    assert ran.code == 2 and "no file `nix.json`, and no contract of that name without a workspace" in ran.err


def test_show_says_in_words_what_is_agreed(three: list[House], root: Path) -> None:
    made = drawn_up(root, document(three, colluders=1, presence=2, cohort_floor=50, fairness=AGES))
    said = led(root, "collaboration", "show", made.data["file"]).out
    for words in (
        "p0: has not signed yet",
        "up to 1 partner of 3",
        "may be at 2 partners",
        "fewer than 50",
        "training:",
        "fairness by age: years of age at joining: young, old",
        "where a group is chosen at least 80% as often as any other",
        "read for that: for analytics.reporting alone",
        "how groups fare, and how well features would tell them:",
        "a partner charges 6 times what the noise of a sum says",
        made.data["digest"],
    ):
        assert words in said, words
    shares = [each["share"] for each in made.data["prices"]]
    assert sum(shares) == pytest.approx(1)


def test_policy_check_and_schema_know_contracts(root: Path, three: list[House]) -> None:
    folder = root / "collaborations"
    folder.mkdir()
    (folder / "good.yaml").write_text(yaml.safe_dump(document(three)))
    (folder / "bad.yaml").write_text(yaml.safe_dump(document(three) | {"rounds": 0}))
    checked = led(root, "policy", "check", "--json")
    states = {each["document"]: each["state"] for each in checked.data["documents"]}
    assert states["collaborations/good.yaml"] == "ok" and "rounds: got `0`, expected at least 1" in states["collaborations/bad.yaml"]
    assert led(root, "schema", "collaboration").data["properties"]["cohort_floor"]["minimum"] == 0
    with pytest.raises(DocumentError, match="expected `collaboration`"):
        read_collaboration(b"kind: segment\n", "x.yaml")


def test_an_expired_contract_is_not_drawn_up(three: list[House], root: Path) -> None:
    told = drawn_up(root, document(three, expires="2020-01-01"))
    assert told.code == 2 and "expires: got `2020-01-01`" in told.err


def test_a_contract_over_another_grid_is_not_signed(three: list[House], tmp_path: Path) -> None:
    """Whoever drew it up did so with another release: nobody here could take part in it."""
    file = tmp_path / "joint.json"
    file.write_bytes(proposed(contract_of(three, grid={"feature": 1024})))
    ran = three[0].shop.run("collaboration", "sign", str(file), by=OFFICER)
    assert ran.code == 2 and "`grid.feature` is `1024`, expected `32768`" in ran.err
    named = {entry["facts"]["contract"] for entry in three[0].shop.log() if entry["action"] == "collaboration.signed"}
    assert not contracts.read(file).signed and contracts.read(file).digest not in named


def test_copies_are_joined_without_a_workspace(three: list[House], root: Path, tmp_path: Path) -> None:
    made = drawn_up(root, document(three))
    whole = tmp_path / "whole.json"
    joined = run("collaboration", "join", made.data["file"], "--to", str(whole), env={"CONSENTRIC_WORKSPACE": str(tmp_path / "nowhere")})
    assert joined.code == 0 and whole.is_file()
