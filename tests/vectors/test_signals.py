"""TCF and GPP strings of the IAB's own libraries, with what they hold; and PyPI's `iab-tcf` as a second reader."""

from __future__ import annotations

import datetime as dt
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import iab_tcf
import pytest

from governance.signals.bits import Fault, SignalError
from governance.signals.gpp import read_gpp, section_ids
from governance.signals.tcf import TcString, read_tcf
from governance.signals.tcf_ca import read_tcf_ca
from governance.signals.us import SECTIONS, UsSection, read_us, read_us_privacy
from governance.signals.vendors import Vendors

FOLDER = os.environ.get("CONSENTRIC_VECTORS_DIR")
pytestmark = pytest.mark.skipif(not FOLDER, reason="CONSENTRIC_VECTORS_DIR names no folder with the vectors")

FILE: dict[str, Any] = json.loads((Path(FOLDER) / "consent" / "consent_vectors.json").read_text()) if FOLDER else {}
VECTORS: list[dict[str, Any]] = FILE.get("vectors", [])
NUMBERS = {name: number for number, name in SECTIONS.items()}

WRONG = {("UsNat", "CAAAVVVVVVRA.QA"), ("UsCa", "BbYbGwXY.YA")}
"""Expectations that contradict their own string: a version, and a GPC segment that is there."""

REFUSED = {"2YNY", "2NYY"}
"""US Privacy has no version 2; the library of these vectors reads it all the same."""


def of(*kinds: str, firm: str | None = None) -> list[Any]:
    """Vectors of some kinds; `firm`: those with this mark alone."""
    chosen = [v for v in VECTORS if v["kind"] in kinds and (firm is None or v.get(firm)) and (v["kind"], v["string"]) not in WRONG]
    return [pytest.param(v, id=f"{v['kind']}-{v['string'][:24]}-{place}") for place, v in enumerate(chosen)]


US = ("UsNat", *(f"Us{name[2:].capitalize()}" for name in NUMBERS if name != "usnat"))


def test_all_firm_vectors_are_looked_at() -> None:
    firm = [v for v in VECTORS if v.get("full_decode_independent") or v.get("bit_layout_verified")]
    looked = len(of("TCFv2", "TcfEuV2", firm="full_decode_independent")) + len(of(*US, firm="bit_layout_verified"))
    assert looked == len(firm) - sum((v["kind"], v["string"]) in WRONG for v in firm) == 58


@pytest.mark.parametrize("vector", of("TCFv2", "TcfEuV2", firm="full_decode_independent"))
def test_tc_strings(vector: dict[str, Any]) -> None:
    expected = vector["full_decode_independent"]
    read = read_tcf(vector["string"])
    plain = {
        "version": read.version,
        "created": stamp(read.created),
        "last_updated": stamp(read.last_updated),
        "cmp_id": read.cmp_id,
        "cmp_version": read.cmp_version,
        "consent_screen": read.consent_screen,
        "consent_language": read.consent_language,
        "vendor_list_version": read.vendor_list_version,
        "tcf_policy_version": read.policy_version,
        "is_service_specific": read.service_specific,
        "use_non_standard_texts": read.non_standard_texts,
        "special_feature_opt_ins": [*read.special_features],
        "purposes_consent": [*read.consent],
        "purposes_li_transparency": [*read.interest],
        "purpose_one_treatment": read.purpose_one_treatment,
        "publisher_cc": read.publisher_country,
        "vendor_consents": [*read.vendors_consent],
        "vendor_legitimate_interests": [*read.vendors_interest],
        "publisher_restrictions": [
            {"purpose_id": each.purpose, "restriction_type": each.kind, "vendor_ids": [*each.vendors]} for each in read.restrictions
        ],
    } | others(read)
    assert plain == expected


def others(read: TcString) -> dict[str, Any]:
    """The segments beside the core, where they are there."""
    found: dict[str, Any] = {}
    if read.disclosed is not None:
        found["disclosed_vendors"] = [*read.disclosed]
    if read.allowed is not None:
        found["allowed_vendors"] = [*read.allowed]
    if read.publisher is not None:
        found["publisher_tc"] = {
            "purposes_consent": [*read.publisher.consent],
            "purposes_li_transparency": [*read.publisher.interest],
            "num_custom_purposes": read.publisher.custom_purposes,
            "custom_purposes_consent": [*read.publisher.custom_consent],
            "custom_purposes_li": [*read.publisher.custom_interest],
        }
    return found


@pytest.mark.parametrize("vector", of(*US, firm="bit_layout_verified"))
def test_us_sections(vector: dict[str, Any]) -> None:
    read = read_us(NUMBERS[vector["kind"].lower()], vector["string"])
    expected = dict(vector["expected"])
    if expected.get("GpcSegmentIncluded") is False:
        expected.pop("Gpc", None)  # a value for a segment that is not there, in one of them
    assert {name: told(read, name) for name in expected} == expected


