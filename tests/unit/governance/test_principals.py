import os
import pwd

import pytest

from governance.principals import UNSAFE_VARIABLE, Principal, PrincipalError, current


def test_the_principal_is_the_operating_systems_user() -> None:
    assert current({}, demo=False) == Principal(pwd.getpwuid(os.getuid()).pw_name)
    assert current({"USER": "somebody-else", "LOGNAME": "somebody-else"}, demo=True) == current({}, demo=False)


def test_an_unsafe_name_is_taken_in_demo_workspaces_and_marked() -> None:
    assert current({UNSAFE_VARIABLE: "officer"}, demo=True) == Principal("officer", unsafe=True)


def test_an_unsafe_name_is_refused_elsewhere() -> None:
    with pytest.raises(PrincipalError, match="demo"):
        current({UNSAFE_VARIABLE: "officer"}, demo=False)


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert current({}, demo=False) == Principal("uid:4000000001")
