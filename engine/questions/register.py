"""All questions, in the order in which they are listed."""

from __future__ import annotations

from engine.questions import builds, copies, figures, joint, people, policies, protection, record, rights, signals
from engine.questions.question import Question
from engine.workspace import WorkspaceError

QUESTIONS: tuple[Question, ...] = (
    people.BASIS,
    people.NOTICE,
    builds.EXCLUDED,
    builds.COLUMNS_READ,
    builds.NECESSITY,
    builds.COLUMN_DENIED,
    policies.POLICY_APPROVAL,
    builds.POLICY_OF_BUILD,
    copies.COPIES_STOPPED,
    copies.RECIPIENTS,
    people.EXPIRED,
    signals.GPC,
    signals.CONFLICTS,
    protection.CHILDREN,
    protection.SPECIAL_CATEGORIES,
    figures.MODELS,
    figures.BUDGET,
    rights.ACCESS,
    rights.ERASURE,
    protection.PAST_RETENTION,
    protection.AUTOMATED,
    figures.DIFFERENCES,
    figures.PROXIES,
    record.INTEGRITY,
    record.LOOKED,
    joint.LEFT_HERE,
    joint.IN_ROUND,
    joint.JOINT,
)


def find(name: str) -> Question:
    """By its id. Raises WorkspaceError for another."""
    for question in QUESTIONS:
        if question.id == name:
            return question
    raise WorkspaceError(f"got question `{name}`, expected one of {', '.join(f'`{each.id}`' for each in QUESTIONS)}")


def listed() -> list[dict[str, str]]:
    """What each asks, needs and takes, and who may ask it."""
    return [
        {
            "question": each.id,
            "asks": each.asks,
            "needs": " ".join(f"--{given}" for given in sorted(each.needs)),
            "takes": " ".join(f"--{given}" for given in sorted(each.takes)),
            "role": f"who may {each.action}",
        }
        for each in QUESTIONS
    ]
