"""May this principal do that? Cedar answers, from `roles.cedar` and what the house adds to it; here the answer is made to explain itself.

Cedar skips a policy that fails to evaluate, a forbid too, and denies without a reason where nothing permits. So any error is
a denial, every request is held against the schema, and what was missing is found by asking again for each role alone.

A house's policies are checked before any decision. They may forbid anything. What they permit counts where no rail of
`roles.cedar` forbids it, because in Cedar a forbid beats every permit; templates are refused, because nothing links them and
a forbid among them would do nothing. A file that cannot be used denies everything.

Not here: who holds which role (`roles`, consentric.toml), who somebody is (`principals`), entries in the log (`engine.roles`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, Protocol

import cedarpy

from governance.principals import Principal
from governance.roles import SECTION, Action, Holders, Role, held
from policies.decisions import Allow, Cause, Deny, Finding

FILE = "roles.cedar"
"""Of the house, beside consentric.toml; the shipped one has the same name."""

LARGEST = 64 * 1024
"""Bytes of a house's policies."""

_HERE = {"type": "Workspace", "id": "this"}


class Built(Protocol):
    """The build that something is to be done with (`governance.builds.Build`)."""

    @property
    def id(self) -> str:
        """Of the build."""
        ...

    @property
    def builder(self) -> str:
        """Name of the principal who built it."""
        ...

    @property
    def segment(self) -> str:
        """What was built."""
        ...

    @property
    def purpose(self) -> str:
        """fideslang data use."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """Who wants to do what. `facts`: the action's context in the schema. Without `build` it is about the workspace."""

    principal: Principal
    action: Action
    demo: bool = False
    build: Built | None = None
    facts: Mapping[str, str | bool] = field(default_factory=dict)


class Authoriser:
    """The shipped policies and those of the house. `house`: the bytes of its file, None where it has none."""

    def __init__(self, holders: Holders, house: bytes | None = None) -> None:
        here = files("governance")
        self._holders = holders
        self._schema = cedarpy.Schema.from_str(here.joinpath("roles.cedarschema").read_text())
        shipped = here.joinpath("roles.cedar").read_text()
        text, self.fault = _house(house, self._schema)
        self._texts = (shipped, text)
        self._policies = cedarpy.PolicySet.from_str(f"{shipped}\n{text}")
        self.digest = "sha256:" + hashlib.sha256(shipped.encode() + b"\0" + (house or b"")).hexdigest()

    def decide(self, request: Request) -> Allow | Deny:
        """Allow with the policies that permit, or Deny with every forbid, error, or with what was missing."""
        if self.fault:
            return Deny((self._fault(request, self.fault),))
        roles = held(request.principal.name, self._holders, request.principal.roles)
        (answer,) = self._ask([(request, roles)])
        if answer.diagnostics.errors:  # of a policy that was skipped, or of the request itself
            return Deny((self._fault(request, "; ".join(answer.diagnostics.errors)),))
        reasons = sorted(answer.diagnostics.reasons, key=_number)
        if answer.decision is cedarpy.Decision.Allow:
            names = answer.diagnostics.id_annotations_by_reason
            return Allow(tuple(self._permit(request, names.get(reason) or reason) for reason in reasons))
        condition, remedy = self._missing(request, roles)
        if reasons:
            return Deny(tuple(self._forbid(request, reason, condition, remedy) for reason in reasons))
        reason = "no policy permits this to whoever asks"
        return Deny((Finding(Cause.NO_PERMIT, request.action.value, "-", self.digest, reason, condition, None, remedy),))

    def matrix(self) -> Mapping[Action, frozenset[Role]]:
        """Which role alone may do what in the workspace; conditions on a build aside."""
        cells = [(Request(_NOBODY, action), frozenset({role})) for action in Action for role in Role]
        allowed = {(request.action, *roles): _allowed(answer) for (request, roles), answer in zip(cells, self._ask(cells), strict=True)}
        return {action: frozenset(role for role in Role if not self.fault and allowed[action, role]) for action in Action}

    def _ask(self, asked: list[tuple[Request, frozenset[Role]]]) -> list[cedarpy.AuthzResult]:
        """One answer for each principal with such roles."""
        return [
            cedarpy.is_authorized(
                {
                    "principal": _who(request.principal.name),
                    "action": {"type": "Action", "id": request.action.value},
                    "resource": {"type": "Build", "id": request.build.id} if request.build else _HERE,
                    "context": dict(request.facts),
                },
                self._policies,
                _entities(request, roles),
                self._schema,
            )
            for request, roles in asked
        ]

    def _missing(self, request: Request, roles: frozenset[Role]) -> tuple[str, str]:
        """The failing condition and the way out: which roles could do this, asked one by one."""
        name = request.principal.name
        is_now = f"`{name}` is {_and(role.value for role in Role if role in roles)}" if roles else f"`{name}` has no role"
        alone = [(request, frozenset({role})) for role in Role]
        able = [role for role, answer in zip(Role, self._ask(alone), strict=True) if _allowed(answer)]
        if not able or roles & set(able):
            return f"{is_now}; no role may do this here", "somebody else has to"
        others = sorted({each for role in able for each in self._holders.get(role, ()) if each != name})
        lists = " or ".join(f"`{key}`" for key, role in SECTION.items() if role in able)
        ask = f"ask {_or(others)}, or an administrator" if others else "ask an administrator"
        return (
            f"{is_now}; `{request.action}` needs {_or(role.value for role in able)}",
            f"{ask} to name you under {lists} in consentric.toml",
        )

    def _permit(self, request: Request, rule: str) -> Finding:
        return Finding(Cause.PERMIT, request.action.value, rule, self.digest, "this policy permits it, and none forbids it", "met")

    def _forbid(self, request: Request, policy: str, condition: str, remedy: str) -> Finding:
        notes = self._notes.get(policy, {})
        subject = f"build {request.build.id}" if request.build else request.action.value
        rule = notes.get("id") or policy
        if policy in self._of_house:
            rule = f"{FILE}: {rule}"
        reason = notes.get("reason") or f"a policy of the house's {FILE} says so"
        return Finding(
            Cause.FORBID,
            subject,
            rule,
            self.digest,
            reason,
            notes.get("condition", condition),
            notes.get("legal"),
            notes.get("remedy", remedy),
        )

    def _fault(self, request: Request, fault: str) -> Finding:
        remedy = f"mend {FILE} beside consentric.toml; whatever it leaves unclear is denied"
        return Finding(Cause.ERROR, request.action.value, FILE, self.digest, "the decision cannot be made", fault, None, remedy)

    @cached_property
    def _notes(self) -> Mapping[str, Mapping[str, str]]:
        """Annotations by the names that Cedar gives to policies: `policy0` and so on, in order."""
        policies = json.loads(cedarpy.policies_to_json_str("\n".join(self._texts)))["staticPolicies"]
        return {name: policy.get("annotations", {}) for name, policy in policies.items()}

    @cached_property
    def _of_house(self) -> frozenset[str]:
        shipped = json.loads(cedarpy.policies_to_json_str(self._texts[0]))["staticPolicies"]
        return frozenset(self._notes.keys() - shipped.keys())


