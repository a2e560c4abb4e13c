"""Every cell of the documented matrix; denials that explain themselves; what a house may add, and what none can."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from governance.authorisation import LARGEST, Authoriser, Built, Request
from governance.principals import Established, Principal
from governance.roles import SECTION, Action, Holders, Role
from policies.decisions import Allow, Cause, Deny, Finding

README = Path(__file__).parents[3] / "governance" / "README.md"
HOLDERS: Holders = {Role.ANALYST: ("ana",), Role.OFFICER: ("olga", "otto"), Role.AUDITOR: ("aura",), Role.ADMINISTRATOR: ("adam",)}
WIDENED = {
    Action.PLAN,
    Action.BUILD,
    Action.READ_SEGMENTS,
    Action.READ_POLICY,
    Action.READ_BUDGET,
    Action.IMPORT_CONSENT,
    Action.RECORD_CONSENT,
    Action.SWEEP,
    Action.EXAMINE,
    Action.RECALL,  # of the workspace; of a build it stays with the builder and with officers
}


@dataclass(frozen=True)
class SomeBuild:
    id: str = "b1"
    builder: str = "ana"
    segment: str = "groups"
    purpose: str = "marketing"


def documented() -> dict[Action, dict[Role, str]]:
    """The table of the README."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.read_text().splitlines() if line.startswith("| ")]
    head = next(row for row in rows if row[0] == "may")
    return {
        Action(row[0]): dict(zip((Role(name) for name in head[1:]), row[1:], strict=True))
        for row in rows
        if len(row) == len(head) and row[0] in {action.value for action in Action}
    }


def deciding(
    name: str, action: Action, house: str | None = None, build: Built | None = None, holders: Holders = HOLDERS, **facts: str | bool
) -> Allow | Deny:
    authoriser = Authoriser(holders, None if house is None else house.encode())
    return authoriser.decide(Request(Principal(name), action, build=build, facts=facts))


def refused(name: str, action: Action, house: str | None = None, build: Built | None = None, **facts: str | bool) -> Finding:
    """The first reason of a denial."""
    decision = deciding(name, action, house, build, **facts)
    assert isinstance(decision, Deny)
    return decision.because[0]


class TestMatrix:
    def test_the_readme_has_every_action(self) -> None:
        assert documented().keys() == set(Action)

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", Action)
    def test_each_cell_is_what_cedar_decides(self, action: Action, role: Role) -> None:
        decision = deciding("somebody", action, holders={role: ("somebody",)})
        assert isinstance(decision, Allow) is (documented()[action][role] != "-")
        assert all(finding.reason and finding.condition for finding in decision.because)

    def test_what_is_shown_is_what_is_decided(self) -> None:
        shown = Authoriser(HOLDERS).matrix()
        assert shown == {action: {role for role, cell in row.items() if cell != "-"} for action, row in documented().items()}

    @pytest.mark.parametrize("action", Action)
    def test_without_a_role_little_is_allowed(self, action: Action) -> None:
        decision = deciding("mallory", action)
        assert isinstance(decision, Allow) is (action in {Action.VERIFY_LOG, Action.READ_ROLES})

    def test_an_unknown_action_and_role_are_no_values(self) -> None:
        with pytest.raises(ValueError, match="nonsense"):
            Role("nonsense")
        with pytest.raises(ValueError, match="nonsense"):
            Action("nonsense")

    def test_every_role_has_a_list_in_the_settings(self) -> None:
        assert {*SECTION.values()} == {*Role}


class TestBuilds:
    def test_nobody_approves_what_they_built_whatever_else_they_are(self) -> None:
        everything = dict.fromkeys(Role, ("ana", "olga"))
        for house in (None, "permit(principal, action, resource);"):
            for holders in (HOLDERS, everything):
                own = deciding("ana", Action.APPROVE, house, SomeBuild(), holders)
                assert isinstance(own, Deny) and "builder-may-not-approve" in {finding.rule for finding in own.because}
        assert isinstance(deciding("olga", Action.APPROVE, build=SomeBuild()), Allow)
        assert isinstance(deciding("olga", Action.APPROVE, build=SomeBuild(builder="olga")), Deny)

    def test_analysts_recall_their_own_and_officers_any(self) -> None:
        assert isinstance(deciding("ana", Action.RECALL, build=SomeBuild()), Allow)
        assert refused("ana", Action.RECALL, build=SomeBuild(builder="ines")).rule == "analysts-recall-their-own"
        assert isinstance(deciding("olga", Action.RECALL, build=SomeBuild()), Allow)

    def test_a_no_is_lifted_by_officers(self) -> None:
        assert isinstance(deciding("ana", Action.RECORD_CONSENT, lifts=False), Allow)
        assert refused("ana", Action.RECORD_CONSENT, lifts=True).rule == "a-no-is-lifted-by-officers"
        assert isinstance(deciding("olga", Action.RECORD_CONSENT, lifts=True), Allow)


