"""What cannot be is said at once, all of it, with key, line and the nearest name; and never with a secret."""

from __future__ import annotations

import pathlib
from pathlib import Path

import pytest

from cargohold.config.load import load
from cargohold.config.origin import ConfigInvalid
from cargohold.config.values import Unfit, go_duration
from tests.config.files import MINIMAL, loaded, problems


def test_all_errors_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """version: 0.2
log:
  levle: debug
storage:
  filesytem: {rootdirectory: /x}
  delete: {enabled: perhaps}
http:
  addr: 5000
  draintimeout: soon
  prefix: v2
cargohold:
  workers: many
  databse: {url: x}
  storage: {sync: always}
"""
    lines = problems(tmp_path, text, {"CARGOHOLD_WORKER": "1", "REGISTRY_HTTP_RELATIVEURLS": "sometimes"}, {"--log-level": "loud"})
    assert lines == [
        "config.yml:1: version: only version 0.1 is known",
        "config.yml:3: log.levle: unknown key; did you mean log.level?",
        "config.yml:5: storage.filesytem: unknown key; did you mean storage.filesystem?",
        "config.yml:6: storage.delete.enabled: true or false is needed",
        "config.yml:8: http.addr: host:port is needed, such as 127.0.0.1:5000 or :5000",
        "config.yml:9: http.draintimeout: a duration such as 90s, 10m or 1h30m is needed",
        "config.yml:10: http.prefix: must start and end with a slash",
        "config.yml:12: cargohold.workers: a whole number is needed",
        "config.yml:13: cargohold.databse: unknown key; did you mean cargohold.database?",
        "config.yml:14: cargohold.storage.sync: must be one of full, journal, data, none",
        "environment REGISTRY_HTTP_RELATIVEURLS: http.relativeurls: true or false is needed",
        "environment CARGOHOLD_WORKER: there is no such setting; did you mean CARGOHOLD_WORKERS?",
        "flag --log-level: must be one of error, warn, info, debug",
    ]


ONE = [
    ("storage: inmemory\n", "version: missing: write version: 0.1"),
    ("version: 0.1\n", "storage: missing: name a driver: filesystem, s3 or inmemory"),
    ("version: 0.1\nstorage: {delete: {enabled: true}}\n", "storage: missing: name a driver"),
    ("version: 0.1\nstorage: {filesystem: {}, inmemory: {}}\n", "storage.inmemory: a second storage driver beside filesystem"),
    ("version: 0.1\nstorage: {s3: {region: r}}\n", "storage.s3.bucket: missing: the s3 driver needs a bucket"),
    ("version: 0.1\nstorage: {s3: {bucket: b, accesskey: a}}\n", "storage.s3.secretkey: missing: accesskey and secretkey go together"),
    ("version: 0.1\nstorage: {s3: {bucket: b, chunksize: 1}}\n", "storage.s3.chunksize: must be 5242880 or more"),
    (MINIMAL + "auth: {none: {}, htpasswd: {realm: r, path: p}}\n", "auth.htpasswd: auth.none is there already; only one can be"),
    (MINIMAL + "auth: {htpasswd: {realm: r}}\n", "auth.htpasswd.path: missing: htpasswd needs a file"),
    (MINIMAL + "auth: {token: {realm: r, service: s, issuer: i}}\n", "auth.token.rootcertbundle: missing"),
    (
        MINIMAL + "auth: {token: {realm: r, service: s, issuer: i, jwks: j, signingalgorithms: [HS256]}}\n",
        "signingalgorithms: an algorithm is not",
    ),
    (MINIMAL + "http: {tls: {certificate: c}}\n", "http.tls.key: missing: a certificate is set without its key"),
    (MINIMAL + "http: {tls: {key: k}}\n", "http.tls.certificate: missing: a key is set without its certificate"),
    (MINIMAL + "http: {tls: {clientcas: [c]}}\n", "http.tls.clientcas: client certificates need TLS"),
    (MINIMAL + "http: {host: registry.example}\n", "http.host: a URL with http:// or https:// and a host is needed"),
    (MINIMAL + "http: {addr: 'localhost:99999'}\n", "http.addr: host:port is needed"),
    (MINIMAL + 'http: {headers: {"X Y": [a]}}\n', "http.headers: 'X Y' is no header"),
    (
        MINIMAL + 'http: {headers: {X: ["a\\r\\nSet-Cookie: b"]}}\n',
        "http.headers: 'X' is no header, or has a value with control characters",
    ),
    (MINIMAL + "http: {headers: {X: plain}}\n", "http.headers: a list of texts is needed, not a single value"),
    (MINIMAL + "http: 3\n", "http: a mapping is needed, not a single value"),
    (MINIMAL + "http: {tls: {minimumtls: ssl3}}\n", "http.tls.minimumtls: must be one of tls1.2, tls1.3"),
    (MINIMAL + "log: {level: loud}\n", "log.level: must be one of error, warn, info, debug"),
    (MINIMAL + "log: {formatter: xml}\n", "log.formatter: must be one of text, json"),
    (MINIMAL + "notifications: {endpoints: [{nmae: a}]}\n", "notifications.endpoints[0].nmae: unknown key; did you mean"),
    (MINIMAL + "htpp: {addr: ':1'}\n", "htpp: unknown key; did you mean http?"),
    (MINIMAL + "catalog: {maxentries: 0}\n", "catalog.maxentries: must be 1 or more"),
    (MINIMAL + "http: {debug: {addr: ':5000'}, addr: ':5000'}\n", "http.debug.addr: must differ from http.addr"),
    (MINIMAL + "cargohold: {database: {url: mysql://x}}\n", "cargohold.database.url: must start with postgresql://"),
    (MINIMAL + "cargohold: {limits: {manifest_bytes: 4 parsecs}}\n", "cargohold.limits.manifest_bytes: a number of bytes is needed"),
    (MINIMAL + "cargohold: 3\n", "cargohold: a mapping of settings is needed"),
]