_NOBODY = Principal("somebody")


def _house(content: bytes | None, schema: cedarpy.Schema) -> tuple[str, str | None]:
    """The house's policies, and what is wrong with them."""
    if content is None:
        return "", None
    if len(content) > LARGEST:
        return "", f"{FILE} is larger than {LARGEST} bytes"
    try:
        text = content.decode()
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        return "", f"{FILE} cannot be read: {error}"
    if parsed["templates"]:
        return "", f"{FILE} holds templates (`?principal`, `?resource`), which nothing links: write policies"
    if errors := cedarpy.validate_policies(text, schema).errors:
        return "", f"{FILE} does not fit the schema: " + "; ".join(str(error) for error in errors)
    return text, None


def _entities(request: Request, roles: frozenset[Role]) -> list[dict[str, Any]]:
    me, build = request.principal, request.build
    parents = [{"type": "Role", "id": role.value} for role in Role if role in roles]
    found: list[dict[str, Any]] = [
        {"uid": _who(me.name), "attrs": {"established": me.established.value}, "parents": parents},
        {"uid": _HERE, "attrs": {"demo": request.demo}, "parents": []},
    ]
    if build:
        attributes = {"builder": {"__entity": _who(build.builder)}, "segment": build.segment, "purpose": build.purpose}
        found.append({"uid": {"type": "Build", "id": build.id}, "attrs": attributes, "parents": [_HERE]})
    return found


def _who(name: str) -> dict[str, str]:
    return {"type": "Principal", "id": name}


def _allowed(answer: cedarpy.AuthzResult) -> bool:
    return bool(answer.decision is cedarpy.Decision.Allow and not answer.diagnostics.errors)


def _number(policy: str) -> int:
    return int(policy.removeprefix("policy"))


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)
