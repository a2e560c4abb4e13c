"""Evidence as files: who may have it, what the log says of it, and that the log's own export can be hashed again by anybody."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from tests.scenes import ADS, ANALYST, AUDITOR, FAIR, GROUPS, OFFICER, POLICY, SUBJECTS, Shop

KINDS = (
    ("art30", ".json"),
    ("art30", ".html"),
    ("art30", ".csv"),
    ("dpia", ".html"),
    ("lineage", ".jsonl"),
    ("log", ".jsonl"),
    ("log", ".csv"),
)


def export(shop: Shop, kind: str, to: Path, *words: str, by: str = OFFICER) -> Path:
    ran = shop.run("audit", "export", kind, "--to", str(to), *words, by=by)
    assert ran.code == 0, ran.err
    return to


# -- what leaves, and how ------------------------------------------------------------------------------------------------


def test_every_kind_is_in_the_log_twice_and_names_nobody(out: Shop, tmp_path: Path) -> None:
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0
    hidden = {*SUBJECTS[:200], *sorted(out.members("groups"))[:200]}
    for kind, ending in KINDS:
        file = export(out, kind, tmp_path / f"{kind}{ending}")
        intended, exported = out.log()[-2:]
        assert (intended["action"], exported["action"]) == ("evidence.intended", "evidence.exported")
        assert exported["facts"] == {"kind": kind, "format": ending, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        assert file.stat().st_mode & 0o777 == 0o600
        text = file.read_text()
        assert not [name for name in hidden if name in text]
        assert str(tmp_path) not in json.dumps(intended | exported)
    assert out.verify() == 0


def test_analysts_have_none_and_that_is_recorded(out: Shop, tmp_path: Path) -> None:
    ran = out.run("audit", "export", "log", "--to", str(tmp_path / "log.csv"), by=ANALYST)
    assert ran.code == 3 and not [*tmp_path.glob("*.csv")]
    assert out.log()[-1]["action"] == "access.denied"
    export(out, "log", tmp_path / "log.csv", by=AUDITOR)


def test_a_file_is_replaced_only_by_force(out: Shop, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("mine")
    before = len(out.log())
    ran = out.run("audit", "export", "log", "--to", str(file), by=OFFICER)
    assert ran.code == 2 and "`--force`" in ran.err and file.read_text() == "mine"
    assert len(out.log()) == before
    export(out, "log", file, "--force")
    assert file.read_text().startswith('{"entry":')


def test_what_a_crash_left_of_an_export_is_no_hindrance(out: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "log.csv.checkpoint").write_text("placed")
    (folder / ".log.csv.partial").write_text("half")
    export(out, "log", folder / "log.csv")
    assert sorted(path.name for path in folder.iterdir()) == ["log.csv", "log.csv.checkpoint"]
    assert (folder / "log.csv.checkpoint").read_text() != "placed"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("art30", "--to", "{out}/record.txt"), "expected a name that ends in .json or .html or .csv"),
        (("art30", "--to", "{out}/nowhere/record.json"), "expected a file in a folder that exists"),
        (("log", "--to", "{shop}/log.csv"), "expected a place outside the workspace"),
        (("log", "--to", "{kept}/log.csv"), "expected a place outside its suppression folder"),
        (("log", "--to", "{shop}/../keys/log.csv"), "expected a place outside the folder of its keys"),
        (("log", "--to", "{out}/log.csv", "--segment", "groups"), "expected it for `dpia` alone"),
        (("dpia", "--to", "{out}/d.json", "--segment", "nobody@example.org"), "expected one of ['groups', 'returners']"),
    ],
)
def test_a_wrong_word_is_told_and_writes_nothing(out: Shop, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    toml, keys = out.root / "consentric.toml", out.root.with_name("keys")
    (out.root / ".consentric" / "keys").rename(keys)
    toml.write_text(toml.read_text().replace("{workspace}/.consentric/keys", str(keys)))
    before, put = len(out.log()), [word.format(out=tmp_path, shop=out.root, kept=out.outside) for word in words]
    ran = out.run("audit", "export", *put, by=OFFICER)
    assert ran.code == 2 and told in ran.err
    assert len(out.log()) == before


# -- the log -------------------------------------------------------------------------------------------------------------


def test_the_log_can_be_hashed_again_from_its_lines(out: Shop, tmp_path: Path) -> None:
    """With nothing of ours: RFC 6962, section 2.1, over the entries as they stand in the lines."""
    file = export(out, "log", tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    leaves = []
    for place, line in enumerate(lines):
        body = json.dumps(line["entry"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        leaves.append(hashlib.sha256(b"\0" + body).digest())
        assert (line["index"], line["leaf"]) == (place, leaves[-1].hex())
    note = (tmp_path / "log.jsonl.checkpoint").read_text().split("\n")
    assert (int(note[1]), note[2]) == (len(leaves), base64.b64encode(_root(leaves)).decode())
    assert lines[-1]["entry"]["action"] == "evidence.intended"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("CAST(replace(body, '{', '{ ') AS BLOB)", "not the one that was signed"),
        ("replace(body, '{', '{ ')", "entry 12 of the log is not stored as bytes"),
    ],
)
def test_a_log_that_was_edited_is_not_exported(out: Shop, tmp_path: Path, written: str, told: str) -> None:
    with sqlite3.connect(out.root / ".consentric" / "metadata.db") as database:
        assert database.execute(f"UPDATE log_entries SET body = {written} WHERE idx = 12").rowcount == 1
    database.close()
    for ending in (".jsonl", ".csv"):
        ran = out.run("audit", "export", "log", "--to", str(tmp_path / f"log{ending}"), by=OFFICER)
        assert ran.code == 6 and told in ran.err
    assert not [*tmp_path.glob("log*")]


def test_csv_has_every_fact_and_no_formula(out: Shop, tmp_path: Path) -> None:
    with out.workspace().store.transaction("x") as write:
        write.record("made.up", text="=1+1", nested={"@a": "-2", "b": [1, "=2"]}, number=-3)
    with export(out, "log", tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == [*range(len(rows))]
    made = next(row for row in rows if row["action"] == "made.up")
    assert (made["text"], made["nested.@a"], made["nested.b"], made["number"]) == ("'=1+1", "'-2", '[1, "=2"]', "-3")


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _root(leaves[:half]) + _root(leaves[half:])).digest()


# -- lineage -------------------------------------------------------------------------------------------------------------


class _Part(BaseModel):
    """OpenLineage 2-0-2 as JSON Schema has it, for the parts that we write; written by hand. A facet may hold more, an event may not."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Facet(BaseModel):
    model_config = ConfigDict(extra="allow")
    producer: str = Field(alias="_producer", pattern="^https://")
    schema_url: str = Field(
        alias="_schemaURL", pattern=r"^https://openlineage\.io/spec/(facets/)?\d+-\d+-\d+/[A-Za-z]+\.json#/\$defs/[A-Za-z]+$"
    )


