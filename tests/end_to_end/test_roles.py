"""Who may do what: officers are named in consentric.toml alone, what only they may do is refused to others, and both are in the log."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from engine import workspace as workspaces
from tests.fakes import ZeroNoise
from tests.scenes import ADS, ANALYST, CONTRACT, GROUPS, OFFICER, POLICY, SUBJECTS, Shop

SOMEONE = SUBJECTS[0]


def with_cap(epsilon: float, name: str = "rules") -> dict[str, Any]:
    return POLICY | {"name": name, "budgets": POLICY["budgets"] | {"cap": {"epsilon": epsilon}}}


class TestRoles:
    def test_the_environment_names_no_officer(self, shop: Shop) -> None:
        refused = shop.run("consent", "stats", by=ANALYST, env={"CONSENTRIC_ROLES_OFFICERS": ANALYST})
        assert refused.code == 3 and refused.out == ""
        assert shop.run("consent", "stats", by=OFFICER, env={"CONSENTRIC_ROLES_OFFICERS": ANALYST}).code == 0

    def test_the_environment_says_nothing_about_the_workspace(self, shop: Shop) -> None:
        environment = {
            "CONSENTRIC_UNSAFE_PRINCIPAL": ANALYST,
            "CONSENTRIC_WORKSPACE_NOTES": "all is well",
            "CONSENTRIC_WORKSPACE_NAME": "x",
        }
        settings = workspaces.Workspace.find(shop.root, environment).settings
        assert (settings.notes, settings.name) == ((), "shop")
        machine = workspaces.Workspace.find(shop.root, environment | {"CONSENTRIC_ENGINE_THREADS": "7"}).settings
        assert machine.threads == 7

    @pytest.mark.parametrize(("words", "action"), [(("stats",), "consent.counted"), (("show", SOMEONE), "consent.shown")])
    def test_a_look_that_was_refused_is_in_the_log(self, shop: Shop, words: tuple[str, ...], action: str) -> None:
        assert shop.run("consent", *words, by=ANALYST).code == 3
        last = shop.log()[-1]
        assert (last["action"], last["facts"], last["principal"]) == ("look.denied", {"wanted": action}, ANALYST)
        assert SOMEONE not in str(last)


class TestConsent:
    def test_a_no_is_lifted_by_officers_alone(self, shop: Shop) -> None:
        shop.run("consent", "withdraw", SOMEONE)
        refused = shop.run("consent", "grant", SOMEONE, ADS, by=ANALYST)
        assert refused.code == 3 and "a-no-is-lifted-by-officers" in refused.err and "ask an officer" in refused.err
        assert shop.log()[-1]["facts"] == {"wanted": "consent.granted"} and SOMEONE not in str(shop.log()[-1])
        assert shop.run("consent", "show", SOMEONE, "--json", by=OFFICER).data["events"][-1]["status"] == "withdrawn"
        assert shop.run("consent", "grant", SOMEONE, ADS, by=OFFICER).code == 0
        assert shop.run("consent", "grant", SOMEONE, ADS, by=ANALYST).code == 0  # nothing is left to lift

    def test_a_new_consent_is_anybodys_to_record(self, shop: Shop) -> None:
        assert shop.run("consent", "grant", "somebody new", ADS, by=ANALYST).code == 0

    def test_an_officer_hears_that_a_key_is_unknown_and_nobody_else_does(self, shop: Shop) -> None:
        for key, by, told in (("person-42", OFFICER, True), ("person-43", ANALYST, False), (SOMEONE, OFFICER, False)):
            done = shop.run("consent", "withdraw", key, by=by)
            assert done.code == 0 and "recorded" in done.out
            assert ("compared exactly" in done.err) is told
        assert shop.run("consent", "withdraw", "person-42", by=OFFICER).err == ""  # the first withdrawal is held now

    def test_a_record_is_judged_for_each_dataset_by_its_jurisdiction(self, shop: Shop) -> None:
        shop.write("contracts", CONTRACT | {"name": "abroad", "jurisdiction": "us"})
        shop.write("segments", GROUPS | {"name": "elsewhere", "dataset": "abroad"})
        seen = shop.run("consent", "show", SOMEONE, "--json", by=OFFICER).data["now"]
        assert {verdict["dataset"]: verdict["reason"] for verdict in seen if verdict["purpose"] == ADS} == {
            "shop": "admitted",
            "abroad": "no legal basis in their jurisdiction",
        }
        assert "abroad" in shop.run("consent", "show", SOMEONE, by=OFFICER).out

    def test_without_segments_every_dataset_is_judged(self, shop: Shop) -> None:
        for file in (shop.root / "segments").glob("*.yaml"):
            file.unlink()
        seen = shop.run("consent", "show", SOMEONE, "--json", by=OFFICER).data["now"]
        assert {(verdict["dataset"], verdict["policy"]) for verdict in seen} == {("shop", "rules")}


class TestCap:
    @pytest.fixture
    def spent(self, shop: Shop) -> Shop:
        """Under a cap of 3, of which little is left; another policy over the same account says 20."""
        shop.write("policies", with_cap(3))
        shop.build("groups", ZeroNoise())
        shop.write("policies", with_cap(20, "generous"))
        shop.write("segments", GROUPS | {"policy": "generous"})
        return shop

    def test_another_policy_does_not_raise_it_and_the_way_out_is_named(self, spent: Shop) -> None:
        before = spent.ledger()
        refused = spent.run("build", "groups")
        assert refused.code == 4 and spent.ledger() == before
        shown = spent.run("budget")
        for words in ("cap registered", "ε 3 at δ 1e-05", "ε 20", "--accept-cap generous"):
            assert words in shown.out
            assert words in refused.err
        (cap, *_) = spent.run("budget", "--json").data["accounts"]
        assert cap["epsilon"] == 3 and "--accept-cap generous" in cap["note"]

    def test_an_officer_accepts_it_and_then_it_binds(self, spent: Shop) -> None:
        assert spent.run("budget", "--accept-cap", "generous", by=ANALYST).code == 3
        assert spent.log()[-1]["facts"] == {"wanted": "budget.cap_accepted"}
        done = spent.run("budget", "--accept-cap", "generous", by=OFFICER)
        assert done.code == 0 and "cap of `Shop Ltd/loyalty`: ε 3 at δ 1e-05, now ε 20 at δ 1e-05" in done.err
        last = spent.log()[-1]
        assert (last["action"], last["principal"], last["facts"]["epsilon_before"]) == ("budget.cap_accepted", OFFICER, 3.0)
        assert spent.build("groups", ZeroNoise()).id and spent.verify() == 0

    def test_a_policy_without_an_account_or_a_document_is_a_usage_error(self, spent: Shop) -> None:
        spent.write("policies", with_cap(20, "unused"))
        for name in ("unused", "nowhere"):
            assert spent.run("budget", "--accept-cap", name, by=OFFICER).code == 2


class TestClock:
    @pytest.mark.parametrize("minutes", [2, 4])
    def test_a_clock_put_back_revives_nobody(self, out: Shop, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
        someone = out.inside(out.newest("groups").id)[0]
        name = out.pseudonyms([someone])
        assert name <= out.members("groups")
        out.run("consent", "withdraw", someone)
        real = workspaces.now
        monkeypatch.setattr(workspaces, "now", lambda: real() - dt.timedelta(minutes=minutes))
        assert not name & out.members("groups")
        assert out.run("consent", "show", someone, "--json", by=OFFICER).data["now"][0]["reason"] == "withdrawn"
        assert someone not in out.inside(out.build("groups", ZeroNoise()).id)
        times = [entry["at"] for entry in out.log()]
        assert times == sorted(times)

    def test_one_that_is_far_behind_is_a_fault_with_a_way_out(self, out: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        real = workspaces.now
        monkeypatch.setattr(workspaces, "now", lambda: real() - dt.timedelta(minutes=30))
        refused = out.run("segments", "members", "groups")
        assert refused.code == 1 and "the clock is behind the log" in refused.err and "set it right" in refused.err


def test_a_lost_pseudonym_key_is_a_fault_and_gives_nobody_another_name(out: Shop, tmp_path: Path) -> None:
    before = out.members("groups")
    path = out.root / ".consentric" / "keys" / "pseudonym" / f"{ADS}.key"
    kept = path.read_bytes()
    path.unlink()
    for words in (("segments", "members", "groups"), ("segments", "export", "groups", "--to", str(tmp_path / "x.csv"))):
        failed = out.run(*words)
        assert failed.code == 1 and "restore it from a backup" in failed.err and failed.out == ""
    checks = {check["name"]: check for check in out.run("doctor", "--json").data["checks"]}
    assert not checks["purpose keys"]["ok"] and "backup" in checks["purpose keys"]["remedy"]
    assert not path.exists() and not (tmp_path / "x.csv").exists()
    path.touch(0o600)
    path.write_bytes(kept)
    assert out.members("groups") == before
    made = [entry["facts"] for entry in out.log() if entry["action"] == "key.created"]
    assert [facts["purpose"] for facts in made] == [ADS] and kept.hex() not in str(made)
