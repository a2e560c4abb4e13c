"""A test of a policy or a pack: what it should say to cases, and what its figures should be. Written in YAML, next to what it tests.

A case stands for every combination of what it lists, or for one change at a time (`vary`). The cases of a policy name
columns of a contract, or make columns up by their category. The cases of a pack are put to the pack alone, under a
house that permits everything: the circumstances that a house would bring (`basis`, `ground`, `recipient`, `transfer`) are
given in the case.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from policies.bases import Basis, Ground
from policies.contract import Contract, Name, Place
from policies.decisions import Cause
from policies.documents import ByPlace, Document, Jurisdiction
from policies.generalisation import Generalisation
from policies.pack import BudgetLimit, FairnessLimit, RetentionLimit
from policies.policy import Children, ModelType
from policies.rules import Reading, Recipient, Sensitivity, Transfer

Item = TypeVar("Item")


def _listed(value: Any) -> Any:
    """One alone is a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else value if value is None else (value,)


Some = Annotated[tuple[Item, ...], BeforeValidator(_listed, json_schema_input_type=Item | tuple[Item, ...])]
"""One, or a list."""


class Answer(StrEnum):
    """What a policy says."""

    ALLOW = "allow"
    DENY = "deny"


class Vary(StrEnum):
    """`together`: every combination of what a case lists; `apart`: each value once, with the first of every other list."""

    TOGETHER = "together"
    APART = "apart"


class Expected(Document):
    """The answer, and as much of its reasons as matters; what is left out may be anything."""

    answer: Answer
    rule: Some[str] | None = Field(None, description="exactly these rules: that block, or that permit; `-` stands for no rule")
    cause: Cause | None = Field(None, description="of every finding that blocks")
    basis: Basis | None = None
    ground: Some[Ground] | None = Field(None, description="exactly what the permits of a sensitive column rest on")
    to: Generalisation | tuple[Generalisation, ...] | None = Field(
        None, description="exactly what becomes of values, one rule after the other; an empty list: nothing"
    )

    @property
    def steps(self) -> tuple[Generalisation, ...] | None:
        """`to` as a list."""
        return (self.to,) if isinstance(self.to, Generalisation) else self.to


class Case(Document):
    """One question, or as many as its lists combine to. Categories and purposes may end in `.*` and stand for all keys below, too."""

    name: str = Field(min_length=1, description="what it is about")
    column: Some[Place] = Field((), description="TABLE.COLUMN of the contract")
    category: Some[str] = Field((), description="data categories of columns that are made up for the case")
    sensitivity: Some[Sensitivity] = Field(("plain",), description="of columns that are made up")
    type: Some[str] = Field(("text",), description="of columns that are made up")
    purpose: Some[str] = Field(min_length=1)
    without: Some[str] = Field((), description="categories and purposes, or patterns, that are not meant")
    jurisdiction: Some[Jurisdiction] = Field((), description="where people are; none: as the contract says")
    use: Some[Reading] = (Reading.SEGMENT,)
    destination: Some[Name] = Field((), description="of the policy; none: the workspace")
    model: ModelType = "clusters"
    privacy: Literal["none"] | None = Field(None, description="none: without differential privacy; nothing: with it")
    basis: Some[Basis] = Field((), description="for a pack: what the purpose rests on; none: consent")
    ground: Some[Ground] = Field((), description="for a pack: what a sensitive column is permitted on; none: explicit consent")
    recipient: Some[Recipient] = Field((), description="for a pack: who receives; none: nobody")
    transfer: Some[Transfer] = Field((), description="for a pack, with `recipient`; none: `within`")
    vary: Vary | None = Field(None, description="where it differs from that of the document")
    expect: Answer | Expected = Field(description="what should be said: the word alone, or with reasons")

    @property
    def expected(self) -> Expected:
        """`expect`, the word alone without reasons."""
        return self.expect if isinstance(self.expect, Expected) else Expected(answer=self.expect)

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if self.column and self.category:
            raise ValueError("expected one of `column` and `category`, got both")
        return self


class Figures(Document):
    """What the figures should be: of a policy as it holds, of a pack under a house that asks for nothing."""

    cohort_floor: int | None = None
    most_segments: int | None = None
    children: ByPlace[Children | None] | None = Field(None, description="by jurisdiction, looked up as for a person there")
    retention: RetentionLimit | None = None
    approvals: dict[ModelType, int] | None = None
    budgets: BudgetLimit | None = None
    fairness: FairnessLimit | None = None
    strict: bool | None = None
    private: bool | None = Field(None, description="whether whatever is built has differential privacy")


class PolicyTest(Document):
    """Cases, figures and legal references that a policy or a pack is held to."""

    kind: Literal["policy-test"] = "policy-test"
    name: str = Field(min_length=1)
    policy: Name = Field(description="the policy or pack that is tested")
    contract: Name | Contract | None = Field(None, description="of the columns: its name, or written out")
    vary: Vary = Field(Vary.TOGETHER, description="how the lists of a case combine")
    cases: tuple[Case, ...] = ()
    figures: Figures | None = None
    references: dict[str, str] = Field(default_factory=dict, description="the legal reference of each rule or limit, by its id")

    @model_validator(mode="after")
    def _tests_something(self) -> Self:
        if not (self.cases or self.figures or self.references):
            raise ValueError("expected one or more of `cases`, `figures`, `references`")
        return self
