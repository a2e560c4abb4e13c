"""The report on sample data made up here; nothing in it was measured."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from audit import proxies, wording
from audit.balance import balances
from audit.fairness import Bounds, Confusion, GroupTable, Measure, Verdict, judge, unasked
from audit.fairness_page import glances, visible
from audit.proxies import Guesses
from audit.report import (
    Account,
    Admission,
    Approval,
    Coefficient,
    Command,
    Count,
    Decision,
    Fairness,
    Feature,
    Figure,
    Heading,
    Minimisation,
    Part,
    Privacy,
    Profile,
    Propensity,
    QualityRule,
    Record,
    Report,
    Spending,
    Status,
    render,
)

AT = dt.datetime(2026, 11, 22, 14, 5, tzinfo=dt.UTC)
NAMES = ("frequent, high spend", "recent, one purchase", "lapsing, once loyal", "rare, low spend", "one large purchase", "lost")
SQL = """SELECT "subject", SUM("amount") AS "spend_90d", COUNT(*) AS "frequency"
FROM (SELECT "subject", "amount", "bought_on" FROM "transactions" JOIN "admitted" USING ("subject"))
GROUP BY "subject\""""
SECTIONS = ("asked", "decided", "excluded", "quality", "segments", "utility", "fairness", "privacy", "minimisation", "approvals", "record")


def clusters() -> Report:
    """Sample: six clusters of shoppers."""
    rng = np.random.default_rng(11)
    sizes = rng.dirichlet(np.full(6, 3.0)) * 14_930
    parts = tuple(
        Part(name, f"{name}; sample text on what sets it apart from the others", Count(name, float(n), 6.3), float(n / 14_930))
        for name, n in zip(NAMES, sizes, strict=True)
    )
    edges = tuple(float(e) for e in np.expm1(np.linspace(0, np.log1p(5000), 21)))
    profiles = tuple(
        Profile(
            feature,
            unit,
            tuple(float(c) for c in rng.gamma(2.0, 60.0, 6)),
            edges,
            tuple(
                tuple(float(v) for v in 900 * np.exp(-0.5 * ((np.arange(20) - m) / 2.5) ** 2) + rng.normal(0, 12, 20))
                for m in rng.uniform(3, 16, 6)
            ),
        )
        for feature, unit in (
            ("spend_90d", "US dollars"),
            ("recency", "days"),
            ("frequency", "purchases"),
            ("average_basket", ""),
            ("tenure", "days"),
        )
    )
    tables = [
        GroupTable(
            "transactions.coupon_user",
            ("yes", "no"),
            NAMES,
            tuple(tuple(float(v) for v in sizes * share + rng.normal(0, 9, 6)) for share in (0.3, 0.7)),
            9.0,
        )
    ]
    guesses = Guesses(((800.0, 400.0), (300.0, 900.0)), 4.0, ("spend_90d",), ((0.4,), (-0.1,)), ((0.1,), (0.1,)), (0.01, 0.01))
    findings = [
        replace(
            judge(each, Bounds()),
            balance=balances(each.outcomes, each.counts, each.sigma),
            proxy=proxies.judge(each.groups, guesses, each.outcomes, each.counts, each.sigma),
        )
        for each in tables
    ]
    return Report(
        heading=Heading(
            "cdnow-shoppers",
            "Shoppers by recency, frequency and spend, for a reactivation offer.",
            Status.RELEASED,
            "Personalise advertising in our own shop",
            "marketing.advertising.first_party.targeted",
            "Sample Shop Ltd, 1 Example Street",
            "cdnow",
            ("person", "people"),
            dt.date(1998, 4, 1),
            "alice",
            AT,
            ("consents in this workspace are generated",),
        ),
        features=(
            Feature("spend_90d", "sum(amount)", "transactions", "last 90 days", "the offer's value follows past spend"),
            Feature("recency", "days_since(max(bought_on))", "transactions", None, "lapsing shoppers get the offer"),
            Feature("frequency", "count(*)", "transactions"),
        ),
        decisions=(
            Decision(
                "transactions.amount",
                True,
                "permit",
                "purchases-for-marketing",
                "purchases may be used for the shop's own marketing",
                "",
                "GDPR art. 6(1)(a)",
            ),
            Decision(
                "transactions.bought_on", True, "permit", "purchases-for-marketing", "purchases may be used for the shop's own marketing"
            ),
            Decision(
                "customers.email",
                False,
                "forbid",
                "no-contact-data",
                "contact data are not needed to form a segment",
                "category user.contact.email is forbidden for every purpose",
                "GDPR art. 5(1)(c)",
                "remove the feature `mail_domain`",
            ),
        ),
        admission=Admission(
            "snapshot 3",
            AT,
            Count("admitted", 14_930, 8.5),
            (
                Count("never asked", 4_210, 8.5),
                Count("consent was withdrawn", 1_603, 8.5),
                Count("consent was refused", 2_377, 8.5),
                Count("consent expired", 441, 8.5),
                Count("unknown jurisdiction", -4, 8.5),
            ),
        ),
        quality=(
            QualityRule("transactions: rows that are equal in every column count once", Count("", 241, 20.2)),
            QualityRule("transactions.amount: zero amounts are kept"),
        ),
        parts=parts,
        profiles=profiles,
        propensity=None,
        utility=(
            Figure(
                "Silhouette",
                "how much nearer people are to their own segment than to the next; 1 is best, 0 is none",
                0.41,
                None,
                (0.36, 0.45),
            ),
            Figure("Davies–Bouldin", "spread within segments against distance between them; lower is better", 0.87),
        ),
        fairness=Fairness(
            tuple(findings),
            "The policy asks for an approval where the verdict is inconclusive, and refuses where it fails.",
        ),
        privacy=Privacy(
            1.0,
            1e-5,
            "exact integer noise (OpenDP discrete Gaussian)",
            (
                Spending("counts", "noisy histogram of admission reasons", 0.0021, 6),
                Spending("train/covariance", "second moments of the features", 0.011, 15),
                Spending("train/lloyd", "sums relative to the centres, four steps", 0.0402, 144),
                Spending("profiles", "histograms by feature and segment", 0.0055, 600),
                Spending("fairness/coupon_user", "segment by group", 0.0031, 12),
            ),
            (
                Account("cap: Sample Shop Ltd × cdnow customers", "lifetime", 8.0, 1.6, 7.1, 1e-5),
                Account("marketing.advertising.first_party.targeted", "year 2026", 3.0, 1.0, 2.5, 1e-5),
            ),
            ("store mailing house",),
        ),
        minimisation=Minimisation(
            ("transactions.amount", "transactions.bought_on", "transactions.customer_id"),
            ("transactions.amount", "transactions.bought_on", "transactions.customer_id"),
            ("transactions.amount", "transactions.bought_on", "transactions.customer_id", "transactions.quantity"),
            (SQL,),
            "Only rows of admitted subjects and granted columns were in scope.",
            ("transactions.amount", "transactions.bought_on"),
        ),
        approvals=(Approval("bob (compliance officer)", "approved", AT, "fits the purpose"),),
        approvals_required=1,
        record=Record(
            "b-2026-11-22-7f3a",
            1204,
            (("segment spec", "9f" * 32), ("contract", "1c" * 32), ("policy", "e0" * 32)),
            (
                Command("consentric audit verify", "The whole log, against the checkpoint file:"),
                Command("python verify.py passport.json", "This build's passport, on another machine:"),
            ),
        ),
    )


