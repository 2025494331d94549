"""default < default of registry:2 < file < REGISTRY_* < CARGOHOLD_* < flag, and every value says who set it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cargohold.config.describe import every_setting, value_of
from cargohold.config.load import load
from cargohold.config.origin import ConfigInvalid
from cargohold.config.own import FLAGS
from cargohold.config.settings import Settings
from tests.config.files import MINIMAL, loaded, problems, write


def test_without_anything_every_value_is_a_default() -> None:
    found = load(None, {})
    assert found.settings == Settings()
    assert {str(origin) for origin in found.origin.values()} == {"default"}
    assert set(found.origin) == set(every_setting())
    assert found.settings.storage.delete is True, "without a config.yml, deleting is on"


def test_the_later_wins_and_says_so(tmp_path: Path) -> None:
    file = MINIMAL + "http:\n  addr: :1\n"
    steps: list[tuple[dict[str, str], dict[str, str], str, str]] = [
        ({}, {}, ":1", "config.yml:4 http.addr"),
        ({"REGISTRY_HTTP_ADDR": ":2"}, {}, ":2", "environment REGISTRY_HTTP_ADDR"),
        ({"REGISTRY_HTTP_ADDR": ":2", "CARGOHOLD_HTTP_ADDR": ":3"}, {}, ":3", "environment CARGOHOLD_HTTP_ADDR"),
        ({"REGISTRY_HTTP_ADDR": ":2", "CARGOHOLD_HTTP_ADDR": ":3"}, {"--addr": ":4"}, ":4", "flag --addr"),
    ]
    for environ, flags, address, origin in steps:
        found = loaded(tmp_path, file, environ, flags)
        assert (found.settings.http.addr, str(found.origin["http.addr"])) == (address, origin)
    assert loaded(tmp_path).settings.http.addr == "127.0.0.1:5000"


def test_a_variable_beats_our_own_section_of_the_file(tmp_path: Path) -> None:
    file = MINIMAL + "cargohold:\n  http:\n    addr: :1\n"
    assert str(loaded(tmp_path, file).origin["http.addr"]) == "config.yml:5 cargohold.http.addr"
    assert loaded(tmp_path, file, {"REGISTRY_HTTP_ADDR": ":2"}).settings.http.addr == ":2"


def test_the_defaults_of_registry_hold_only_where_the_file_is_silent(tmp_path: Path) -> None:
    found = loaded(tmp_path, "version: 0.1\nstorage: {s3: {bucket: b}}\n")
    told = {path: str(origin) for path, origin in found.origin.items() if "registry:2" in str(origin)}
    assert told == dict.fromkeys(("storage.delete", "log.accesslog", "storage.redirect"), "default of registry:2")
    assert (found.settings.storage.delete, found.settings.storage.redirect, found.settings.log.accesslog) == (False, True, "combined")
    spoken = loaded(tmp_path, "version: 0.1\nstorage: {s3: {bucket: b}, delete: {enabled: true}, redirect: {disable: true}}\n")
    assert (spoken.settings.storage.delete, spoken.settings.storage.redirect) == (True, False)
    folder = loaded(tmp_path, "version: 0.1\nstorage: filesystem\n")
    assert folder.settings.storage.rootdirectory == "/var/lib/registry"


def test_two_places_of_the_file_may_not_say_the_same(tmp_path: Path) -> None:
    file = MINIMAL + "http:\n  addr: :1\ncargohold:\n  http:\n    addr: :1\n"
    assert problems(tmp_path, file) == ["config.yml:7: cargohold.http.addr: says the same as http.addr in line 4; keep one of them"]


def test_every_setting_can_be_set_by_its_variable(tmp_path: Path) -> None:
    """By the closed set of names, with a value that differs from the default wherever the type allows one."""
    for path, setting in every_setting().items():
        text, expected = sample(path)
        company = next((more for start, more in COMPANY.items() if path.startswith(start)), {})
        found = load(None, {**company, setting.variable: text})
        assert value_of(found.settings, path) == expected, path
        assert str(found.origin[path]) == f"environment {setting.variable}"


# What a setting needs beside it to be good.
COMPANY = {
    "http.tls": {"CARGOHOLD_HTTP_TLS_CERTIFICATE": "/c", "CARGOHOLD_HTTP_TLS_KEY": "/k"},
    "auth.kind": {"CARGOHOLD_AUTH_HTPASSWD_PATH": "/p"},
    "storage.driver": {"CARGOHOLD_STORAGE_S3_BUCKET": "b"},
}


def sample(path: str) -> tuple[str, object]:
    """A text for the variable of that setting, and the value it must give."""
    setting = every_setting()[path]
    if setting.choices:
        return setting.choices[1], setting.choices[1]
    if path == "workers":
        return "3", 3
    by_base: dict[object, tuple[str, object]] = {
        bool: (str(not setting.default).lower(), not setting.default),
        int: ("6MiB", 6 << 20) if setting.unit == "bytes" else ("77", 77),
        float: ("1m30s", 90.0),
        str: SPECIAL.get(path, ("word", "word")),
    }
    if setting.base in by_base:
        return by_base[setting.base]
    return {
        "http.headers": ("{X-A: [b]}", {"X-A": ["b"]}),
        "log.fields": ("{a: b}", {"a": "b"}),
        "auth.token.signingalgorithms": ("[ES256]", ["ES256"]),
    }.get(path, ("[a, b]", ["a", "b"]))


SPECIAL: dict[str, tuple[str, object]] = {
    "http.addr": (":7", ":7"),
    "http.host": ("https://h", "https://h"),
    "http.prefix": ("/p/", "/p/"),
    "admin.addr": (":8", ":8"),
    "admin.metrics_path": ("/p", "/p"),
    "database.url": ("postgresql://h/d", "postgresql://h/d"),
}


def test_no_two_settings_share_a_variable() -> None:
    names = [setting.variable for setting in every_setting().values()]
    assert len(set(names)) == len(names)


def test_an_unknown_variable_of_ours_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(None, {"CARGOHOLD_STORAGE_ROOTDIR": "/x", "CARGOHOLD_WORKER": "2"})
    assert str(caught.value).splitlines() == [
        "environment CARGOHOLD_STORAGE_ROOTDIR: there is no such setting; did you mean CARGOHOLD_STORAGE_ROOTDIRECTORY?",
        "environment CARGOHOLD_WORKER: there is no such setting; did you mean CARGOHOLD_WORKERS?",
    ]


@pytest.mark.parametrize(
    "name", ["PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_5000_TCP", "PORT_5000_TCP_ADDR", "DB_SERVICE_HOST"]
)
def test_the_links_of_kubernetes_are_passed_over(name: str) -> None:
    assert load(None, {f"CARGOHOLD_{name}": "tcp://10.0.0.1:5000"}).settings == Settings()


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_sets_its_settings(flag: str) -> None:
    text = {"--workers": "2", "--log-level": "debug", "--addr": ":1", "--admin-addr": ":2"}.get(flag, "/some/file")
    company = {"--tls-cert": {"--tls-key": "/k"}, "--tls-key": {"--tls-cert": "/c"}}.get(flag, {})
    found = load(None, {}, {flag: text, **company})
    for path, fixed in FLAGS[flag].items():
        assert str(value_of(found.settings, path)) == (text if fixed is None else fixed)
        assert str(found.origin[path]) == f"flag {flag}"


def test_registry_configuration_path_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "http: {addr: ':9'}\n")
    found = load(None, {"REGISTRY_CONFIGURATION_PATH": str(path)})
    assert (found.settings.http.addr, found.path, found.notices) == (":9", path, ())
    other = tmp_path / "other.yml"
    other.write_text(MINIMAL)
    assert load(other, {"REGISTRY_CONFIGURATION_PATH": str(path)}).settings.http.addr == "127.0.0.1:5000", "the argument wins"


def test_again_reads_the_file_once_more(tmp_path: Path) -> None:
    first = loaded(tmp_path, MINIMAL, flags={"--addr": ":1"})
    write(tmp_path, MINIMAL + "log: {level: debug}\n")
    second = first.again({})
    assert (second.settings.log.level, second.settings.http.addr) == ("debug", ":1")


def test_settings_survive_json() -> None:
    """The tree is plain data: nothing in it needs this process."""
    assert msgspec.json.decode(msgspec.json.encode(Settings()), type=Settings) == Settings()
