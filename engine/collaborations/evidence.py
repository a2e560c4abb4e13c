"""What a joint run leaves behind for others: its passport, against the entry that released it, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from audit import joint_page as page
from audit import joint_passport as passports
from audit.checkpoint import Verifier
from audit.joint_passport import JointPassport, Share, Signed
from audit.joint_verify import RELEASED
from audit.passport import Charge, Privacy, prove
from audit.report import Command, Count, Fairness, Part
from audit.wording import number
from engine import described_fairness
from engine.collaborations import contracts, terms
from engine.collaborations.result import Asked, Result, told
from engine.files import whole_file
from engine.parts import Part as Described
from engine.reports import ASSURANCE, CLAIMED, WHAT
from engine.wording import WELL_COVERED
from engine.workspace import Workspace
from federated.acknowledgement import Acknowledgement
from federated.contract import Agreed, Collaboration
from federated.shares import Sharing, whole
from federated.transcript import epsilon
from governance import entries
from governance.accounting import epsilon_of

DRAFT, PASSPORT = "released.json", contracts.PASSPORT
"""In a run's folder: what the log names, and what is signed once it does."""

CONSEQUENCE = "what becomes of it, each partner's own policy says at its fairness gate"


def passport_of(agreed: Agreed, result: Result, acknowledged: Mapping[str, Acknowledgement]) -> JointPassport:
    """Without the log's proof."""
    contract = agreed.contract
    found = {verifier.name: (verifier, acknowledged.get(verifier.name)) for verifier in contract.identities}
    charged = sum((Fraction(asked.charged) for asked in result.asked), Fraction(0))
    draws = sum(asked.draws for asked in result.asked)
    return JointPassport(
        collaboration=contract.name,
        contract=agreed.digest.removeprefix("sha256:"),
        purpose=contract.purpose,
        outcome=told(result).digest().removeprefix("sha256:"),
        rounds=len(result.asked),
        partners=tuple(_share(contract, verifier, said, missed(result, verifier.name)) for verifier, said in found.values() if said),
        silent=tuple(name for name, (_, said) in found.items() if not said),
        privacy=Privacy(
            mu_squared=str(charged),
            draws=draws,
            delta=contract.privacy.delta,
            epsilon=epsilon_of(charged, draws, contract.privacy.delta),
            assurance=ASSURANCE,
            transcript=tuple(_charge(contract, asked) for asked in result.asked),
        ),
        utility={figure.name: figure.value for figure in result.utility},
        fairness=described_fairness.evidence(result.fairness),
    )


def release(
    workspace: Workspace, folder: Path, agreed: Agreed, passport: JointPassport, acknowledged: Mapping[str, Acknowledgement]
) -> Path:
    """(1) The passport as it will be, durable; (2) the entry that names it; (3) signed, with the proof of that entry and what partners
    signed. A release that a crash cut short goes on where it was. Where partners signed for the model since, another passport says so and
    takes the place of the one before, which the log names still."""
    draft, path = folder / DRAFT, folder / PASSPORT
    if not draft.exists() or passports.parse(draft.read_bytes()) != passport:
        with whole_file(draft, "joint-draft") as partial:
            partial.write_bytes(passports.dump(passport))
    named = {"passport": passports.digest(passport), "contract": f"sha256:{passport.contract}"}
    if _entry(workspace, named) is None:
        with workspace.store.transaction("joint-release") as write:
            write.record(RELEASED, **named, collaboration=passport.collaboration, outcome=f"sha256:{passport.outcome}")
    if not path.exists() or passports.contents(path.read_bytes())[0] != passport:
        index, checkpoint = _entry(workspace, named), workspace.checkpoint()
        assert index is not None and checkpoint is not None  # recorded above, and sealed with that
        with workspace.store.read() as session:
            proof = prove(session.connection(), index, checkpoint)
        signed = Signed(agreed.envelope, tuple(acknowledged[share.name].envelope for share in passport.partners))
        with whole_file(path, "joint-passport") as partial:
            partial.write_bytes(passports.issue(passport, proof, signed, workspace.keys.signer))
    return path