def propensity() -> Report:
    """Sample: coupon propensity of households, in quarantine."""
    counts = {"19-24": (22, 40), "25-34": (160, 210), "35-44": (230, 270), "45-54": (340, 420), "55-64": (60, 80), "65+": (9, 21)}
    cells = [
        (120.0, 30.0, 40.0, 300.0),
        (110.0, 34.0, 36.0, 310.0),
        (60.0, 20.0, 22.0, 140.0),
        (150.0, 44.0, 60.0, 420.0),
        (30.0, 9.0, 14.0, 70.0),
        (3.0, 1.0, 2.0, 9.0),
    ]
    tp, fp, fn, tn = (tuple(column) for column in zip(*cells, strict=True))
    age = GroupTable(
        "age",
        tuple(counts),
        ("selected", "not selected"),
        tuple(counts.values()),
        5.1,
        ("selected",),
        Confusion(tp, fp, fn, tn, 5.1),
        1200.0,
    )
    income = GroupTable(
        "income",
        ("under 35K", "35-99K", "100K and more"),
        ("selected", "not selected"),
        ((900, 2100), (1100, 2400), (300, 2900)),
        5.1,
        ("selected",),
    )
    base = clusters()
    score = np.linspace(0, 1, 21)
    x = np.linspace(0, 1, 30)
    return replace(
        base,
        heading=replace(
            base.heading,
            segment="coupon-propensity",
            status=Status.QUARANTINE,
            subject=("household", "households"),
            description="Households likely to redeem a coupon.",
        ),
        parts=(Part("selected", "probability above 0.31", Count("selected", 512, 11.0), 0.25),),
        profiles=(),
        propensity=Propensity(
            "probability above 0.31",
            0.31,
            tuple(float(s) for s in score),
            tuple(float(v) for v in 700 * np.exp(-4 * score[:-1]) + 8 * np.sin(40 * score[:-1])),
            tuple((float(a), float(a**0.2)) for a in x),
            ((0.05, 0.04, 0.02, 0.07), (0.15, 0.18, 0.11, 0.25), (0.35, 0.31, 0.2, 0.42), (0.6, 0.66, 0.5, 0.8), (0.85, 0.8, 0.6, 0.95)),
            (
                Coefficient("coupon mailings received", 2.4),
                Coefficient("baskets_90d", 1.1),
                Coefficient("recency", -1.7),
                Coefficient("spend_90d", 0.6),
            ),
        ),
        utility=(
            Figure("AUC", "chance that a household that redeems is scored above one that does not", 0.871, (0.842, 0.9), (0.85, 0.91)),
            Figure("Calibration error", "mean distance between predicted and observed rate", 0.032),
        ),
        fairness=Fairness(
            (judge(age, Bounds()), judge(income, Bounds()), unasked("age × income", "18 combinations of too few", Bounds())),
            "The policy refuses release where the verdict is fail.",
        ),
        approvals=(),
    )


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("sample", [clusters, propensity])
def test_every_section_is_there_in_order(sample: type[Report]) -> None:
    page = Page(render(sample()))  # type: ignore[call-arg]
    assert tuple(attrs["id"] for tag, attrs in page.tags if tag == "section") == SECTIONS
    targets = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert targets == [f"#{name}" for name in SECTIONS]