class TestReasons:
    def test_a_denial_names_condition_and_remedy(self) -> None:
        why = refused("ana", Action.ERASE)
        assert (why.cause, why.subject, why.rule) == (Cause.FORBID, "erase", "erasure-is-the-officers")
        assert why.condition == "`ana` is analyst; `erase` needs compliance_officer"
        assert why.remedy == "ask olga or otto, or an administrator to name you under `officers` in consentric.toml"

    def test_what_nothing_permits_is_explained_as_well(self) -> None:
        why = refused("olga", Action.BUILD)
        assert (why.cause, why.condition) == (Cause.NO_PERMIT, "`olga` is compliance_officer; `build` needs analyst")
        assert why.remedy is not None and why.remedy.startswith("ask ana,")

    def test_roles_of_a_token_count_beside_those_that_are_named(self) -> None:
        someone = Principal("ana", Established.TOKEN, frozenset({Role.OFFICER}))
        authoriser = Authoriser(HOLDERS)
        for action in (Action.BUILD, Action.ERASE):
            assert isinstance(authoriser.decide(Request(someone, action)), Allow)

    @pytest.mark.parametrize("name", ['a"b', "a\nb", "", "Role::analyst", "ana ", "ANA", "é\u202e"])
    def test_odd_names_are_nobody(self, name: str) -> None:
        assert isinstance(deciding(name, Action.PLAN), Deny)


class TestErrors:
    def test_a_request_that_does_not_fit_the_schema_is_denied(self) -> None:
        for facts in ({"nonsense": True}, {"lifts": "yes"}):
            why = refused("olga", Action.RECORD_CONSENT, **facts)
            assert why.cause is Cause.ERROR
        assert refused("olga", Action.ERASE, build=SomeBuild()).cause is Cause.ERROR

    def test_a_policy_that_fails_denies_though_others_permit(self) -> None:
        """Cedar would skip it, a forbid too, and allow."""
        overflow = "forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };"
        assert refused("ana", Action.PLAN, overflow).cause is Cause.ERROR


class TestHouse:
    def test_it_may_forbid_anything(self) -> None:
        house = '@id("not-now") @reason("we are closed") @legal("house rule 7") forbid(principal, action == Action::"build", resource);'
        why = refused("ana", Action.BUILD, house)
        assert (why.rule, why.reason, why.legal) == ("roles.cedar: not-now", "we are closed", "house rule 7")
        assert "no role may do this here" in why.condition
        assert isinstance(deciding("ana", Action.PLAN, house), Allow)

    def test_the_example_of_the_readme_works(self) -> None:
        house = re.findall(r"```cedar\n(.*?)```", README.read_text(), re.DOTALL)[0]
        assert refused("ana", Action.EXPORT, house, SomeBuild(), destination="agency").rule == "roles.cedar: agency-by-officers"
        assert isinstance(deciding("ana", Action.EXPORT, house, SomeBuild(), destination="mail"), Allow)
        assert isinstance(deciding("olga", Action.EXPORT, house, SomeBuild(), destination="agency"), Allow)
        assert isinstance(deciding("ana", Action.EXPORT, house), Allow)

    @pytest.mark.parametrize("role", Role)
    def test_what_it_permits_widens_a_short_list_and_no_more(self, role: Role) -> None:
        shipped = Authoriser(HOLDERS).matrix()
        widened = Authoriser(HOLDERS, b"permit(principal, action, resource);").matrix()
        assert {action for action in Action if role in widened[action]} == {a for a in Action if role in shipped[a]} | WIDENED
        for action in Action:
            assert isinstance(deciding("mallory", action, "permit(principal, action, resource);"), Allow) is (
                action in {Action.VERIFY_LOG, Action.READ_ROLES}
            )

    def test_the_readme_names_what_can_be_widened(self) -> None:
        sentence = re.findall(r"What it permits counts for (.*?), for whoever", README.read_text().replace("\n", " "))[0]
        assert {Action(word) for word in re.findall(r"[a-z_]+", sentence.replace(" and ", " "))} == WIDENED - {Action.RECALL}

    @pytest.mark.parametrize(
        ("house", "said"),
        [
            ("forbid(principal", "cannot be read"),
            ("\xff", "does not"),
            ('forbid(principal in Role::"analysts", action, resource);', "analysts"),
            ('forbid(principal, action == Action::"expotr", resource);', "expotr"),
            ('forbid(principal, action == Action::"export", resource) when { context.destination == "x" };', "destination"),
            ("forbid(principal == ?principal, action, resource);", "templates"),
            ("// " + "x" * LARGEST, "larger"),
        ],
    )
    def test_a_file_that_cannot_be_used_denies_everything(self, house: str, said: str) -> None:
        content = b"\xff" if house == "\xff" else house.encode()
        authoriser = Authoriser(HOLDERS, content)
        for name, action in (("olga", Action.READ_LOG), ("adam", Action.MAINTAIN), ("ana", Action.VERIFY_LOG)):
            decision = authoriser.decide(Request(Principal(name), action))
            assert isinstance(decision, Deny) and decision.because[0].cause is Cause.ERROR
            assert said in decision.because[0].condition or house == "\xff"
        assert not any(authoriser.matrix().values())

    def test_an_empty_file_changes_nothing(self) -> None:
        for empty in (b"", b"\n\n// nothing yet\n"):
            assert Authoriser(HOLDERS, empty).matrix() == Authoriser(HOLDERS).matrix()

    def test_the_digest_is_that_of_both(self) -> None:
        digests = {Authoriser(HOLDERS, house).digest for house in (None, b"// a", b"// b")}
        assert len(digests) == 3 and all(digest.startswith("sha256:") for digest in digests)


def test_a_decision_takes_milliseconds() -> None:
    """Reading the policies, too; of the processor, because others may be busy beside."""
    seconds = []
    for _ in range(10):
        started = time.process_time()
        deciding("ana", Action.PLAN)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.01
