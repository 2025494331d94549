"""REGISTRY_* by registry:2's own rule, with the traps that its users know."""

from __future__ import annotations

from pathlib import Path

import pytest

from cargohold.config.describe import value_of
from cargohold.config.load import load
from tests.config.files import MINIMAL, loaded, problems

FILESYSTEM = """version: 0.1
log:
  fields: {service: registry}
storage:
  filesystem:
    rootdirectory: /var/lib/registry
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
"""

# variables, what must hold after
RULES: list[tuple[dict[str, str], dict[str, object]]] = [
    ({"REGISTRY_HTTP_ADDR": "0.0.0.0:443"}, {"http.addr": "0.0.0.0:443"}),
    ({"REGISTRY_HTTP_SECRET": "0123"}, {"http.secret": "0123"}),
    ({"REGISTRY_HTTP_SECRET": '"a b"'}, {"http.secret": "a b"}),
    ({"REGISTRY_HTTP_SECRET": "*not: {yaml"}, {"http.secret": "*not: {yaml"}),
    ({"REGISTRY_HTTP_DRAINTIMEOUT": "10s"}, {"http.draintimeout": 10.0}),
    ({"REGISTRY_HTTP_RELATIVEURLS": "false"}, {"http.relativeurls": False}),
    ({"REGISTRY_LOG_LEVEL": "debug"}, {"log.level": "debug"}),
    ({"REGISTRY_LOG_FIELDS_SERVICE": "x", "REGISTRY_LOG_FIELDS_SHARD": "7"}, {"log.fields": {"service": "x", "shard": "7"}}),
    ({"REGISTRY_LOG_FIELDS": "{a: b}"}, {"log.fields": {"a": "b"}}),
    ({"REGISTRY_STORAGE_DELETE_ENABLED": "false"}, {"storage.delete": False}),
    ({"REGISTRY_STORAGE_DELETE_ENABLED": ""}, {"storage.delete": False}),
    ({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/data"}, {"storage.rootdirectory": "/data", "storage.delete": True}),
    ({"REGISTRY_STORAGE_FILESYSTEM": "{rootdirectory: /data}"}, {"storage.rootdirectory": "/data"}),
    ({"REGISTRY_STORAGE": "inmemory"}, {"storage.driver": "inmemory", "storage.delete": False}),
    (
        {"REGISTRY_STORAGE": "s3", "REGISTRY_STORAGE_S3_BUCKET": "b", "REGISTRY_STORAGE_S3_REGION": "r"},
        {"storage.driver": "s3", "storage.s3.bucket": "b", "storage.s3.region": "r", "storage.delete": False},
    ),
    (
        {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm", "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd"},
        {"auth.kind": "htpasswd", "auth.htpasswd.realm": "Registry Realm", "auth.htpasswd.path": "/auth/htpasswd"},
    ),
    ({"REGISTRY_AUTH_HTPASSWD_REALM": "r", "REGISTRY_AUTH_HTPASSWD_PATH": "/p"}, {"auth.kind": "htpasswd"}),
    ({"REGISTRY_AUTH": "{htpasswd: {realm: r, path: /p}}"}, {"auth.kind": "htpasswd", "auth.htpasswd.path": "/p"}),
    (
        {"REGISTRY_HTTP_TLS_CERTIFICATE": "/c", "REGISTRY_HTTP_TLS_KEY": "/k", "REGISTRY_HTTP_TLS_CLIENTCAS": '["/a", "/b"]'},
        {"http.tls.certificate": "/c", "http.tls.key": "/k", "http.tls.clientcas": ["/a", "/b"]},
    ),
    (
        {"REGISTRY_HTTP_TLS": "{certificate: /c, key: /k, clientcas: [/a]}", "REGISTRY_HTTP_TLS_CLIENTCAS_1": "/b"},
        {"http.tls.clientcas": ["/a", "/b"]},
    ),
    (
        {"REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin": "['*']"},
        {"http.headers": {"X-Content-Type-Options": ["nosniff"], "access-control-allow-origin": ["*"]}},
    ),
    ({"REGISTRY_HTTP_HEADERS_X-Content-Type-Options": "[off]"}, {"http.headers": {"x-content-type-options": ["off"]}}),
    ({"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"}, {"storage.readonly": True}),
    ({"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled": true}'}, {"storage.readonly": True}),
    ({"REGISTRY_STORAGE_MAINTENANCE": "{uploadpurging: {age: 2h}}"}, {"storage.upload_expiry": 7200.0}),
    ({"REGISTRY_STORAGE_REDIRECT_DISABLE": "true"}, {"storage.redirect": False}),
    ({"REGISTRY_HTTP_DEBUG_ADDR": "localhost:5001"}, {"admin.addr": "localhost:5001"}),
    ({"REGISTRY_CATALOG_MAXENTRIES": "5"}, {"limits.catalog_page": 5}),
    ({"REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true", "REGISTRY_HTTP_DEBUG_ADDR": ":5001"}, {"admin.metrics_path": "/metrics"}),
]


@pytest.mark.parametrize(("environ", "expected"), RULES, ids=[" ".join(environ) for environ, _ in RULES])
def test_the_rule_on_top_of_a_file(environ: dict[str, str], expected: dict[str, object], tmp_path: Path) -> None:
    found = loaded(tmp_path, FILESYSTEM, environ)
    assert {path: value_of(found.settings, path) for path in expected} == expected
    assert not [notice for notice in found.notices if "unrecognized" in notice]


@pytest.mark.parametrize(("environ", "expected"), RULES, ids=[" ".join(environ) for environ, _ in RULES])
def test_the_rule_without_a_file(environ: dict[str, str], expected: dict[str, object]) -> None:
    found = load(None, environ)
    for path, value in expected.items():
        if path == "log.fields":
            continue  # the file's field is not there
        if path != "storage.delete" or environ.keys() & {"REGISTRY_STORAGE_DELETE_ENABLED"}:
            assert value_of(found.settings, path) == value


UNRECOGNIZED = [
    "REGISTRY_PORT",
    "REGISTRY_PORT_5000_TCP_ADDR",
    "REGISTRY_SERVICE_HOST",
    "REGISTRY_VERSION",
    "REGISTRY_HTTP_ADDRESS",
    "REGISTRY_HTTP_addr",
    "REGISTRY_HTTP_ADDR_MORE",
    "REGISTRY_STORAGE_PORT",
    "REGISTRY_AUTH_PORT",
    "REGISTRY_STORAGE_FILESYSTEM_FOLDER",
    "REGISTRY_HTTP__ADDR",
    "REGISTRY_",
    "REGISTRY_HTTP_TLS_CLIENTCAS_5",
    "REGISTRY_HTTP_TLS_CLIENTCAS_FIRST",
    "REGISTRY_REDIS_PORT",
]


@pytest.mark.parametrize("name", UNRECOGNIZED)
def test_a_variable_that_names_nothing_is_a_notice(name: str, tmp_path: Path) -> None:
    for found in (loaded(tmp_path, FILESYSTEM, {name: "tcp://10.0.0.1:5000"}), load(None, {name: "tcp://10.0.0.1:5000"})):
        assert [notice for notice in found.notices if name in notice] == [f"ignoring unrecognized environment variable {name}"]


BOTH_SPELLINGS = [
    ("REGISTRY_COMPATIBILITY_SCHEMA1_TRUSTKEY", "REGISTRY_COMPATIBILITY_SCHEMA1_SIGNINGKEYFILE", "/k", "compatibility"),
    ("REGISTRY_HEALTH_FILECHECKERS", "REGISTRY_HEALTH_FILE", "[{file: /x}]", "health"),
    ("REGISTRY_HEALTH_HTTPCHECKERS", "REGISTRY_HEALTH_HTTP", "[{uri: 'http://x'}]", "health"),
    ("REGISTRY_HEALTH_TCPCHECKERS", "REGISTRY_HEALTH_TCP", "[{addr: 'x:1'}]", "health"),
    (
        "REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES",
        "REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES",
        "true",
        "notifications",
    ),
]


@pytest.mark.parametrize(("field", "key", "value", "section"), BOTH_SPELLINGS)
def test_both_spellings_reach_the_key(field: str, key: str, value: str, section: str) -> None:
    for name in (field, key):
        assert [notice for notice in load(None, {name: value}).notices if f"environment {name}: accepted without effect" in notice], section


def test_a_list_is_given_whole_or_by_number() -> None:
    whole = load(None, {"REGISTRY_NOTIFICATIONS_ENDPOINTS": "[{name: a, url: 'http://a'}]"})
    numbered = load(None, {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME": "a", "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "http://a"})
    assert len(whole.notices) == len(numbered.notices) == 1
    assert "unrecognized" not in whole.notices[0] + numbered.notices[0]


def test_variables_apply_in_the_order_of_their_names(tmp_path: Path) -> None:
    environ = {"REGISTRY_STORAGE_S3_BUCKET": "b", "REGISTRY_STORAGE": "s3"}
    assert loaded(tmp_path, FILESYSTEM, environ).settings.storage.s3.bucket == "b"


def test_a_second_driver_by_variable_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, FILESYSTEM, {"REGISTRY_STORAGE_S3_BUCKET": "b"})
    assert line.startswith("environment REGISTRY_STORAGE_S3_BUCKET: storage.s3: a second storage driver beside filesystem (config.yml:5)")
    assert "REGISTRY_STORAGE=s3" in line


def test_a_wrong_value_of_a_known_name_is_an_error(tmp_path: Path) -> None:
    lines = problems(tmp_path, MINIMAL, {"REGISTRY_HTTP_DRAINTIMEOUT": "soon", "REGISTRY_STORAGE_DELETE_ENABLED": "[maybe]"})
    assert lines == [
        "environment REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout: a duration such as 90s, 10m or 1h30m is needed",
        "environment REGISTRY_STORAGE_DELETE_ENABLED: storage.delete.enabled: true or false is needed, not a list",
    ]


def test_an_empty_value_takes_the_file_s_away(tmp_path: Path) -> None:
    text = FILESYSTEM + "auth:\n  htpasswd: {realm: r, path: /p}\n"
    assert loaded(tmp_path, text).settings.auth.kind == "htpasswd"
    assert loaded(tmp_path, text, {"REGISTRY_AUTH": ""}).settings.auth.kind == "none"