class _How(_Part):
    type: Literal["DIRECT", "INDIRECT"]
    subtype: Literal["IDENTITY", "TRANSFORMATION", "AGGREGATION", "JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL"]
    description: str
    masking: bool


class _Input(_Part):
    namespace: str
    name: str
    field: str
    transformations: list[_How]


class _Fields(_Part):
    inputFields: list[_Input]


class _Lineage(_Facet):
    fields: dict[str, _Fields]
    dataset: list[_Input]


class _Dataset(_Part):
    namespace: str
    name: str
    facets: dict[str, _Facet]


class _Run(_Part):
    runId: str = Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    facets: dict[str, _Facet]


class _Job(_Part):
    namespace: str
    name: str
    facets: dict[str, _Facet]


class _Event(_Part):
    eventType: Literal["START", "COMPLETE", "ABORT", "FAIL"]
    eventTime: AwareDatetime = Field(strict=False)
    producer: str
    schemaURL: Literal["https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"]
    run: _Run
    job: _Job
    inputs: list[_Dataset]
    outputs: list[_Dataset]


def test_lineage_says_which_column_came_of_which(out: Shop, tmp_path: Path) -> None:
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0
    lines = export(out, "lineage", tmp_path / "lineage.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    for event in TypeAdapter(list[_Event]).validate_python(events):
        for dataset in event.outputs:
            _Lineage.model_validate(dataset.facets["columnLineage"].model_dump(by_alias=True))
    runs = {event["run"]["runId"] for event in events}
    assert [[e["eventType"] for e in events if e["run"]["runId"] == run] for run in runs] == [["START", "COMPLETE"]] * 3

    ended = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    made = {dataset["name"]: dataset["facets"]["columnLineage"] for dataset in ended["segments.returners"]["outputs"]}
    assert _made_of(made["segments.returners.model"], "spend") == {("shop.purchases", "amount", "DIRECT", "AGGREGATION", True)}
    assert _made_of(made["segments.returners.model"], "frequency") == set()
    assert _made_of(made["segments.returners.members"], "pseudonym") == {("shop.purchases", "customer", "DIRECT", "TRANSFORMATION", True)}
    assert {each[1:4] for each in _made_of(made["segments.returners.members"], "segment")} == {
        ("amount", "INDIRECT", "CONDITIONAL"),
        ("bought_on", "INDIRECT", "CONDITIONAL"),
    }
    assert _made_of(made["segments.returners.fairness"], "people.age") == {("shop.people", "age", "DIRECT", "AGGREGATION", True)}
    assert "shop.people" not in {each["name"] for each in made["segments.returners.members"]["dataset"]}
    whole = {(each["field"], each["transformations"][0]["subtype"]) for each in made["segments.returners.model"]["dataset"]}
    assert {("customer", "GROUP_BY"), ("bought_on", "FILTER")} <= whole
    handed = ended["segments.groups.export.mail"]
    assert [each["name"] for each in (*handed["inputs"], *handed["outputs"])] == ["segments.groups.members", "destinations.mail"]
    own = ended["segments.groups"]["run"]["facets"]["consentric"]
    assert out.log()[own["logEntry"]]["facts"]["build"] == own["build"]


def test_a_changed_contract_leaves_unsaid_what_nobody_knows_any_more(out: Shop, tmp_path: Path) -> None:
    path = out.root / "contracts" / "shop.yaml"
    path.write_text(path.read_text().replace("type: double", "type: decimal(10,2)"))
    lines = export(out, "lineage", tmp_path / "lineage.jsonl").read_text().splitlines()
    ended = next(e for e in map(json.loads, lines) if e["eventType"] == "COMPLETE" and e["job"]["name"] == "segments.groups")
    model = next(each for each in ended["outputs"] if each["name"] == "segments.groups.model")
    (amount,) = model["facets"]["columnLineage"]["fields"]["spend"]["inputFields"]
    assert (amount["field"], amount["transformations"]) == ("amount", [])
    assert {field["type"] for field in ended["inputs"][0]["facets"]["schema"]["fields"]} == {"not recorded"}


def _made_of(facet: dict[str, Any], name: str) -> set[tuple[object, ...]]:
    return {
        (each["name"], each["field"], how["type"], how["subtype"], how["masking"])
        for each in facet["fields"][name]["inputFields"]
        for how in each["transformations"]
    }


# -- records -------------------------------------------------------------------------------------------------------------


def test_a_record_has_every_point_of_the_article_and_names_what_is_missing(out: Shop, tmp_path: Path) -> None:
    record = json.loads(export(out, "art30", tmp_path / "record.json").read_text())
    chapters = {chapter["key"]: chapter["sections"] for chapter in record["chapters"]}
    assert {*chapters} == {f"Shop Ltd: {ADS}", f"Shop Ltd: {FAIR}"}
    for sections in chapters.values():
        assert {section["legal"] for section in sections} == {f"30(1)({letter})" for letter in "abcdefg"}
    read = {
        key: {row["category"] for s in sections if s["title"].endswith("personal data") for row in s["rows"]}
        for key, sections in chapters.items()
    }
    assert "user.demographic.age_range" in read[f"Shop Ltd: {FAIR}"] - read[f"Shop Ltd: {ADS}"]
    missing = {each["where"] for sections in chapters.values() for section in sections for each in section["missing"]}
    assert '`contact` under `[controllers."Shop Ltd"]` of consentric.toml' in missing
    assert "`tables.purchases.retention` of contracts/shop.yaml" in missing
    assert "`destinations.mail.jurisdiction` of policies/rules.yaml" in missing


def test_a_record_forgets_no_recipient(out: Shop, tmp_path: Path) -> None:
    """Neither where the list was recalled and its segment's document is gone, nor where another policy names its destination alike."""
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0
    assert out.run("segments", "recall", "groups", by=OFFICER).code == 0
    (out.root / "segments" / "groups.yaml").unlink()
    out.write("policies", {**POLICY, "name": "others", "destinations": {"mail": "an agency abroad"}}, "others")
    out.write("segments", {**GROUPS, "name": "more", "policy": "others"}, "more")
    record = json.loads(export(out, "art30", tmp_path / "record.json").read_text())
    sections = {section["title"]: section for chapter in record["chapters"] if ADS in chapter["key"] for section in chapter["sections"]}
    assert {row["segment"] for row in sections["what is done"]["rows"]} == {"groups", "more", "returners"}
    told = {(row["policy"], row["recipient"]): row["lists handed over"] for row in sections["categories of recipients"]["rows"]}
    assert told["rules", "mail"].startswith("1, the last on ") and told["others", "mail"] == "none"
    out.write("policies", {key: said for key, said in POLICY.items() if key != "destinations"})
    record = json.loads(export(out, "art30", tmp_path / "later.json").read_text())
    rows = [row for chapter in record["chapters"] for s in chapter["sections"] if s["legal"] == "30(1)(d)" for row in s["rows"]]
    assert [row["who"] for row in rows if (row["policy"], row["recipient"]) == ("rules", "mail")] == ["not declared any more"]


def test_an_assessment_tells_recipients_as_they_were_when_they_got_a_list(out: Shop, tmp_path: Path) -> None:
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.csv")).code == 0

    def row(name: str) -> dict[str, str]:
        dpia = json.loads(export(out, "dpia", tmp_path / name, "--segment", "groups").read_text())
        sections = {section["title"]: section for section in dpia["chapters"][0]["sections"]}
        (found,) = sections["recipients"]["rows"]
        return dict(found)

    first = row("first.json")
    assert (first["policy"], first["who"]) == ("rules", "a third party: our own letters")
    destination = {"description": "a broker", "kind": "processor"}
    out.write("policies", {**POLICY, "destinations": {"mail": destination}})
    assert row("now.json")["who"] == "its processor: a broker; when a list was handed over: a third party: our own letters"
    out.write("policies", {key: said for key, said in POLICY.items() if key != "destinations"})
    gone = row("gone.json")
    assert gone["who"] == (
        "no destination of policy `rules` any more; when a list was handed over: a third party: our own letters"
    ) and gone["lists handed over"].startswith("1, ")


@pytest.mark.parametrize("kind", ["art30", "dpia"])
def test_a_segment_whose_policy_is_gone_is_named_with_what_is_missing(out: Shop, tmp_path: Path, kind: str) -> None:
    (out.root / "policies" / "rules.yaml").unlink()
    notes = json.loads(export(out, kind, tmp_path / "record.json").read_text())["notes"]
    ran = out.run("audit", "export", "dpia", "--to", str(tmp_path / "one.json"), "--segment", "groups", by=OFFICER)
    assert ran.code == 2 and "there is no `policies/rules.yaml` that can be read" in ran.err
    for segment in ("groups", "returners"):
        assert any(f"segment `{segment}`: there is no `policies/rules.yaml` that can be read" in note for note in notes), notes
    for ending in (".html", ".csv"):
        assert "policies/rules.yaml" in export(out, kind, tmp_path / f"record{ending}").read_text()


def test_what_is_declared_where_a_record_says_is_not_missing_any_more(out: Shop, tmp_path: Path) -> None:
    toml = out.root / "consentric.toml"
    declared = 'contact = "Market Street 1, Springfield"\nofficer = "dpo@shop.example"\nmeasures = ["disks are encrypted"]\n'
    toml.write_text(toml.read_text() + f'\n[controllers."Shop Ltd"]\n{declared}')
    destinations = {"mail": {"description": "our own letters", "kind": "internal"}}
    purposes = {ADS: {**POLICY["purposes"][ADS], "description": "letters"}, FAIR: {**POLICY["purposes"][FAIR], "description": "checks"}}
    out.write("policies", {**POLICY, "destinations": destinations, "purposes": purposes})
    text = export(out, "art30", tmp_path / "record.html").read_text()
    assert "Market Street 1, Springfield" in text and "disks are encrypted" in text
    ran = out.run("audit", "export", "art30", "--to", str(tmp_path / "record.json"), "--json", by=OFFICER)
    where = " ".join(each["where"] for each in ran.data["missing"])
    assert "controllers" not in where and "destinations" not in where and "retention" in where


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("phone = 1", "`controllers.Shop Ltd` in consentric.toml: got `phone`, expected one of"),
        ("measures = 1", "`controllers.Shop Ltd.measures` in consentric.toml: got `1`, expected a list of texts"),
    ],
)
def test_a_wrong_declaration_is_told_with_its_place(out: Shop, declared: str, told: str) -> None:
    toml = out.root / "consentric.toml"
    toml.write_text(toml.read_text() + f'\n[controllers."Shop Ltd"]\n{declared}\n')
    ran = out.run("roles")
    assert ran.code == 2 and told in ran.err


