"""Articles and words for what documents say, as an authority reads them."""

from __future__ import annotations

from collections.abc import Mapping

from policies.bases import Basis
from policies.contract import Column
from policies.rules import Recipient, Transfer
from policies.taxonomy import special

BASIS: Mapping[Basis, str] = {
    Basis.CONSENT: "consent (GDPR art. 6(1)(a))",
    Basis.CONTRACT: "performance of a contract (GDPR art. 6(1)(b))",
    Basis.LEGAL_OBLIGATION: "legal obligation (GDPR art. 6(1)(c))",
    Basis.VITAL_INTERESTS: "vital interests (GDPR art. 6(1)(d))",
    Basis.PUBLIC_TASK: "public task (GDPR art. 6(1)(e))",
    Basis.LEGITIMATE_INTEREST: "legitimate interests (GDPR art. 6(1)(f))",
    Basis.OPT_OUT: "notice with a right to opt out",
}

TRANSFER: Mapping[Transfer, str] = {
    Transfer.WITHIN: "stays where the law that protects it holds",
    Transfer.ADEQUACY: "adequacy decision (GDPR art. 45)",
    Transfer.CLAUSES: "standard contractual clauses (GDPR art. 46(2)(c))",
    Transfer.BINDING_RULES: "binding corporate rules (GDPR art. 47)",
    Transfer.EXPLICIT_CONSENT: "explicit consent (GDPR art. 49(1)(a))",
    Transfer.NONE: "none declared",
}

RECIPIENT: Mapping[Recipient, str] = {
    Recipient.INTERNAL: "the controller itself",
    Recipient.PROCESSOR: "its processor",
    Recipient.THIRD_PARTY: "a third party",
}

SPECIAL = "special category (GDPR art. 9(1))"


def nature(column: Column) -> str:
    """How sensitive a column is: a special category whatever its contract says."""
    return SPECIAL if special(column.category) else column.sensitivity


def basis_words(basis: Basis | None) -> str:
    """A legal basis, or that there is none."""
    return BASIS[basis] if basis else "no legal basis: nobody there is used"
