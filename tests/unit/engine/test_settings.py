"""consentric.toml: what it must say, what it cannot, and a digest of all that decides who may do what."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine import settings as toml
from engine.settings import FILE, HOUSE, Settings, SettingsError
from governance.roles import SECTION, Role
from tests.tokens import Issuer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With the key of an issuer in it."""
    Issuer().settings(tmp_path)
    return tmp_path


TOKENS = '[tokens]\nissuer = "i"\nname = "n"\naudience = "a"\nkeys = ["{workspace}/issuer.pem"]\n'


def read(root: Path, text: str) -> Settings:
    return toml.parse(root, text, {})


def test_a_new_file_reads_as_it_was_meant(root: Path) -> None:
    roles = {Role.ANALYST: ('a"na', "bo\\b"), Role.OFFICER: ("olga@house",)}
    text = toml.draft('sho"p', True, ["a note"], roles, "")
    found = read(root, text)
    assert (found.name, found.demo, found.notes, found.tokens, found.house) == ('sho"p', True, ("a note",), None, None)
    assert found.roles == {role: roles.get(role, ()) for role in Role}
    assert {*tomllib.loads(text)["roles"]} == {*SECTION}


def test_names_may_stand_in_one_text(root: Path) -> None:
    assert read(root, '[roles]\nofficers = "olga, otto,"').roles[Role.OFFICER] == ("olga", "otto")


def test_tokens_are_read_with_their_keys(root: Path) -> None:
    trust = read(root, TOKENS + "max_lifetime = 60").tokens
    assert trust is not None and (trust.issuer, trust.name, trust.trust_roles, trust.max_lifetime) == ("i", "n", False, 60)
    assert trust.keys == ((root / "issuer.pem").read_bytes(),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[roles]\noficers = []", "`oficers`"),
        ("[roles]\nofficers = [1]", "roles.officers"),
        ("roles = 1", "a section"),
        ("[roles", "cannot be read"),
        (TOKENS.replace('issuer = "i"\n', ""), "`issuer` is missing"),
        (TOKENS.replace('"i"', '""'), "tokens.issuer"),
        (TOKENS.replace('"n"', '"n@x"'), "without `@`"),
        (TOKENS.replace("issuer.pem", "none.pem"), "none.pem"),
        (TOKENS.replace('["{workspace}/issuer.pem"]', "[]"), "tokens.keys"),
        (TOKENS + 'trust_roles = "true"', "tokens.trust_roles"),
        (TOKENS + "max_lifetime = 0", "seconds from 1"),
        (TOKENS + "max_lifetime = true", "tokens.max_lifetime"),
        (TOKENS + 'algorithm = "HS256"', "`algorithm`"),
    ],
)
def test_what_is_not_understood_is_refused(root: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(root, text)
    assert said in str(refused.value)


def test_a_key_that_is_none_is_refused(root: Path) -> None:
    (root / "issuer.pem").write_text("a secret")
    with pytest.raises(SettingsError, match=r"tokens\.keys"):
        read(root, TOKENS)


def test_the_environment_says_nothing_about_access(root: Path) -> None:
    (root / FILE).write_text("")
    environment = {"CONSENTRIC_ROLES_OFFICERS": "eve", "CONSENTRIC_TOKENS_ISSUER": "eve", "CONSENTRIC_WORKSPACE_DEMO": "true"}
    found = toml.read(root, environment)
    assert not any(found.roles.values()) and found.tokens is None and not found.demo


def test_the_digest_changes_with_whatever_decides(root: Path) -> None:
    texts = ["", '[roles]\nofficers = ["a"]', '[roles]\nanalysts = ["a"]', '[roles]\nofficers = ["a", "b"]', TOKENS]
    texts += [TOKENS.replace('"i"', '"j"'), TOKENS.replace('"a"', '"b"'), TOKENS + "trust_roles = true", TOKENS + "max_lifetime = 9"]
    digests = [read(root, text).access_digest for text in texts]
    (root / HOUSE).write_text("")
    digests.append(read(root, "").access_digest)
    (root / HOUSE).write_text("// x")
    digests.append(read(root, "").access_digest)
    Issuer().settings(root)
    digests.append(read(root, TOKENS).access_digest)
    assert len(set(digests)) == len(digests)


def test_the_digest_stays_when_nothing_of_it_changes(root: Path) -> None:
    before = read(root, '[roles]\nofficers = ["a"]\n[engine]\nthreads = 2').access_digest
    assert read(root, '[engine]\nthreads = 4\n[roles]\nofficers = "a"  # still').access_digest == before


def test_a_house_that_cannot_be_read_is_not_the_same_as_none(root: Path) -> None:
    (root / HOUSE).mkdir()
    with pytest.raises(SettingsError, match=r"roles\.cedar"):
        read(root, "")
