"""Documents: what parses, and what each mistake says."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import policies
from policies import reading
from policies.contract import Contract
from policies.documents import Document
from policies.expectations import PolicyTest
from policies.pack import Pack
from policies.policy import Basis, Policy
from policies.segment import KRange, Segment
from policies.testing import policy_checks, run

README = Path(policies.__file__).with_name("README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```yaml (contract|policy|segment)\n(.*?)```", README, re.DOTALL))
MORE = dict(re.findall(r"```yaml (policy extending|policy-test)\n(.*?)```", README, re.DOTALL))
READ: dict[str, Callable[[bytes, str], Document]] = {
    "contract": reading.read_contract,
    "policy": reading.read_policy,
    "segment": reading.read_segment,
}


def edited(kind: str, old: str, new: str) -> str:
    """What reading says after one edit of the README's example."""
    assert EXAMPLES[kind].count(old) >= 1, f"`{old}` is not in the example"
    with pytest.raises(reading.DocumentError) as caught:
        READ[kind](EXAMPLES[kind].replace(old, new, 1).encode(), f"{kind}.yaml")
    return str(caught.value)


def line_of(kind: str, text: str) -> int:
    return EXAMPLES[kind][: EXAMPLES[kind].index(text)].count("\n") + 1


def test_examples_of_the_readme_parse() -> None:
    contract = reading.read_contract(EXAMPLES["contract"].encode(), "c")
    policy = reading.read_policy(EXAMPLES["policy"].encode(), "p")
    segment = reading.read_segment(EXAMPLES["segment"].encode(), "s")
    assert contract.tables["purchases"].retention == dt.timedelta(days=1095)
    assert contract.tables["purchases"].columns["amount"].bounds == (Decimal(0), Decimal(5000))
    assert policy.purposes["marketing.advertising.first_party.targeted"].basis_in("us") is Basis.OPT_OUT
    assert policy.purposes["marketing.advertising.first_party.targeted"].basis_in("br") is None
    assert policy.purposes["essential.legal_obligation"].basis_in("br") is Basis.LEGITIMATE_INTEREST
    assert segment.as_of == dt.date(2026, 6, 30)
    assert (segment.dataset, segment.policy) == (contract.name, policy.name)


def test_the_house_that_extends_packs_parses_and_holds_them() -> None:
    policy = reading.read_policy(MORE["policy extending"].encode(), "p")
    assert (policy.cohort_floor, policy.approvals.required, policy.strict) == (250, 2, True)
    assert {"purchases", "gdpr-transfers", "strict-stays-home"} <= {rule.id for rule in policy.rules}


def test_the_test_of_the_readme_holds() -> None:
    contract, policy = (READ[kind](EXAMPLES[kind].encode(), kind) for kind in ("contract", "policy"))
    assert isinstance(contract, Contract) and isinstance(policy, Policy)
    checks = policy_checks(reading.read_policy_test(MORE["policy-test"].encode(), "t"), contract)
    assert run(checks, policy) == () and len(checks) > 10


