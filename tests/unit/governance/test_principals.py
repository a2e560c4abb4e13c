from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from governance.principals import (
    LONGEST,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    UNSAFE_VARIABLE,
    Established,
    Principal,
    PrincipalError,
    current,
)
from governance.roles import Role
from tests.tokens import ISSUER, Issuer

ISSUERS = {algorithm: Issuer(algorithm) for algorithm in ("EdDSA", "ES256", "RS256")}
SIGNED = ISSUERS["EdDSA"]


def named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entry = pwd.struct_passwd((name, "x", 1, 1, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: entry)


class TestUser:
    def test_the_principal_is_the_operating_systems_user(self) -> None:
        assert current({}, demo=False) == Principal(pwd.getpwuid(os.getuid()).pw_name)
        assert current({"USER": "somebody-else", "LOGNAME": "somebody-else"}, demo=True) == current({}, demo=False)

    def test_a_user_without_a_name_is_a_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
        assert current({}, demo=False) == Principal("uid:4000000001")

    def test_no_user_is_called_like_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        named(monkeypatch, "olga@house")
        assert current({}, demo=False) == Principal(f"uid:{os.getuid()}")
        assert "@" in current({TOKEN_VARIABLE: SIGNED.token()}, False, SIGNED.trust).name


class TestUnsafe:
    def test_an_unsafe_name_is_taken_in_demo_workspaces_and_marked(self) -> None:
        assert current({UNSAFE_VARIABLE: "officer"}, demo=True) == Principal("officer", Established.UNSAFE)
        assert current({UNSAFE_VARIABLE: "officer"}, demo=True).unsafe

    def test_an_unsafe_name_is_refused_elsewhere(self) -> None:
        with pytest.raises(PrincipalError, match="demo"):
            current({UNSAFE_VARIABLE: "officer"}, demo=False)


class TestToken:
    @pytest.mark.parametrize("algorithm", ISSUERS)
    def test_its_bearer_is_subject_and_issuer(self, algorithm: str) -> None:
        issuer = ISSUERS[algorithm]
        found = current({TOKEN_VARIABLE: issuer.token(sub="olga")}, False, issuer.trust)
        assert found == Principal("olga@house", Established.TOKEN) and not found.unsafe

    def test_it_may_stand_in_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(SIGNED.token(sub="ana") + "\n")
        assert current({TOKEN_FILE_VARIABLE: str(file)}, False, SIGNED.trust).name == "ana@house"

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"x" * (LONGEST + 9)])
    def test_a_file_without_a_token_is_refused(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "token"
        file.write_bytes(content)
        with pytest.raises(PrincipalError):
            current({TOKEN_FILE_VARIABLE: str(file)}, False, SIGNED.trust)
        with pytest.raises(PrincipalError, match="cannot be read"):
            current({TOKEN_FILE_VARIABLE: str(tmp_path / "none")}, False, SIGNED.trust)

    def test_nobody_is_named_twice(self) -> None:
        environment = {TOKEN_VARIABLE: SIGNED.token(), UNSAFE_VARIABLE: "ana"}
        with pytest.raises(PrincipalError, match="expected one of them"):
            current(environment, True, SIGNED.trust)
        with pytest.raises(PrincipalError, match="expected one of them"):
            current({TOKEN_VARIABLE: SIGNED.token(), TOKEN_FILE_VARIABLE: "/x"}, False, SIGNED.trust)

    def test_without_settings_no_token_counts(self) -> None:
        with pytest.raises(PrincipalError, match=r"no `\[tokens\]`"):
            current({TOKEN_VARIABLE: SIGNED.token()}, demo=False)

    def test_roles_count_where_the_issuer_is_trusted_with_them(self) -> None:
        token = SIGNED.token(roles=["compliance_officer", "king"])
        assert current({TOKEN_VARIABLE: token}, False, SIGNED.trust).roles == frozenset()
        assert current({TOKEN_VARIABLE: token}, False, SIGNED.trusting(trust_roles=True)).roles == {Role.OFFICER}

    def test_keys_change_without_a_day_on_which_none_works(self) -> None:
        old, new = Issuer("EdDSA"), Issuer("EdDSA")
        trust = old.trusting(keys=(*old.trust.keys, *new.trust.keys))
        for issuer in (old, new):
            assert current({TOKEN_VARIABLE: issuer.token(sub="ana", iss=ISSUER)}, False, trust).name == "ana@house"