def write_page(workspace: Workspace, agreed: Agreed, result: Result, passport: JointPassport) -> Path:
    """`reports/NAME.joint.html`, which says of partners what the passport says."""
    contract = agreed.contract
    file = (contracts.run_folder(workspace, agreed.digest) / PASSPORT).relative_to(workspace.root)
    said = {share.name: share for share in passport.partners}
    heads = [
        page.Partner(v.name, said[v.name].epsilon, said[v.name].head) if v.name in said else page.Partner(v.name)
        for v in contract.identities
    ]
    report = page.JointReport(
        name=contract.name,
        purpose=contract.purpose,
        led_by=workspace.keys.signer.origin,
        partners=tuple(heads),
        features=tuple(page.Feature(name, each.meaning, terms.bounds(each)) for name, each in contract.features.items()),
        terms=tuple(terms.lines(contract)),
        rounds=len(result.asked),
        subjects=Count(result.subjects.label, result.subjects.value, result.subjects.sigma),
        parts=tuple(_part(part, contract.cohort_floor) for part in result.parts),
        profiles=result.profiles,
        utility=result.utility,
        forecast=result.forecast,
        epsilon=passport.privacy.epsilon or 0.0,
        delta=contract.privacy.delta,
        assurance=ASSURANCE,
        transcript=tuple(page.Question(a.round, _what(a), a.draws, float(Fraction(a.charged)), a.without) for a in result.asked),
        digests=(("contract", passport.contract), ("what partners were told", passport.outcome)),
        verify=(
            Command(f"consentric collaboration verify {contract.name} --digest {agreed.digest}", "the contract, and who signed it"),
            Command(
                f"consentric collaboration check {file} --key {workspace.keys.verifier_key} --digest {agreed.digest}",
                "this model's passport: the entry of its release, the contract, and what each partner signed when it got the model",
            ),
            Command(f"consentric collaboration status {contract.name}", "rounds, charges and partners"),
            Command("consentric audit verify", "every entry of this log against the signed checkpoint"),
        ),
        notes=(*workspace.settings.notes, *([CLAIMED] if workspace.principal.unsafe else [])),
        propensity=result.propensity,
        clusters=result.clusters,
        value=result.value,
        uplift=result.uplift,
        explanation=result.explanation,
        fairness=Fairness(result.fairness, CONSEQUENCE, WELL_COVERED) if result.fairness else None,
    )
    path = workspace.root / "reports" / f"{contract.name}.joint.html"
    path.parent.mkdir(exist_ok=True)
    with whole_file(path, "report") as partial:
        partial.write_text(page.render(report), encoding="utf-8")
    return path


def missed(result: Result, partner: str) -> Fraction:
    """μ² of the questions in whose rounds a partner was lost."""
    return sum((Fraction(asked.charged) for asked in result.asked if partner in asked.without), Fraction(0))


def due(result: Result, partner: str) -> Fraction:
    """μ² that a partner must have charged, for what it answered."""
    return sum((Fraction(asked.charged) for asked in result.asked), Fraction(0)) - missed(result, partner)


def most(contract: Collaboration) -> Fraction:
    """μ² that a partner may have charged: all that the contract allows."""
    return whole(contract).mu_squared * Sharing.of(contract).factor


def _share(contract: Collaboration, verifier: Verifier, said: Acknowledgement, missed: Fraction) -> Share:
    head = said.head.removeprefix("sha256:")
    return Share(verifier.name, str(verifier), head, str(said.spent), epsilon(said.spent, contract.privacy.delta), str(missed))


def _charge(contract: Collaboration, asked: Asked) -> Charge:
    """`sigma`: of the noise that hides a subject from the most who may collude, in units of what it moves the sum by at one partner."""
    sigma = asked.bound / float(Fraction(asked.mu_squared) * Sharing.of(contract).factor) ** 0.5
    return Charge(asked.path, asked.step, asked.part, asked.charged, asked.bound, sigma, asked.draws)


def _part(part: Described, floor: int) -> Part:
    withheld = f"; withheld, because it may hold fewer than {number(max(floor, 1))} subjects" if part.withheld else ""
    return Part(part.name, part.description + withheld, Count(part.name, part.size, part.sigma), min(1.0, part.share), part.id)


def _what(asked: Asked) -> str:
    _, _, path = asked.path.partition("/")
    share = path.split("/")[0]
    words = terms.SHARES[share] if share == "subjects" else WHAT.get(path, WHAT.get(share, share))
    return words if path == share else f"{words}: {path.removeprefix(share + '/')}"


def _entry(workspace: Workspace, facts: Mapping[str, str]) -> int | None:
    holding = [entries.pair(name, value) for name, value in facts.items()]
    with workspace.store.read() as session:
        found = entries.find(session.connection(), RELEASED, holding=holding, last=1)
    return found[0].index if found else None