@pytest.mark.parametrize(("text", "line"), ONE, ids=[line[:50] for _, line in ONE])
def test_one_mistake_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text)
    assert line in found


def test_no_refusal_repeats_a_secret(tmp_path: Path) -> None:
    text = MINIMAL.replace("inmemory", "{s3: {bucket: [hunter2], secretkey: [hunter2], accesskey: {hunter2: 1}}}")
    text += "cargohold: {database: {url: 'mysql://u:hunter2@h/d'}, http: {secret: [hunter2]}}\n"
    lines = problems(tmp_path, text, {"CARGOHOLD_WORKERS": "hunter2", "REGISTRY_HTTP_DRAINTIMEOUT": "hunter2"})
    assert len(lines) >= 6 and not [line for line in lines if "hunter2" in line]


def test_our_own_storage_section_is_enough(tmp_path: Path) -> None:
    found = loaded(tmp_path, "version: 0.1\ncargohold: {storage: {rootdirectory: /x}}\n")
    assert (found.settings.storage.driver, found.settings.storage.rootdirectory) == ("filesystem", "/x")


def test_units_are_read_in_our_own_section(tmp_path: Path) -> None:
    text = MINIMAL + "cargohold: {http: {idle_timeout: 1m30s, keepalive: 75, header_limit: 128KiB}, limits: {manifest_bytes: 8 MiB}}\n"
    settings = loaded(tmp_path, text).settings
    assert (settings.http.idle_timeout, settings.http.keepalive) == (90.0, 75.0)
    assert (settings.http.header_limit, settings.limits.manifest_bytes) == (131072, 8 << 20)


DURATIONS = [("1h30m", 5400.0), ("10s", 10.0), ("168h", 604800.0), ("250ms", 0.25), ("1.5m", 90.0), ("0", 0.0), ("1us", 1e-6), (".5s", 0.5)]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations_of_go(text: str, seconds: float) -> None:
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1d", "-1s", "1h 30m", "1h30", "ten", "1..5s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Unfit):
        go_duration(text)


def test_loading_opens_no_file_that_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a certificate can be read is found out at the start; `config check` can run anywhere."""
    monkeypatch.setattr(pathlib.Path, "open", lambda *_: pytest.fail("opened a file"))
    settings = load(None, {"REGISTRY_HTTP_TLS_CERTIFICATE": "/none", "REGISTRY_HTTP_TLS_KEY": "/none"}).settings
    assert settings.http.tls.certificate == "/none"


def test_an_error_of_a_flag_names_the_flag() -> None:
    with pytest.raises(ConfigInvalid, match=r"^flag --addr: http\.addr: host:port is needed"):
        load(None, {}, {"--addr": "nonsense"})