def test_every_file_of_the_folder_has_a_line_in_the_readme() -> None:
    files = {path.name for path in Path(policies.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in README} == set()


@pytest.mark.parametrize("kind", READ)
def test_another_kind_of_document_is_one_problem(kind: str) -> None:
    other = {"contract": "policy", "policy": "segment", "segment": "contract"}[kind]
    with pytest.raises(reading.DocumentError) as caught:
        READ[kind](EXAMPLES[other].encode(), "x.yaml")
    assert str(caught.value) == f"x.yaml:1: kind: got `{other}`, expected `{kind}`"


def test_comments_and_order_do_not_change_the_digest() -> None:
    plain = reading.read_policy(EXAMPLES["policy"].encode(), "p")
    commented = reading.read_policy(
        ("# hello\n" + EXAMPLES["policy"].replace("{epsilon: 8}", "{delta: 0.00001, epsilon: 8.0}")).encode(), "p"
    )
    assert plain.digest() == commented.digest()
    changed = reading.read_policy(EXAMPLES["policy"].replace("{epsilon: 8}", "{epsilon: 9}").encode(), "p")
    assert plain.digest() != changed.digest()


@pytest.mark.parametrize(
    ("kind", "old", "new", "at", "message"),
    [
        ("contract", "user.contact.email", "user.contact.mail", "email:", "tables.customers.columns.email.category: not a data category"),
        ("contract", "user.contact.email", "user.contact.*", "email:", "a data category of fideslang, got `user.contact.*`"),
        ("contract", "type: date", "type: day", "bought_on: {", "got `day`, expected text, integer"),
        ("contract", "controller: Shop Ltd, Dublin\n", "", "kind", "controller: a required field, got nothing"),
        ("contract", "controller: Shop Ltd, Dublin", "controller: 7", "controller", 'controller: got `7`, expected text, in quotes: "7"'),
        ("contract", "jurisdiction: eu", "jurisdiction: no", "jurisdiction", "jurisdiction: got `no`, which YAML readers"),
        ("contract", "jurisdiction: eu", "jurisdiction: germany", "jurisdiction", "jurisdiction: got `germany`, expected a code of ISO"),
        ("contract", "jurisdiction: eu", "jurisdiction: default", "jurisdiction", "jurisdiction: got `default`, expected a code of"),
        ("contract", "registered_in: customers", "registered_in: people", "subject", "subject.registered_in: names no table, got `people`"),
        ("contract", "event_time: bought_on", "event_time: when", "event_time", "tables.purchases.event_time: names no column of"),
        ("contract", "bounds: [0, 5000]", "bounds: [5000, 0]", "amount", "columns.amount.bounds: must ascend, got `5000` and `0`"),
        ("contract", "retention: 3y", "retention: 3 years", "retention", "tables.purchases.retention: got `3 years`, expected a duration"),
        ("contract", "retention: 3y", "retention: 0d", "retention", "tables.purchases.retention: got `0d`, expected a duration"),
        ("contract", "retention: 3y", "retnetion: 3y", "retention", "did you mean `retention`?"),
        ("contract", "kind: person", "kind: people", "subject", "subject.kind: got `people`, expected one of `household`, `person`"),
        ("contract", "max_subjects: 100000", "max_subjects: true", "subject", "subject.max_subjects: got `true`, expected a whole number"),
        ("contract", "max_subjects: 100000", 'max_subjects: "10"', "subject", "subject.max_subjects: got `10`, expected a whole number"),
        ("contract", "max_subjects: 100000", "max_subjects: 100000001", "subject", "got `100000001`, expected at most 100000000"),
        ("contract", "[female, male, other]", "[female, male, female]", "gender", "domain: must not repeat a value, got `female` 2"),
        ("contract", "[female, male, other]", f"[{', '.join(map('g{}'.format, range(1001)))}]", "gender", "expected 1000 or fewer entries"),
        ("contract", "type: integer", "type: double", "customer_id: {", "type: of a subject key, got `double`, expected"),
        ("policy", "marketing.*", "marketng.*", "purposes: [marketing", "got `marketng.*`, expected a key such as `marketing.*`"),
        ("policy", "    description: Offers", "    descripton: Offers", "description: Offers", "did you mean `description`?"),
        ("policy", "eu: consent", "eu: consnt", "basis: {eu", "purposes.marketing.advertising.first_party.targeted.basis.eu: got `consnt`"),
        ("policy", "{eu: consent,", "{europe: consent,", "basis: {eu", "basis.europe: is no place, got `europe`, expected a code of"),
        ("policy", "us: opt_out}", "EU: opt_out}", "basis: {eu", "basis.EU: is the place of `eu`, got both, expected each place once"),
        ("policy", "effect: forbid", "jurisdictions: [us_ca]\n    effect: forbid", "effect: forbid", "got `us_ca`, expected a"),
        ("policy", "the shop's own mailing system", "{description: a, jurisdiction: usa}", "destinations:", "got `usa`, expected a code"),
        ("policy", "fairness: {", "children: {gb: {age: 9}, uk: {age: 16}}\nfairness: {", "fairness: {", "uk: is the place of `gb`"),
        ("policy", "effect: forbid", "effect: deny", "effect: forbid", "rules.1.effect: got `deny`, expected one of `fairness_only`"),
        ("policy", "id: no-contact-details", "id: purchases-for-offers", "id: no-contact", "rules.1.id: must differ from every other"),
        ("policy", "categories: [user.contact.*]", "categories: []", "categories: [user.con", "rules.1.categories: got `[]`, expected 1"),
        ("policy", "purpose: essential.legal_obligation}", "purpose: sales}", "fairness: {", "fairness.purpose: names no purpose"),
        ("policy", "period: year", "period: day", "{epsilon: 2", "advertising.first_party.targeted.period: got `day`"),
        ("segment", "purpose: marketing", "purpose: marketin", "purpose", "purpose: not a data use of fideslang"),
        ("segment", "as_of: 2026-06-30", "as_of: 2026-06-31", "as_of", "as_of: got `2026-06-31`, expected a date such as"),
        ("segment", "bounds: [0, 365]", "bounds: [365]", "recency", "features.recency.bounds: got `[365]`, expected 2 or more"),
        ("segment", "bounds: [0, 365]", "bounds: [0, x]", "recency", "features.recency.bounds.1: got `x`, expected a number"),
        ("segment", "  recency:", "  re-cency:", "recency", "features.re-cency: got `re-cency`, expected text that matches"),
        ("segment", "k: 4", "k: 50", "model", "model.k: got `50`, expected at most 30"),
        ("segment", "k: 4", "k: four", "model", "model.k: got `four`, expected a whole number or a mapping of fields"),
        ("segment", "k: 4", "k: {least: 1}", "model", "model.k.least: got `1`, expected at least 2"),
        ("segment", "k: 4", "k: {least: 9, most: 3}", "model", "model.k.least: must not exceed `most`, got `9` and `3`"),
        ("segment", "k: 4", "kk: 4", "model", "model.kk: an unknown field, got `kk`, expected one of "),
        ("segment", "type: clusters", "type: cluster", "model", "expected a `type` of `clusters`, `propensity`"),
        ("segment", "type: clusters, ", "", "model", "model: got `{k: 4}`, expected the field `type`"),
        ("segment", "{type: clusters, k: 4}", "{type: propensity}", "model", "expected exactly one of `threshold` and `top`"),
        ("segment", "{type: clusters, k: 4}", "{type: propensity, top: 0.1}", "kind", "label: is needed by a propensity, got nothing"),
        ("segment", "epsilon: 1", "epsilon: .inf", "privacy", "privacy.epsilon: got `.inf`"),
        ("segment", "epsilon: 1", "epsilon: 0", "privacy", "privacy.epsilon: got `0`, expected more than 0"),
        ("segment", "column: gender", "colum: gender", "- {table", "fairness.0.colum: an unknown field"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_at_its_line(kind: str, old: str, new: str, at: str, message: str) -> None:
    said = [line for line in edited(kind, old, new).splitlines() if message in line]
    assert said, edited(kind, old, new)
    assert f"{kind}.yaml:{line_of(kind, at)}: " in said[-1]


@pytest.mark.parametrize(
    ("kind", "old", "new", "at", "message"),
    [
        (
            "policy",
            "effect: forbid",
            "effect: generalise",
            "- id: no-contact",
            "rules.1.to: and the effect `generalise` go together, got nothing",
        ),
        (
            "policy",
            "    ground: substantial_public_interest\n",
            "",
            "- id: demographics",
            "rules.2.ground: is needed to permit `sensitive`",
        ),
        ("policy", "remedy: leave", "ground: research\n    remedy: leave", "remedy: leave", "rules.1.ground: belongs to what permits"),
        (
            "policy",
            "effect: forbid",
            "bases: [silence]\n    effect: forbid",
            "effect: forbid",
            "rules.1.bases.0: got `silence`, expected one of",
        ),
        (
            "policy",
            "{newsletter: the shop's own mailing system}",
            "{newsletter: {kind: us}}",
            "destinations",
            "newsletter.description: a required",
        ),
        (
            "policy",
            "fairness: {purpose",
            "children: {eu: {age: 40}}\nfairness: {purpose",
            "fairness: {",
            "children.eu.age: got `40`, expected at most 21",
        ),
        (
            "contract",
            "namespace: shop_customers",
            "namespace: n, born: customers.email",
            "subject",
            "subject.born: names a column of type `text`",
        ),
        (
            "contract",
            "namespace: shop_customers",
            "namespace: n, born: customers.bron",
            "subject",
            "subject.born: names no column of `customers`",
        ),
        ("contract", "namespace: shop_customers", "namespace: n, child: people.child", "subject", "subject.child: names no table"),
        (
            "contract",
            "namespace: shop_customers",
            "namespace: n, born: email",
            "subject",
            "subject.born: got `email`, expected text that matches",
        ),
        (
            "contract",
            "retention: 3y",
            "duplicates: {by: [basket]}",
            "retention",
            "tables.purchases.duplicates.by.0: names no column of its table",
        ),
    ],
)
def test_a_mistake_in_the_wider_language_is_named_at_its_line(kind: str, old: str, new: str, at: str, message: str) -> None:
    test_a_mistake_is_named_at_its_line(kind, old, new, at, message)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{type: clusters, k: 50}", "segment.yaml:10: model.k: got `50`, expected at most 30"),
        ("{type: clusters, k: {least: 9, most: 3}}", "segment.yaml:10: model.k.least: must not exceed `most`, got `9` and `3`"),
        ("{type: clusters, k: true}", "segment.yaml:10: model.k: got `true`, expected a whole number or a mapping of fields"),
        (
            "{type: clusters, k: {least: 2, mots: 4}}",
            "segment.yaml:10: model.k.mots: an unknown field, got `mots`, expected one of `least`, `most`; did you mean `most`?",
        ),
    ],
)
def test_branches_of_a_union_that_nobody_meant_are_silent(model: str, said: str) -> None:
    assert edited("segment", "{type: clusters, k: 4}", model) == said


def test_a_field_named_like_a_branch_is_no_branch() -> None:
    broken = EXAMPLES["segment"].replace("{type: clusters, k: 4}", "\n  type: clusters\n  clusters: {k: 1}\n  k: 99")
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_segment(broken.encode(), "s.yaml")
    assert [(problem.line, problem.field, problem.got) for problem in caught.value.problems if problem.field == "model.k"] == [
        (13, "model.k", "`99`")
    ]


def test_of_keys_with_dots_the_longest_names_the_line() -> None:
    more = "purposes:\n  marketing: {basis: {eu: consent}}\n  marketing.communications: {basis: {eu: consent}, compatible_with: [sales]}\n"
    assert edited("policy", "purposes:\n", more).startswith("policy.yaml:5: purposes.marketing.communications.compatible_with.0: names no")


def test_everything_wrong_is_said_at_once() -> None:
    broken = (
        EXAMPLES["contract"]
        .replace("user.contact.email", "user.mail")
        .replace("type: date", "type: day")
        .replace("kind: person", "kind: x")
    )
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_contract(broken.encode(), "c.yaml")
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["subject.kind", "tables.customers.columns.email.category", "tables.purchases.columns.bought_on.type"]
    assert all(problem.file == "c.yaml" and problem.column > 1 and problem.got and problem.expected for problem in caught.value.problems)


def test_all_broken_references_are_said_at_once() -> None:
    broken = EXAMPLES["contract"].replace("registered_in: customers", "registered_in: x").replace("event_time: bought_on", "event_time: y")
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_contract(broken.encode(), "c.yaml")
    assert [problem.field for problem in caught.value.problems] == ["subject.registered_in", "tables.purchases.event_time"]


def test_k_may_be_a_range() -> None:
    segment = reading.read_segment(EXAMPLES["segment"].replace("k: 4", "k: {least: 3, most: 5}").encode(), "s")
    assert segment.model.type == "clusters" and segment.model.k == KRange(least=3, most=5)


def test_numbers_keep_their_decimal_value() -> None:
    segment = reading.read_segment(EXAMPLES["segment"].replace("[0, 365]", "[0.1, 365]").encode(), "s")
    assert segment.features["recency"].bounds[0] == Decimal("0.1")


@pytest.mark.parametrize(
    ("kind", "model"), [("contract", Contract), ("policy", Policy), ("segment", Segment), ("pack", Pack), ("policy-test", PolicyTest)]
)
def test_schema_describes_every_field(kind: str, model: type[Document]) -> None:
    described = reading.schema(kind)
    assert described["$schema"].endswith("2020-12/schema")
    assert set(described["properties"]) == set(model.model_fields)
    assert described["additionalProperties"] is False


def test_schema_of_nothing_else() -> None:
    with pytest.raises(reading.DocumentError) as caught:
        reading.schema("budget")
    assert str(caught.value) == "schema: got `budget`, expected one of `contract`, `pack`, `policy`, `policy-test`, `segment`"
