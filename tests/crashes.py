"""Commands to be killed in, and what must hold of a workspace afterwards.

`SCENARIOS` are commands that take durable steps, each with the workspace that it starts from (`Templates`). `check` opens a
workspace as its user would after a crash, and holds what is there against what the killed process had acknowledged.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Verifier
from audit.witness import Cosigner, Witness, add_checkpoint
from engine.stages import UNCHARGED
from federated.cohort import FederatedCohort
from federated.contract import contents
from governance import builds
from governance.journal import Journal
from governance.keys import KeyFolder
from governance.outside import MOST_BYTES
from governance.principals import UNSAFE_VARIABLE
from governance.suppression import FOLDER_VARIABLE, NEWEST
from tests import partnerships
from tests.end_to_end.test_keys import as_first
from tests.nursery import ACKNOWLEDGED, LATER, MARKS
from tests.scenes import ADS, ANALYST, AS_OF, AUDITOR, GROUPS, OFFICER, POLICY, SUBJECTS, Shop, collect

Words = Callable[[Shop], tuple[str, ...]]
Step = Callable[[Shop], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command. `words`: `{}` is the folder that the workspace lies in. `begins`: the template; `ready`: what is done to the copy.

    `code`: how it ends; `again`: how it may end where a crash came so late that it had been done already. `later`: days that its clock
    is ahead. `mends`: until it is done no other command works. `makes`: it is about a workspace of its own, `{}/new`. `unpaid`: its noise
    is for people who are made up. `then`: what an officer has to do once it is done.
    """

    name: str
    begins: str
    words: tuple[str, ...] | Words
    by: str = ANALYST
    code: int = 0
    again: tuple[int, ...] = ()
    ready: Step = lambda _shop: None
    later: int = 0
    env: dict[str, str] = field(default_factory=dict)
    mends: bool = False
    makes: bool = False
    unpaid: bool = False
    then: tuple[str, ...] = ()

    def said(self, shop: Shop) -> tuple[str, ...]:
        """The words, in this workspace."""
        words = self.words(shop) if callable(self.words) else self.words
        return tuple(word.replace("{}", str(shop.root.parent)) for word in words)

    def subject(self, shop: Shop) -> Shop:
        """The workspace that it is about."""
        return Shop(shop.root.parent / "new") if self.makes else shop

    def variables(self, shop: Shop, **more: str) -> dict[str, str]:
        """Of its process."""
        at = shop.root.parent
        kept = {MARKS: str(at / "marks"), ACKNOWLEDGED: str(at / "acknowledged"), FOLDER_VARIABLE: str(at / "new.outside")}
        clock = {LATER: str(self.later)} if self.later else {}
        return {"CONSENTRIC_WORKSPACE": str(shop.root), UNSAFE_VARIABLE: self.by, **kept, **clock, **self.env, **more}


PASSPHRASE = {"CONSENTRIC_KEY_PASSPHRASE": "correct horse battery staple"}
COSIGNER = Cosigner(Ed25519PrivateKey.from_private_bytes(b"w" * 32), "witness.example/1")
PRESENCE = ("partner", "prove", "joint", "--round", "1", "--subject", SUBJECTS[0])
OPENING = ("audit", "prove", "groups", "--to", "{}/opening.json")
REFUSED = SUBJECTS[4]
"""Who did not consent."""


