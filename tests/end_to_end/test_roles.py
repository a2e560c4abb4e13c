"""Who may do what: officers are named in consentric.toml alone, what only they may do is refused to others, and both are in the log."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from engine import workspace as workspaces
from engine.settings import FILE
from governance import principals
from governance.principals import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from tests.fakes import ZeroNoise
from tests.scenes import ADS, ANALYST, AUDITOR, CONTRACT, GROUPS, OFFICER, OTHER, POLICY, SUBJECTS, Ran, Shop, run
from tests.tokens import ISSUER, Issuer

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

    @pytest.mark.parametrize(("words", "action"), [(("stats",), "read_exact"), (("show", SOMEONE), "read_subject")])
    def test_a_look_that_was_refused_is_in_the_log(self, shop: Shop, words: tuple[str, ...], action: str) -> None:
        assert shop.run("consent", *words, by=ANALYST).code == 3
        last = shop.log()[-1]
        facts = {"wanted": action, "rules": ["exact-figures-are-the-officers"]}
        assert (last["action"], last["facts"], last["principal"]) == ("access.denied", facts, ANALYST)
        assert SOMEONE not in str(last)


class TestFounder:
    def test_whoever_makes_a_workspace_is_told_what_they_are_and_how_to_name_others(self, tmp_path: Path) -> None:
        made = run("init", str(tmp_path / "new"))
        me = principals.current({}, demo=False).name
        assert f"`{me}` is administrator and analyst and compliance_officer" in made.out and "[roles]" in made.out
        shown = run("roles", "-w", str(tmp_path / "new"), "--json").data
        assert (shown["principal"], shown["established"]) == (me, "os")
        assert shown["roles"] == ["administrator", "analyst", "compliance_officer"] and shown["holders"]["auditor"] == []

    def test_a_second_user_of_the_machine_is_told_of_tokens(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def closed(path: Any, *rest: Any, **more: Any) -> int:
            if str(path).endswith("in-use"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(os, "open", closed)
        refused = shop.run("plan", "groups")
        assert refused.code == 2 and "another user's" in refused.err and "signed token" in refused.err


class TestChanges:
    """Who is what stands in a file: whoever edits it is seen in the log before anything else happens."""

    def changes(self, shop: Shop) -> list[dict[str, Any]]:
        return [entry for entry in shop.log() if entry["action"] == "roles.changed"]

    def test_a_new_workspace_begins_with_its_roles(self, shop: Shop) -> None:
        (first,) = self.changes(shop)
        assert first["facts"]["roles"]["compliance_officer"] == [OFFICER, OTHER] and first["facts"]["digest"].startswith("sha256:")

    def test_making_oneself_an_officer_is_an_entry_before_one_looks(self, shop: Shop) -> None:
        shop.appoint(officers=[OFFICER, ANALYST])
        assert shop.run("consent", "stats", by=ANALYST).code == 0
        shop.appoint(officers=[OFFICER, OTHER])  # and nobody shall see it
        *_, changed, looked, back = [e for e in shop.log() if e["action"] in ("roles.changed", "consent.counted")]
        assert (changed["action"], changed["principal"]) == ("roles.changed", ANALYST)
        assert changed["facts"]["roles"]["compliance_officer"] == [OFFICER, ANALYST]
        assert looked["action"] == "consent.counted" and back["action"] == "roles.changed"

    def test_each_change_is_one_entry(self, shop: Shop) -> None:
        shop.appoint(analysts=[ANALYST, "ines"])
        for _ in range(3):
            assert shop.run("segments", "list", by="ines").code == 0
        assert len(self.changes(shop)) == 2

    def test_the_house_and_the_issuers_count_too(self, shop: Shop) -> None:
        file = shop.root / FILE
        (shop.root / "roles.cedar").write_text("// ours\n")
        shop.run("roles")
        file.write_text(file.read_text() + Issuer().settings(shop.root))
        shop.run("roles")
        (shop.root / "issuer.pem").write_bytes(Issuer().public)  # another key under the same name
        shop.run("roles")
        (shop.root / "roles.cedar").unlink()
        shop.run("roles")
        digests = [entry["facts"]["digest"] for entry in self.changes(shop)]
        assert len(digests) == 5 == len(set(digests))

    @pytest.mark.parametrize(
        "text", ['[roles]\noficers = ["ana"]', "[roles]\nofficers = 3", "[roles]\nofficers = [3]", "roles = 3", '[tokens]\nname = "x"']
    )
    def test_a_list_that_is_not_known_is_a_mistake_and_not_nobody(self, shop: Shop, text: str) -> None:
        (shop.root / FILE).write_text(text)
        failed = shop.run("roles", by=OFFICER)
        assert failed.code == 2 and failed.out == "" and ("roles" in failed.err or "tokens" in failed.err)


class TestHouse:
    def test_it_forbids_and_the_denial_is_in_the_log(self, out: Shop, tmp_path: Path) -> None:
        (out.root / "roles.cedar").write_text(
            '@id("mail-by-officers") @reason("letters go through an officer")\n'
            'forbid(principal, action == Action::"export", resource) when { context has destination && context.destination == "mail" }\n'
            'unless { principal in Role::"compliance_officer" };\n'
        )
        file = tmp_path / "list.csv"
        refused = out.run("segments", "export", "groups", "--to", str(file))
        assert refused.code == 3 and "roles.cedar: mail-by-officers" in refused.err and not file.exists()
        last = out.log()[-1]
        build = out.newest("groups").id
        assert last["facts"] == {"wanted": "export", "rules": ["roles.cedar: mail-by-officers"], "build": build}
        assert out.run("segments", "export", "groups", "--to", str(file), by=OFFICER).code == 0

    def test_one_that_cannot_be_used_denies_everything_and_says_why(self, shop: Shop) -> None:
        (shop.root / "roles.cedar").write_text('permit(principal in Role::"boss", action, resource);')
        for words in (("plan", "groups"), ("consent", "stats"), ("roles",), ("audit", "verify")):
            refused = shop.run(*words, by=OFFICER)
            assert refused.code == 3 and "boss" in refused.err and "mend roles.cedar" in refused.err and refused.out == ""

    def test_it_cannot_let_anybody_approve_what_they_built(self, built: Shop) -> None:
        (built.root / "roles.cedar").write_text("permit(principal, action, resource);")
        assert built.run("approve", "groups", by=ANALYST).code == 3
        built.appoint(officers=[ANALYST])
        refused = built.run("approve", "groups", by=ANALYST)
        assert refused.code == 3 and "builder-may-not-approve" in refused.err


class TestLog:
    def test_reading_it_is_an_entry_first(self, shop: Shop) -> None:
        for more in ((), ("--json",)):
            assert shop.run("audit", "log", *more, by=AUDITOR).code == 0
        entries = shop.run("audit", "log", "--json", "--action", "log.read", by=OFFICER).data["entries"]
        assert [entry["principal"] for entry in entries] == [AUDITOR, AUDITOR, OFFICER]
        refused = shop.run("audit", "log", by=ANALYST)
        assert refused.code == 3 and "when somebody withdrew" in refused.err and refused.out == ""

    def test_each_entry_says_how_its_principal_was_established(self, shop: Shop) -> None:
        assert {entry["established"] for entry in shop.log()} == {"unsafe"}


class TestTokens:
    """One account of the machine owns the workspace; people come with tokens."""

    @pytest.fixture
    def issuer(self) -> Issuer:
        return Issuer()

    @pytest.fixture
    def real(self, tmp_path: Path, issuer: Issuer) -> Shop:
        """No demo; the account that runs everything is its administrator and nothing else."""
        assert run("init", str(tmp_path / "real")).code == 0
        shop = Shop(tmp_path / "real")
        shop.furnish()
        me = principals.current({}, demo=False).name
        shop.appoint(analysts=["ana@house"], officers=["olga@house"], administrators=[me])
        with (shop.root / FILE).open("a") as file:
            file.write(issuer.settings(shop.root))
        return shop

    def act(self, shop: Shop, token: str | None, *words: str) -> Ran:
        env = {"CONSENTRIC_WORKSPACE": str(shop.root)} | ({TOKEN_VARIABLE: token} if token else {})
        return run(*words, env=env)

    def test_an_analyst_builds_and_an_officer_approves_on_one_account(self, real: Shop, issuer: Issuer, tmp_path: Path) -> None:
        ana, olga = issuer.token(sub="ana"), issuer.token(sub="olga")
        file = tmp_path / "token"
        file.write_text(olga)
        assert self.act(real, None, "consent", "import", str(real.root / "data" / "consents.csv")).code == 0
        assert self.act(real, None, "build", "groups").code == 3  # the account itself is an administrator
        assert self.act(real, olga, "build", "groups").code == 3
        assert self.act(real, ana, "build", "groups").code == 0
        assert self.act(real, ana, "approve", "groups").code == 3
        approved = run("approve", "groups", env={"CONSENTRIC_WORKSPACE": str(real.root), TOKEN_FILE_VARIABLE: str(file)})
        assert approved.code == 0 and "released" in approved.out
        assert self.act(real, ana, "segments", "members", "groups").code == 0
        assert self.act(real, None, "segments", "members", "groups").code == 3
        entries = self.act(real, olga, "audit", "log", "--last", "0", "--json").data["entries"]
        said = {(e["action"], e["principal"], e["established"]) for e in entries}
        me = principals.current({}, demo=False).name
        assert {("build.started", "ana@house", "token"), ("build.released", "olga@house", "token")} <= said
        assert ("workspace.created", me, "os") in said and {how for _, _, how in said} == {"os", "token"}
        assert self.act(real, None, "audit", "verify").code == 0

    def test_a_bad_token_is_one_error_and_does_nothing(self, real: Shop, issuer: Issuer) -> None:
        before = (real.root / ".consentric" / "metadata.db").read_bytes()
        for token in (Issuer().token(sub="olga"), issuer.token(sub="olga", aud="x"), issuer.token(sub="olga", exp=1), "nonsense"):
            refused = self.act(real, token, "consent", "stats", "--json")
            assert refused.code == 3 == refused.data["exit"] and refused.err.count("\n") == 1 and token not in refused.err
        assert (real.root / ".consentric" / "metadata.db").read_bytes() == before

    def test_roles_of_a_token_count_when_the_file_says_so(self, real: Shop, issuer: Issuer) -> None:
        token = issuer.token(sub="new", roles=["compliance_officer"])
        refused = self.act(real, token, "consent", "stats")
        assert refused.code == 3 and "`new@house` has no role" in refused.err
        file = real.root / FILE
        file.write_text(file.read_text().replace("trust_roles = false", "trust_roles = true"))
        assert self.act(real, token, "consent", "stats").code == 0
        last = self.act(real, token, "audit", "log", "--last", "1", "--json").data["entries"][0]
        assert (last["action"], last["claimed_roles"]) == ("log.read", ["compliance_officer"])
        assert self.act(real, token, "build", "groups").code == 3

    def test_the_environment_trusts_no_issuer(self, shop: Shop, issuer: Issuer) -> None:
        env = {"CONSENTRIC_WORKSPACE": str(shop.root), TOKEN_VARIABLE: issuer.token()}
        env |= {"CONSENTRIC_TOKENS_ISSUER": ISSUER, "CONSENTRIC_TOKENS_TRUST_ROLES": "true"}
        assert "no `[tokens]`" in run("plan", "groups", env=env).err


class TestConsent:
    def test_a_no_is_lifted_by_officers_alone(self, shop: Shop) -> None:
        shop.run("consent", "withdraw", SOMEONE)
        refused = shop.run("consent", "grant", SOMEONE, ADS, by=ANALYST)
        assert refused.code == 3 and "a-no-is-lifted-by-officers" in refused.err and f"ask {OFFICER}" in refused.err
        last = shop.log()[-1]
        assert last["facts"] == {"wanted": "record_consent", "rules": ["a-no-is-lifted-by-officers"]} and SOMEONE not in str(last)
        assert shop.run("consent", "show", SOMEONE, "--json", by=OFFICER).data["events"][-1]["status"] == "withdrawn"
        assert shop.run("consent", "grant", SOMEONE, ADS, by=OFFICER).code == 0
        assert shop.run("consent", "grant", SOMEONE, ADS, by=ANALYST).code == 0  # nothing is left to lift

    def test_keys_are_merged_and_split_by_officers_alone(self, out: Shop) -> None:
        """Whoever leaves a list by it would show which pseudonym is theirs, and how they decided."""
        first, second = out.inside(out.newest("returners").id)[:2]
        for words in (("merge", first, "--into", second), ("split", first)):
            refused = out.run("consent", *words, by=ANALYST)
            assert refused.code == 3 and first not in refused.err
            assert out.log()[-1]["facts"] == {"wanted": "identify", "rules": ["erasure-is-the-officers"]}
            assert out.run("consent", *words, by=OFFICER).code == 0

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
        assert spent.log()[-1]["facts"] == {"wanted": "accept_cap", "rules": ["caps-are-the-officers"]}
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