@pytest.mark.parametrize("sample", [clusters, propensity])
def test_nothing_is_loaded_and_nothing_runs(sample: type[Report]) -> None:
    html = render(sample())  # type: ignore[call-arg]
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in {"script", "iframe", "link", "img", "object", "embed", "base", "form"}
        assert not {name for name in attrs if name.startswith("on") or name in {"src", "srcset", "action", "xlink:href"}}
        assert not (attrs.get("href") or "#").removeprefix("#").count(":")
    assert "url(" not in html and "@import" not in html
    assert len(html.encode()) < 1_500_000


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(clusters()) == render(clusters())
    assert render(propensity()) == render(propensity())


def test_markup_in_any_text_stays_text() -> None:
    base = propensity()
    evil = "<script>alert(1)</script>\"'&"
    table = GroupTable(evil, (evil, "b"), (evil, "no"), ((300, 700), (300, 700)), 3.0)
    report = replace(
        base,
        heading=replace(
            base.heading, segment=evil, description=evil, purpose=evil, controller=evil, built_by=evil, notes=(evil,), subject=(evil, evil)
        ),
        features=(Feature(evil, evil, evil, evil, evil),),
        decisions=(Decision(evil, False, evil, evil, evil, evil, evil, evil),),
        admission=replace(base.admission, snapshot=evil, excluded=(Count(evil, 5, 1),)),
        parts=(Part(evil, evil, Count(evil, 5, 1), 0.1),),
        profiles=(Profile(evil, evil, (1.0,), (0.0, 1.0), ((3.0,),)),),
        fairness=Fairness((judge(table, Bounds()),), evil),
        minimisation=Minimisation((evil,), (evil,), (evil,), (evil,), evil, (evil,)),
        approvals=(Approval(evil, evil, AT, evil),),
    )
    html = render(report)
    assert "<script" not in html
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert evil in page.text


def test_inconclusive_is_shown_with_its_reason_and_what_could_have_been_seen() -> None:
    report = propensity()
    text = Page(render(report)).text
    assert report.fairness is not None
    assert "5 ± 15 unknown not judged ? inconclusive" in text
    undecided = [g for f in report.fairness.findings for g in f.groups if g.verdict == "inconclusive"]
    assert any("too few to judge" in g.reason for g in undecided) and any("on both sides" in g.reason for g in undecided)
    for group in undecided:
        shown = f"Smallest gap visible: {visible(group)}." if group.compared else wording.sentence(group.reason)
        assert f"? inconclusive {shown}" in text
    assert "✕ fail" in text


def test_a_glance_shows_the_group_that_is_furthest_from_passing() -> None:
    report = propensity()
    assert report.fairness is not None
    seen = [(each.attribute, each.measure, each.row.group if each.row else "", each.verdict) for each in glances(report.fairness.findings)]
    assert seen == [
        ("age", Measure.SELECTION, "19-24", Verdict.INCONCLUSIVE),
        ("age", Measure.TRUE_POSITIVE, "35-44", Verdict.INCONCLUSIVE),
        ("age", Measure.FALSE_POSITIVE, "19-24", Verdict.INCONCLUSIVE),
        ("income", Measure.SELECTION, "100K and more", Verdict.FAIL),
        ("age × income", Measure.SELECTION, "", Verdict.INCONCLUSIVE),
    ]
    text = Page(render(report)).text
    assert "1 more is too small to judge" in text
    assert "At a glance" in text and "18 combinations of too few." in text