class Templates:
    """Workspaces to start from, each made when it is first asked for. Not on a disk where there is a choice: a kill loses no page."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(prefix="crashes-", dir=memory if memory.is_dir() else None))
        self._made: dict[str, Shop] = {}

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self._folder)

    @contextmanager
    def copy(self, scenario: Scenario) -> Iterator[Shop]:
        """A workspace of a scenario's own, ready for it."""
        at = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            shop = self.of(scenario.begins).copy(at / "shop")
            scenario.ready(shop)
            collect()
            yield shop
        finally:
            shutil.rmtree(at)

    def of(self, name: str) -> Shop:
        """The template itself, which stays as it is."""
        if name not in self._made:
            self._made[name] = getattr(self, f"_{name}")(self._folder / name / "shop")
            collect()
        return self._made[name]

    def _shop(self, root: Path) -> Shop:
        return Shop.make(root)

    def _exact(self, root: Path) -> Shop:
        """A policy that lets an exact build stay inside; it was planned."""
        shop = self.of("shop").copy(root)
        assessed = {"by": "the data protection officer", "reason": "for our own counter"}
        purposes = {**POLICY["purposes"], ADS: {**POLICY["purposes"][ADS], "unsafe_without_privacy": assessed}}
        shop.write("policies", {**POLICY, "purposes": purposes})
        shop.write("segments", {**GROUPS, "name": "exact", "privacy": "none", "output": {"format": "csv"}})
        ok(shop, ANALYST, "plan", "exact")
        return shop

    def _built(self, root: Path) -> Shop:
        shop = self.of("shop").copy(root)
        ok(shop, ANALYST, "build", "groups")
        return shop

    def _released(self, root: Path) -> Shop:
        """Handed over too, and somebody who was in it withdrew since."""
        shop = self.of("built").copy(root)
        ok(shop, OFFICER, "approve", "groups")
        ok(shop, ANALYST, "consent", "snapshot")
        ok(shop, ANALYST, "segments", "export", "groups", "--to", str(root.parent / "list.csv"))
        (shop.root / "data" / "consents.csv").unlink()
        shop.withdraw(shop.inside(shop.newest("groups").id)[:1])
        return shop

    def _swept(self, root: Path) -> Shop:
        shop = self.of("released").copy(root)
        ok(shop, OFFICER, "sweep")
        return shop

    def _overlapping(self, root: Path) -> Shop:
        shop = self.of("shop").copy(root)
        ok(shop, ANALYST, "keys", "rotate", "log", "--yes")
        return shop

    def _invited(self, root: Path) -> Shop:
        """With keys, and a contract that everybody signed beside it."""
        both = partnerships.houses(self.of("shop"), root.parent / "houses")
        contract = partnerships.contract_of(both)
        (root.parent / "joint.json").write_bytes(partnerships.signed(both, contract))
        collect()
        return both[0].shop.copy(root)

    def _together(self, root: Path) -> Shop:
        """A vector left in one round of a collaboration."""
        both = partnerships.houses(self.of("shop"), root.parent / "houses")
        contract = partnerships.joined(both)
        with partnerships.at_work(both) as there:
            cohort = FederatedCohort(contract, partnerships.courier(there))
            partnerships.how_many(cohort, cohort.grant())
        del there, cohort
        collect()
        return both[0].shop.copy(root)

    def _behind(self, root: Path) -> Shop:
        """What it keeps is a backup from before an erasure and a build."""
        shop = self.of("released").copy(root)
        hidden, backup = shop.root / ".consentric", root.with_name("backup")
        shutil.copytree(hidden, backup)
        ok(shop, OFFICER, "rights", "erase", somebody(shop), "--yes")
        ok(shop, ANALYST, "build", "groups")
        collect()
        shutil.rmtree(hidden)
        backup.rename(hidden)
        return shop


def ok(shop: Shop, by: str, *words: str) -> None:
    """A command that must end well."""
    ran = shop.run(*words, by=by)
    assert ran.code == 0, (words, ran)


def somebody(shop: Shop) -> str:
    """Who is in the segment."""
    return shop.inside(shop.newest("groups").id)[0]


def _more(shop: Shop) -> None:
    lines = "subject,purpose,status,event_time\n" + "".join(f"{each},{ADS},given,2025-06-01T00:00:00Z\n" for each in SUBJECTS[4:40:5])
    (shop.root.parent / "more.csv").write_text(lines)


def _greedy(shop: Shop) -> None:
    shop.write("segments", {**GROUPS, "privacy": {"epsilon": 50.0}})


