"""Settings come from one file and the environment; what is unknown or wrong is refused with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from wcp360.core.config import load_settings
from wcp360.core.errors import Invalid


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "wcp360.toml"
    file.write_text('[api]\nport = 9000\nhost = "::1"\n')
    settings = load_settings({"WCP360_CONFIG": str(file), "WCP360_API__PORT": "9001"})
    assert (settings.api.port, settings.api.host) == (9001, "::1")


@pytest.mark.parametrize(
    ("text", "key"),
    [("[api]\nprot = 1\n", "api.prot"), ("[api]\nport = 70000\n", "api.port"), ("colour = 1\n", "colour")],
)
def test_unknown_and_wrong_keys_are_named(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "wcp360.toml"
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        load_settings({"WCP360_CONFIG": str(file)})
    assert [error.field for error in caught.value.errors] == [key]


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(Invalid, match=r"api\.prot"):
        load_settings({"WCP360_CONFIG": "/dev/null", "WCP360_API__PROT": "1"})


def test_a_named_file_must_exist_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no configuration file"):
        load_settings({"WCP360_CONFIG": str(tmp_path / "missing.toml")})
    (tmp_path / "broken.toml").write_text("= 1")
    with pytest.raises(Invalid, match="not valid TOML"):
        load_settings({"WCP360_CONFIG": str(tmp_path / "broken.toml")})


def test_secrets_do_not_print() -> None:
    settings = load_settings({"WCP360_CONFIG": "/dev/null", "WCP360_STORAGE__URL": "postgresql://u:hunter2@h/d"})
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"WCP360_PANEL__HOSTNAME": "panel"}, r"panel\.hostname.*two labels"),
        ({"WCP360_PANEL__NAME_SERVERS": "ns1.example.com,ns2.local"}, r"panel\.name_servers\.1.*special use"),
        ({"WCP360_API": "x", "WCP360_API__PORT": "1"}, "'api' is a section"),
        ({"WCP360_CONFIG": "/"}, "cannot be read"),
        ({"WCP360_STATE_DIR": ""}, r"state_dir.*absolute path"),
    ],
)
def test_what_would_stop_a_server_later_is_said_at_once(environ: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        load_settings({"WCP360_CONFIG": "/dev/null"} | environ)


def test_lists_in_the_environment_are_split_at_commas() -> None:
    names = {"WCP360_PANEL__NAME_SERVERS": "NS1.example.com, ns2.example.com", "WCP360_API__ALLOWED_ORIGINS": ""}
    settings = load_settings({"WCP360_CONFIG": "/dev/null"} | names)
    assert settings.panel.reserved_hostnames() == {"ns1.example.com", "ns2.example.com"}
    assert settings.api.allowed_origins == ()
