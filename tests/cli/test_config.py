"""`cargohold config`: check tells all, show redacts, schema takes what the loader takes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from cargohold.config.describe import every_setting
from cargohold.config.schema import config_schema
from tests.cli.program import fails, run
from tests.config.files import MINIMAL, as_text, loaded, problems, write
from tests.config.test_registry_keys import HONOURED, file_with


def test_check_of_a_good_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "health: {storagedriver: {enabled: true}}\n")
    done = run("config", "check", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: good\n")
    assert done.stderr.startswith("cargohold: config.yml:3 health: accepted without effect")


def test_check_of_a_bad_file_names_every_cause(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "http: {addr: nowhere}\nhtpp: {}\n")
    lines = fails("config", "check", path, code=2, environ={"CARGOHOLD_WORKERS": "many"})
    assert lines == [
        "cargohold: config.yml:3: http.addr: host:port is needed, such as 127.0.0.1:5000 or :5000",
        "cargohold: config.yml:4: htpp: unknown key; did you mean http?",
        "cargohold: environment CARGOHOLD_WORKERS: a whole number is needed",
    ]


def test_check_in_json(tmp_path: Path) -> None:
    done = run("config", "check", "-o", "json", write(tmp_path, MINIMAL + "htpp: {}\n"))
    assert done.returncode == 2
    assert json.loads(done.stdout) == {"valid": False, "problems": ["config.yml:3: htpp: unknown key; did you mean http?"], "notices": []}
    good = json.loads(run("config", "check", "-o", "json", environ={"REGISTRY_PORT": "tcp://x"}).stdout)
    assert good["valid"] and good["notices"] == ["ignoring unrecognized environment variable REGISTRY_PORT"]


SECRETS = {
    "CARGOHOLD_STORAGE_S3_SECRETKEY": "hunter2",
    "CARGOHOLD_STORAGE_S3_ACCESSKEY": "hunter2",
    "CARGOHOLD_HTTP_SECRET": "hunter2",
    "CARGOHOLD_DATABASE_URL": "postgresql://user:hunter2@hunter2/@db/name?password=hunter2&sslmode=require",
}


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_show_tells_every_value_and_its_origin_without_secrets(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "http: {addr: ':7'}\n")
    done = run("config", "show", "-o", form, path, environ=SECRETS)
    assert done.returncode == 0 and not done.stderr
    assert "hunter2" not in done.stdout
    assert all(name in done.stdout for name in every_setting())
    assert "config.yml:3 http.addr" in done.stdout and "environment CARGOHOLD_DATABASE_URL" in done.stdout
    if form == "table":
        return
    told = json.loads(done.stdout) if form == "json" else yaml.safe_load(done.stdout)
    assert told["http.addr"] == {"value": ":7", "origin": "config.yml:3 http.addr"}
    assert told["database.url"]["value"] == "postgresql://user:***@db/name?password=***&sslmode=require"
    assert told["storage.s3.secretkey"]["value"] == "***"
    assert told["http.tls.key"]["value"] == "", "an empty secret and a path are shown"


def test_every_secret_is_marked() -> None:
    """A setting that sounds like a secret is one, or is named here with the reason."""
    sounds = [path for path in every_setting() if any(word in path for word in ("secret", "password", "accesskey", "url"))]
    harmless = {"http.relativeurls"}
    assert {path for path in sounds if not every_setting()[path].secret} == harmless


def test_show_of_a_bad_file_is_refused(tmp_path: Path) -> None:
    assert fails("config", "show", write(tmp_path, "version: 3\nstorage: inmemory\n"), code=2)
    assert fails("config", "show", tmp_path / "none.yml", code=2) == [
        f"cargohold: cannot read {tmp_path / 'none.yml'}: No such file or directory"
    ]


def test_schema_is_printed() -> None:
    assert json.loads(run("config", "schema").stdout) == json.loads(json.dumps(config_schema()))


@cache
def validator() -> Any:
    return fastjsonschema.compile(config_schema(), use_default=False)


@pytest.mark.parametrize("row", HONOURED, ids=[f"{row[0]}={row[1]}" for row in HONOURED])
def test_the_schema_takes_every_honoured_key(row: tuple[str, object, str, object]) -> None:
    validator()(yaml.safe_load(file_with(row[0], row[1])))


def test_the_schema_takes_our_own_section(tmp_path: Path) -> None:
    section: dict[str, Any] = {}
    for path, setting in every_setting().items():
        node = section
        for part in path.split(".")[:-1]:
            node = node.setdefault(part, {})
        node[setting.name] = setting.default
    section["http"]["idle_timeout"] = "1m30s"
    section["limits"]["manifest_bytes"] = "4MiB"
    data = {"version": 0.1, "storage": "inmemory", "cargohold": section}
    del section["storage"]["driver"]
    validator()(data)
    assert loaded(tmp_path, as_text(data)).settings.http.idle_timeout == 90.0, "what the schema takes, the loader takes"


WRONG: list[dict[str, Any]] = [
    {},
    {"version": "0.2"},
    {"version": 0.1, "htpp": {}},
    {"version": 0.1, "http": {"adr": ":1"}},
    {"version": 0.1, "storage": {"filesytem": {}}},
    {"version": 0.1, "storage": "floppy"},
    {"version": 0.1, "storage": {"inmemory": None, "delete": {"enabled": "perhaps"}}},
    {"version": 0.1, "storage": {"azure": {"container": "c"}}},
    {"version": 0.1, "storage": "inmemory", "http": {"draintimeout": "soon"}},
    {"version": 0.1, "storage": "inmemory", "http": {"headers": {"X": "a"}}},
    {"version": 0.1, "storage": "inmemory", "proxy": {"remoteurl": "https://x"}},
    {"version": 0.1, "storage": "inmemory", "cargohold": {"workers": -1}},
    {"version": 0.1, "storage": "inmemory", "cargohold": {"workers": "many"}},
    {"version": 0.1, "storage": "inmemory", "cargohold": {"databse": {}}},
    {"version": 0.1, "storage": "inmemory", "cargohold": {"storage": {"sync": "always"}}},
    {"version": 0.1, "storage": "inmemory", "cargohold": {"limits": {"manifest_bytes": "4 parsecs"}}},
]


@pytest.mark.parametrize("data", WRONG, ids=str)
def test_what_the_schema_refuses_the_loader_refuses(data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validator()(data)
    assert problems(tmp_path, as_text(data))
