"""Whoever withdraws is out: of a build that comes after, of a release that comes after, of every read that comes after."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance import builds
from governance.principals import UNSAFE_VARIABLE
from tests.fakes import ZeroNoise
from tests.scenes import ADS, ANALYST, OFFICER, REFUSING, SUBJECTS, Shop, listed, run, write_consents

WILLING = [subject for subject in SUBJECTS if subject not in REFUSING]


def released_subjects(shop: Shop, segment: str) -> set[str]:
    """Pseudonyms in the files of the newest release."""
    folder = shop.root / ".consentric" / "releases" / shop.newest(segment).id
    (file,) = folder.glob("membership.*")
    return listed(file)


def test_whoever_withdrew_after_as_of_and_before_the_build_is_in_no_membership(shop: Shop) -> None:
    gone, stays = WILLING[:3], WILLING[3:6]
    for subject, purpose in zip(gone, ("*", ADS, "marketing.advertising"), strict=True):
        assert shop.run("consent", "withdraw", subject, purpose).code == 0
    assert shop.run("build", "groups").code == 0
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    inside = set(shop.inside(shop.newest("groups").id))
    assert set(stays) <= inside and not inside & {*gone, *REFUSING}
    assert inside == set(WILLING) - set(gone)  # clusters hold everybody who is admitted
    members = shop.members("groups")
    assert shop.pseudonyms(stays) <= members
    assert not shop.pseudonyms(gone) & members
    assert not shop.pseudonyms(gone) & released_subjects(shop, "groups")


@pytest.mark.parametrize("segment", ["groups", "returners"])
def test_whoever_withdraws_between_build_and_release_is_removed_at_release(built: Shop, segment: str) -> None:
    inside = built.inside(built.newest(segment).id)
    gone, stays = inside[0], inside[1:]
    assert built.run("consent", "withdraw", gone).code == 0
    assert built.run("approve", segment, by=OFFICER).code == 0
    assert released_subjects(built, segment) == built.pseudonyms(stays) == built.members(segment)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_whoever_withdraws_after_release_is_in_no_list_and_no_export(out: Shop, tmp_path: Path, ending: str) -> None:
    before = out.members("returners")
    gone = out.inside(out.newest("returners").id)[0]
    assert out.pseudonyms([gone]) < before
    assert out.run("consent", "withdraw", gone).code == 0
    after = out.members("returners")
    assert before - after == out.pseudonyms([gone]) and after < before
    file = tmp_path / f"list{ending}"
    assert out.run("segments", "export", "returners", "--to", str(file)).code == 0
    assert listed(file) == after


def test_an_objection_to_the_fairness_audit_says_nothing_about_advertising(out: Shop) -> None:
    """Purposes are judged one by one: whoever leaves the audit stays in the segment."""
    someone = out.inside(out.newest("returners").id)[0]
    before = out.members("returners")
    assert out.run("consent", "withdraw", someone, "analytics.reporting").code == 0
    assert out.members("returners") == before


def test_consent_given_again_counts_for_the_next_list_and_brings_nobody_back_into_one_they_left(out: Shop) -> None:
    someone = out.inside(out.newest("groups").id)[0]
    before = out.members("groups")
    out.run("consent", "withdraw", someone)
    assert out.run("consent", "grant", someone, ADS, by=OFFICER).code == 0
    assert out.members("groups") == before - out.pseudonyms([someone])
    assert out.run("segments", "score", "groups", "--as-of", "2025-07-01").code == 0
    assert someone in out.inside(out.newest("groups").id)


def test_the_officer_sees_the_reason_and_nobody_else_does(out: Shop) -> None:
    someone = WILLING[0]
    out.run("consent", "withdraw", someone)
    seen = out.run("consent", "show", someone, "--json", by=OFFICER).data
    assert {verdict["purpose"]: verdict["reason"] for verdict in seen["now"]}[ADS] == "withdrawn"
    assert [event["status"] for event in seen["events"]][-1] == "withdrawn"
    refused = out.run("consent", "show", someone, by=ANALYST)
    assert refused.code == 3 and "exact-figures-are-the-officers" in refused.err and someone not in refused.err + refused.out


def test_plan_gives_reasons_by_noisy_counts_that_stand_still_between_snapshots(shop: Shop) -> None:
    """So that no two plans around a withdrawal isolate a person; the text says when the withdrawal counts."""
    first = shop.run("plan", "groups", "--json").data["people"]
    assert abs(first["noisy"]["refused"] - len(REFUSING)) < 6 * first["sigma"]
    shop.run("consent", "withdraw", WILLING[0])
    second = shop.run("plan", "groups", "--json").data["people"]
    assert second == first
    text = shop.run("plan", "groups").out
    assert "withdrawn" in text and "refused" in text and "Whoever withdraws is out at once" in text


def test_the_next_snapshot_counts_whoever_withdrew_under_that_reason(shop: Shop) -> None:
    shop.withdraw(WILLING[:500])
    people = shop.run("plan", "groups", "--json").data["people"]
    assert abs(people["noisy"]["withdrawn"] - 500) < 6 * people["sigma"]
    assert abs(people["noisy"]["admitted"] - len(WILLING) + 500) < 6 * people["sigma"]


def test_a_segment_whose_members_all_withdrew_shows_nobody(out: Shop) -> None:
    out.withdraw(SUBJECTS)
    assert out.members("returners") == set() == out.members("groups")


def test_a_build_in_quarantine_shows_no_members(built: Shop) -> None:
    for words in (("members", "returners"), ("export", "returners", "--to", "x.csv")):
        refused = built.run("segments", *words)
        assert refused.code == 3 and "quarantined" in refused.err
        assert refused.out == "" and not (built.root / "x.csv").exists()


def test_recall_ends_every_read_and_deletes_the_files(out: Shop) -> None:
    build = out.newest("returners").id
    assert out.run("segments", "recall", "returners", "-m", "a mistake", by=OFFICER).code == 0
    assert out.status(build) is builds.Status.RECALLED
    assert out.run("segments", "members", "returners").code == 3
    hidden = out.root / ".consentric"
    assert not (hidden / "releases" / build).exists() and not (hidden / "builds" / build).exists()
    assert out.verify() == 0


def test_admission_of_a_build_is_judged_when_it_runs_not_when_it_was_planned(shop: Shop) -> None:
    plan = shop.run("plan", "groups", "--json").data["plan"]
    shop.run("consent", "withdraw", WILLING[0])
    assert shop.run("build", "groups", "--plan", plan).code == 0
    assert WILLING[0] not in shop.inside(shop.newest("groups").id)


def test_silence_is_a_no_for_consent(tmp_path: Path) -> None:
    """Only the first thousand were asked at all; of them four in five said yes."""
    run("init", str(tmp_path / "shop"), "--demo", env={UNSAFE_VARIABLE: ANALYST})
    shop = Shop(tmp_path / "shop")
    shop.furnish()
    write_consents(asked := tmp_path / "asked.csv", SUBJECTS[:1000])
    assert shop.run("consent", "import", str(asked)).code == 0
    build = shop.build("groups", ZeroNoise())
    assert set(shop.inside(build.id)) == set(SUBJECTS[:1000]) - REFUSING