def test_what_features_tell_and_how_segments_are_made_up() -> None:
    text = Page(render(clusters())).text
    assert "Do the features stand for it? ! told" in text and "spend_90d of yes: 0.40 (0.18 to 0.62)" in text
    assert "How segments are made up." in text and "everybody 30" in text


def test_numbers_are_noisy_and_for_people() -> None:
    text = Page(render(clusters())).text
    assert "14,930 ± 17 people into 6 segments" in text
    assert "8,627 ± 38 people were left out, most often because: never asked." in text
    assert "Unknown jurisdiction 0 ± 17" in text
    assert "0.00001, or 1 in 100,000" in text
    assert "1 April 1998" in text and "22 November 2026, 14:05 UTC" in text
    assert "Note: consents in this workspace are generated" in text


def test_denials_come_first_with_rule_reason_reference_and_remedy() -> None:
    text = Page(render(clusters())).text
    decided = text[text.index("What was allowed, what was denied") :]
    assert decided.index("customers.email") < decided.index("transactions.amount")
    for words in ("✕ denied", "no-contact-data", "Contact data are not needed", "GDPR art. 5(1)(c)", "remove the feature mail_domain"):
        assert words in decided


def test_what_nothing_asked_for_is_no_denial_of_what_was_asked() -> None:
    base = clusters()
    left_alone = replace(base.decisions[-1], asked=False)
    text = Page(render(replace(base, decisions=(*base.decisions[:-1], left_alone)))).text
    assert "1 of 3 decisions were denials." in Page(render(base)).text
    assert "Nothing that was asked for was denied." in text and "decisions were denials" not in text
    assert "✕ would be denied" in text and "The segment did not ask for it." in text


def test_the_rest_of_the_request_and_the_forecast_are_shown() -> None:
    base = clusters()
    heading = replace(base.heading, request=(("Model", "6 clusters"), ("Destination", "mail, our own letters")))
    text = Page(render(replace(base, heading=heading, forecast="clusters expected 1% looser"))).text
    asked = text[text.index("What was asked") : text.index("What was allowed")]
    assert "Model 6 clusters" in asked and "Destination mail, our own letters" in asked
    assert "Forecast before anything was spent: clusters expected 1% looser." in text


def test_figures_without_a_forecast_have_no_column_for_one() -> None:
    base = clusters()
    none = replace(base, utility=tuple(replace(figure, forecast=None) for figure in base.utility))
    assert "Forecast before spending" in render(base) and "Forecast before spending" not in render(none)


def test_low_coverage_says_why_a_group_may_not_be_known() -> None:
    base = propensity()
    assert base.fairness is not None
    low = tuple(replace(finding, coverage=0.02) for finding in base.fairness.findings)
    high = tuple(replace(finding, coverage=0.97) for finding in base.fairness.findings)
    why = "The others may not be used for the fairness purpose"
    assert why in Page(render(replace(base, fairness=replace(base.fairness, findings=low)))).text
    assert why not in Page(render(replace(base, fairness=replace(base.fairness, findings=high)))).text


def test_the_transcript_adds_up() -> None:
    html = render(clusters())
    text = Page(html[html.index('id="privacy"') : html.index('id="minimisation"')]).text
    shares = [float(s) for s in re.findall(r" ([\d.]+)%", text)]
    assert shares.pop() == 100.0
    assert sum(shares) == pytest.approx(100.0, abs=0.3)
    assert "All 777 0.0619 100%" in text
    assert "The membership list is not protected by differential privacy" in text


def test_empty_parts_say_so() -> None:
    base = clusters()
    report = replace(base, decisions=(), quality=(), parts=(), profiles=(), utility=(), fairness=None, approvals=(), approvals_required=0)
    text = Page(render(report)).text
    for words in (
        "No rules were declared.",
        "None was measured.",
        "No attribute was declared",
        "The policy asks for none.",
        "None so far.",
    ):
        assert words in text


def test_each_read_set_is_shown_and_one_that_nobody_looked_at_is_not() -> None:
    base = clusters()
    html = render(base)
    shown = html[html.index("Columns that existed where it ran") : html.index("Columns that were granted")]
    assert "transactions.bought_on" in shown and "transactions.customer_id" not in shown  # which only joined rows
    earlier = replace(base, minimisation=replace(base.minimisation, physical=None))
    assert "Columns that existed" not in render(earlier) and "Columns that were granted" in render(earlier)


def test_charts_have_a_text() -> None:
    pictures = [attrs for tag, attrs in Page(render(propensity())).tags if tag == "svg"]
    charts = [attrs for attrs in pictures if attrs.get("role") == "img"]
    assert len(charts) == 3 and all(attrs["aria-label"] for attrs in charts)
    assert all(attrs.get("aria-hidden") == "true" for attrs in pictures if attrs not in charts)