def told(read: UsSection, name: str) -> Any:
    match name:
        case "Gpc":
            return read.gpc
        case "GpcSegmentIncluded":
            return read.gpc is not None
        case "Version":
            return read.version
        case _:
            value = read.fields[name]
            return [*value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("vector", [v for v in of("HeaderV1") if "expected" in v.values[0]])
def test_headers(vector: dict[str, Any]) -> None:
    assert [*section_ids(vector["string"])] == vector["expected"]["SectionIds"]


@pytest.mark.parametrize("vector", [v for v in of("GPP") if "expected" in v.values[0]])
def test_containers(vector: dict[str, Any]) -> None:
    text, expected = vector["string"], vector["expected"]
    assert [*section_ids(text.split("~")[0])] == expected["section_ids"]
    assert text.split("~")[1:] == expected["sections"]
    if "BgABABAAABAB4AACACADwAAEAE" not in text:  # a Canadian section that holds more than its layout: rejected
        assert [number for number, _ in read_gpp(text).sections] == expected["section_ids"]


@pytest.mark.parametrize("vector", [v for v in of("TcfCaV1") if "expected" in v.values[0]])
def test_canadian_strings(vector: dict[str, Any]) -> None:
    read, expected = read_tcf_ca(vector["string"]), vector["expected"]
    fields = {
        "VendorExpressConsent": read.vendors_express,
        "VendorImpliedConsent": read.vendors_implied,
        "DisclosedVendors": read.disclosed,
    }
    for name, value in fields.items():
        if name in expected:
            assert [*(value or Vendors())] == expected[name]
    bits = {
        "PurposesExpressConsent": read.express,
        "PurposesImpliedConsent": read.implied,
        "SpecialFeatureExpressConsent": read.special_features,
    }
    for name, chosen in bits.items():
        if name in expected:
            assert [number in chosen for number in range(1, len(expected[name]) + 1)] == expected[name]
    for name, number in {"CmpId": read.cmp_id, "CmpVersion": read.cmp_version, "VendorListVersion": read.vendor_list_version}.items():
        assert number == expected.get(name, number)


@pytest.mark.parametrize("vector", of("UspV1"))
def test_us_privacy(vector: dict[str, Any]) -> None:
    text, expected = vector["string"], vector.get("expected", {})
    if text in REFUSED:
        with pytest.raises(SignalError):
            read_us_privacy(text)
        return
    read = read_us_privacy(text)
    plain = {"Notice": read.notice, "OptOutSale": read.opt_out_sale, "LspaCovered": read.lspa_covered, "Version": 1}
    assert {name: plain[name] for name in expected} == expected


@pytest.mark.parametrize("vector", [pytest.param(v, id=f"{v['kind']}-{v['string'][:20]}") for v in VECTORS if v.get("expect_error")])
def test_what_must_be_refused(vector: dict[str, Any]) -> None:
    text, kind = vector["string"], vector["kind"]
    with pytest.raises(SignalError):
        match kind:
            case "HeaderV1" | "GPP":
                read_gpp(text)
            case "TcfEuV2":
                read_tcf(text)
            case "TcfCaV1":
                read_tcf_ca(text)
            case _:
                read_us(NUMBERS[kind.lower()], text)


@pytest.mark.parametrize("vector", [v for v in of("TCFv1") if v.values[0]["string"][:2] != "Bg" and "=" not in v.values[0]["string"]])
def test_version_1_is_refused_for_what_it_is(vector: dict[str, Any]) -> None:
    with pytest.raises(SignalError) as refused:
        read_tcf(vector["string"])
    assert refused.value.fault is Fault.TCF_V1 and refused.value.offset == 0


def second_opinions() -> list[Any]:
    """Every TC string of the vectors, those in GPP strings too, that `iab-tcf` can read, with what it read."""
    strings = {v["string"] for v in VECTORS if v["kind"] in ("TCFv2", "TcfEuV2") and "expected" in v}
    containers = [v["string"].split("~") for v in VECTORS if v["kind"] == "GPP" and "expected" in v]
    strings |= {part for _, *parts in containers for part in parts if part.startswith("CP")}
    found = []
    for text in sorted(strings):
        with suppress(Exception):  # it fails on some range encodings, in many ways
            theirs = iab_tcf.decode_v2(text)
            _ = theirs.consented_vendors, theirs.interests_vendors
            found.append(pytest.param(text, theirs, id=text[:24]))
    return found


def test_the_other_reader_reads_most_of_them() -> None:
    assert len(second_opinions()) >= 10


@pytest.mark.parametrize(("text", "theirs"), second_opinions())
def test_another_reader_agrees(text: str, theirs: Any) -> None:
    ours = read_tcf(text)
    for name, value in {
        "cmp_id": ours.cmp_id,
        "cmp_version": ours.cmp_version,
        "consent_screen": ours.consent_screen,
        "vendor_list_version": ours.vendor_list_version,
        "tcf_policy_version": ours.policy_version,
        "is_service_specific": ours.service_specific,
        "purpose_one_treatment": ours.purpose_one_treatment,
    }.items():
        assert getattr(theirs, name) == value, name
    for name, chosen in {
        "purposes_consent": ours.consent,
        "purposes_legitimate_interests": ours.interest,
        "special_features_optin": ours.special_features,
        "consented_vendors": ours.vendors_consent,
        "interests_vendors": ours.vendors_interest,
    }.items():
        assert {number for number, on in getattr(theirs, name).items() if on} == {*chosen}, name


def stamp(value: dt.datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