def _long_outside(shop: Shop) -> None:
    """A record outside that is due to be made shorter."""
    journal = Journal(shop.outside / NEWEST, "outside")
    line = journal.lines()[-1]
    journal.rewrite(lambda lines: [*lines, *[line] * (MOST_BYTES // len(line))])


def _leftovers(shop: Shop) -> None:
    hidden = shop.root / ".consentric"
    (hidden / "builds" / "0123456789abcdef").mkdir(parents=True)
    (hidden / "builds" / "x.partial").mkdir()
    with shop.workspace().store.transaction("build-intent") as write:
        plan = builds.latest_plan(write.session, "groups")
        assert plan is not None
        builds.start(write, plan, ADS, UNCHARGED, builds.builds(write.session)[0].id)
    KeyFolder(hidden / "keys").prepare("split")


def _unknown(shop: Shop) -> None:
    hidden = shop.root / ".consentric"
    (hidden / "before-migration.db").write_bytes(b"x")
    (hidden / "faults.log").write_text("x")
    source = hidden / "builds" / shop.newest("groups").id
    shutil.copytree(source, hidden / "builds" / "0123456789abcdef")


def _stray(shop: Shop) -> None:
    (shop.root / ".consentric" / "notices").mkdir(exist_ok=True)
    (shop.root / ".consentric" / "notices" / "0123456789abcdef.json").write_text(json.dumps({"delete": []}))


def _published(shop: Shop) -> None:
    """A published log that a witness answered for."""
    folder, at = shop.root.parent / "log", shop.root.parent
    ok(shop, AUDITOR, "audit", "publish", str(folder))
    key = (shop.root / ".consentric/keys/log.vkey").read_text().strip()
    witness = Witness(COSIGNER, [Verifier.parse(key)], at)
    (at / "answer").write_text(witness.answer(add_checkpoint(0, [], (folder / "checkpoint").read_text()), 1_700_000_000))
    (shop.root / "log.policy").write_text(f"log {key}\nwitness first {COSIGNER.vkey}\nquorum first\n")


def _garbled(shop: Shop) -> None:
    """Rows that cannot be read, in a file whose description can."""
    file = shop.root / "data" / "purchases.parquet"
    raw = file.read_bytes()
    file.write_bytes(raw[:4] + bytes(len(raw) // 2) + raw[4 + len(raw) // 2 :])


def _older(shop: Shop) -> None:
    collect()
    as_first(shop.root / ".consentric" / "metadata.db")


def _lost(shop: Shop) -> None:
    ran = shop.run("keys", "backup", str(shop.root.parent / "keys.backup"), env=PASSPHRASE)
    assert ran.code == 0, ran
    (shop.root / ".consentric" / "keys" / "split.key").unlink()


def _nothing_outside(shop: Shop) -> None:
    shutil.rmtree(shop.outside)


def _waiting(shop: Shop) -> tuple[str, ...]:
    return "segments", "acknowledge", shop.run("segments", "notices", "--json", by=OFFICER).data["notices"][0]["notice"]


def _handed(shop: Shop) -> None:
    """The contract lies beside the copy too."""
    (shop.root.parent / "joint.json").write_bytes(_contract(shop).read_bytes())


def _contract(shop: Shop) -> Path:
    """Beside the template."""
    return shop.root.parents[1] / "invited" / "joint.json"


def _join(shop: Shop) -> tuple[str, ...]:
    digest = contents((shop.root.parent / "joint.json").read_bytes()).digest()
    return "partner", "join", "{}/joint.json", "--digest", digest, "--segment", "groups"


SCENARIOS = (
    Scenario("init", "shop", ("init", "{}/new", "--demo"), again=(1, 2), makes=True),
    Scenario("consents are imported", "shop", ("consent", "import", "{}/more.csv"), again=(2,), ready=_more),
    Scenario("consents are checked", "shop", ("consent", "import", "{}/more.csv", "--dry-run"), ready=_more),
    Scenario("consent is given", "shop", ("consent", "grant", REFUSED, ADS)),
    Scenario("consent is withdrawn", "released", lambda shop: ("consent", "withdraw", somebody(shop))),
    Scenario("somebody objects", "released", lambda shop: ("rights", "object", somebody(shop)), OFFICER),
    Scenario("two are one", "shop", ("consent", "merge", SUBJECTS[0], "--into", SUBJECTS[1]), OFFICER, again=(2,)),
    Scenario("consents are copied", "shop", ("consent", "snapshot")),
    Scenario("a policy is approved", "shop", ("policy", "approve", "rules"), OFFICER, again=(2, 3)),
    Scenario("a plan", "shop", ("plan", "groups")),
    Scenario("a plan is refused", "shop", ("plan", "groups"), code=4, ready=_greedy),
    Scenario("a build", "shop", ("build", "groups")),
    Scenario("a snapshot fails", "shop", ("plan", "groups"), code=1, ready=_garbled),
    Scenario("a build fails", "built", ("build", "groups"), code=1, ready=_garbled),
    Scenario("an exact build", "exact", ("build", "exact")),
    Scenario("an exact build fails", "exact", ("build", "exact"), code=1, ready=_garbled),
    Scenario("an approval", "built", ("approve", "groups"), OFFICER, again=(3,)),
    Scenario("a rejection", "built", ("reject", "groups"), OFFICER, again=(3,)),
    Scenario("an export", "released", ("segments", "export", "groups", "--to", "{}/again.csv")),
    Scenario("members are read", "released", ("segments", "members", "groups")),
    Scenario("a score", "released", ("segments", "score", "groups", "--as-of", str(AS_OF))),
    Scenario("a score fails", "released", ("segments", "score", "groups", "--as-of", str(AS_OF)), code=1, ready=_garbled),
    Scenario("a recall", "released", ("segments", "recall", "groups"), OFFICER, again=(3,)),
    Scenario("a sweep", "released", ("sweep",), OFFICER, ready=_stray),
    Scenario("everything expires", "released", ("sweep",), OFFICER, later=4000),
    Scenario("notices leave", "swept", ("segments", "notices", "--to", "{}"), OFFICER),
    Scenario("a notice is acknowledged", "swept", _waiting, OFFICER, again=(2,)),
    Scenario("an erasure", "released", lambda shop: ("rights", "erase", somebody(shop), "--yes"), OFFICER, ready=_unknown),
    Scenario("access", "released", lambda shop: ("rights", "access", somebody(shop), "--html", "{}/page.html"), OFFICER),
    Scenario("a backup is caught up with", "behind", ("rights", "replay"), mends=True),
    Scenario("a list is begun anew", "shop", ("rights", "replay", "--anew"), OFFICER, again=(1,), ready=_nothing_outside, mends=True),
    Scenario("the split gets a key", "shop", ("keys", "rotate", "split", "--yes")),
    Scenario("the log gets a key", "shop", ("keys", "rotate", "log", "--yes"), again=(1,)),
    Scenario("an old key retires", "overlapping", ("keys", "retire"), again=(1,)),
    Scenario("keys are backed up", "shop", ("keys", "backup", "{}/keys.backup"), again=(2,), env=PASSPHRASE),
    Scenario("keys are restored", "shop", ("keys", "restore", "{}/keys.backup"), ready=_lost, env=PASSPHRASE, mends=True),
    Scenario("an older schema", "shop", ("migrate",), ready=_older, mends=True, then=("rights", "replay", "--anew")),
    Scenario("what is kept outside gets shorter", "built", ("keys", "rotate", "log", "--yes"), again=(1,), ready=_long_outside),
    Scenario("a cap is accepted", "built", ("budget", "--accept-cap", "rules"), OFFICER, ready=lambda shop: _cap(shop)),
    Scenario("a question", "released", ("audit", "ask", "log-integrity", "--proof", "{}/proof"), AUDITOR, again=(2,)),
    Scenario("evidence leaves", "released", ("audit", "export", "log", "--to", "{}/log.csv"), AUDITOR, again=(2,)),
    Scenario("the log is published", "released", ("audit", "publish", "{}/log"), AUDITOR),
    Scenario("a witness cosigned", "shop", ("audit", "cosign", "{}/answer", "--to", "{}/log"), AUDITOR, ready=_published),
    Scenario("an entry is proved", "released", ("audit", "prove", "0", "--to", "{}/0.proof"), AUDITOR, again=(2,)),
    Scenario("a subject is proved", "released", lambda shop: (*OPENING, "--subject", somebody(shop)), OFFICER, again=(2,)),
    Scenario("the log is verified", "released", ("audit", "verify"), AUDITOR),
    Scenario("roles change", "shop", ("roles",), ready=lambda shop: shop.appoint(analysts=[ANALYST, "otto"])),
    Scenario("privacy is measured", "shop", ("audit", "privacy", "groups", "--fits", "1"), AUDITOR, unpaid=True),
    Scenario("a repair", "built", ("doctor", "--repair"), ready=_leftovers),
    Scenario("a partner gets keys", "shop", ("partner", "init")),
    Scenario("a collaboration is joined", "invited", _join, again=(2,), ready=_handed),
    Scenario("what left is handed over", "together", ("partner", "transcript", "show", "joint", "--to", "{}/left.jsonl")),
    Scenario("a round is proved", "together", (*PRESENCE, "--to", "{}/round.json"), OFFICER),
)


def _cap(shop: Shop) -> None:
    shop.write("policies", {**POLICY, "budgets": {**POLICY["budgets"], "cap": {"epsilon": 10}}})