def test_an_assessment_has_reasons_measured_risks_and_what_people_must_say(out: Shop, tmp_path: Path) -> None:
    made = json.loads(export(out, "dpia", tmp_path / "inputs.json", "--segment", "returners").read_text())
    (chapter,) = made["chapters"]
    sections = {section["title"]: section for section in chapter["sections"]}
    assert {row["column"]: row["allowed by rule"] for row in sections["columns that are read, and why"]["rows"]}[
        "people.age"
    ] == "age-for-fairness"
    assert "purchases.street" in {row["column"] for row in sections["columns that are left alone"]["rows"]}
    measured = {row["group"] for row in sections["risk: that groups fare worse"]["rows"]}
    assert {"young", "old"} <= measured
    of = f"Measured in build {out.newest('returners').id}, which is released."
    assert sections["risk: that groups fare worse"]["words"] == [of]
    assert "`features.spend.why` of segments/returners.yaml" in {
        each["where"] for each in sections["figures that are worked out of each person"]["missing"]
    }
    assert sections["what people must judge"]["missing"]
    promised = sections["risk: that what is published tells of somebody"]["words"][0]
    assert "ε 2 " in promised and "ε 0.5 a snapshot" in promised and f"at most {math.exp(2.5):.3g}, δ aside" in promised


def test_an_unreadable_document_hides_no_other(out: Shop, tmp_path: Path) -> None:
    (out.root / "segments" / "groups.yaml").write_text("kind: segment\n")
    record = json.loads(export(out, "art30", tmp_path / "record.json").read_text())
    assert any("segments/groups.yaml" in note for note in record["notes"])
    done = [row for chapter in record["chapters"] for s in chapter["sections"] if s["title"] == "what is done" for row in s["rows"]]
    assert {row["segment"] for row in done} == {"groups", "returners"}  # as it was built
