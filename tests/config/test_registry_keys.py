"""Every key of the config.yml of registry:2 (2.8 and 3.x), and what we do with it. The table is typed by hand from its documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from cargohold.config.describe import value_of
from cargohold.config.registry_keys import KEYS, Does, Kind
from tests.config.files import as_text, loaded, merged, nested, problems

# key, value in the file, our setting, value there
HONOURED: list[tuple[str, object, str, object]] = [
    ("log.level", "WARN", "log.level", "warn"),
    ("loglevel", "error", "log.level", "error"),
    ("log.formatter", "json", "log.formatter", "json"),
    ("log.formatter", "logstash", "log.formatter", "json"),
    ("log.fields", {"service": "registry", "shard": 3}, "log.fields", {"service": "registry", "shard": "3"}),
    ("log.accesslog.disabled", True, "log.accesslog", "off"),
    ("log.accesslog.disabled", False, "log.accesslog", "combined"),
    ("storage.filesystem.rootdirectory", "/srv/data", "storage.rootdirectory", "/srv/data"),
    ("storage.inmemory", None, "storage.driver", "inmemory"),
    ("storage.s3", {}, "storage.driver", "s3"),
    ("storage.s3aws", {"bucket": "b"}, "storage.s3.bucket", "b"),
    ("storage.s3.region", "eu-1", "storage.s3.region", "eu-1"),
    ("storage.s3.bucket", "other", "storage.s3.bucket", "other"),
    ("storage.s3.accesskey", 123, "storage.s3.accesskey", "123"),
    ("storage.s3.secretkey", "s", "storage.s3.secretkey", "s"),
    ("storage.s3.regionendpoint", "http://s3:8333", "storage.s3.regionendpoint", "http://s3:8333"),
    ("storage.s3.rootdirectory", "/reg", "storage.s3.rootdirectory", "/reg"),
    ("storage.s3.secure", False, "storage.s3.secure", False),
    ("storage.s3.skipverify", True, "storage.s3.skipverify", True),
    ("storage.s3.chunksize", 6291456, "storage.s3.segment", 6291456),
    ("storage.delete.enabled", True, "storage.delete", True),
    ("storage.delete.enabled", False, "storage.delete", False),
    ("storage.redirect.disable", True, "storage.redirect", False),
    ("storage.maintenance.readonly.enabled", True, "storage.readonly", True),
    ("storage.maintenance.uploadpurging.enabled", False, "storage.upload_expiry", 3155760000.0),
    ("storage.maintenance.uploadpurging.age", "1h30m", "storage.upload_expiry", 5400.0),
    ("auth.none", {}, "auth.kind", "none"),
    ("auth.htpasswd.realm", "basic", "auth.htpasswd.realm", "basic"),
    ("auth.htpasswd.path", "/auth/htpasswd", "auth.htpasswd.path", "/auth/htpasswd"),
    ("auth.token.realm", "https://a/token", "auth.token.realm", "https://a/token"),
    ("auth.token.service", "registry.example", "auth.token.service", "registry.example"),
    ("auth.token.issuer", "issuer", "auth.token.issuer", "issuer"),
    ("auth.token.rootcertbundle", "/certs/bundle.crt", "auth.token.rootcertbundle", "/certs/bundle.crt"),
    ("auth.token.jwks", "/certs/jwks.json", "auth.token.jwks", "/certs/jwks.json"),
    ("auth.token.signingalgorithms", ["RS256"], "auth.token.signingalgorithms", ["RS256"]),
    ("http.addr", ":5000", "http.addr", ":5000"),
    ("http.net", "tcp", "http.net", "tcp"),
    ("http.host", "https://registry.example:8443", "http.host", "https://registry.example:8443"),
    ("http.prefix", "/api/", "http.prefix", "/api/"),
    ("http.secret", 12345, "http.secret", "12345"),
    ("http.relativeurls", False, "http.relativeurls", False),
    ("http.draintimeout", "1m", "http.draintimeout", 60.0),
    ("http.draintimeout", 5_000_000_000, "http.draintimeout", 5.0),
    ("http.headers", {"X-A": ["1", "2"]}, "http.headers", {"X-A": ["1", "2"]}),
    ("http.tls.certificate", "/c.pem", "http.tls.certificate", "/c.pem"),
    ("http.tls.key", "/k.pem", "http.tls.key", "/k.pem"),
    ("http.tls.clientcas", ["/ca.pem"], "http.tls.clientcas", ["/ca.pem"]),
    ("http.tls.minimumtls", "tls1.3", "http.tls.minimumtls", "tls1.3"),
    ("http.tls.minimumtls", "tls1.0", "http.tls.minimumtls", "tls1.2"),
    ("http.debug.addr", "127.0.0.1:5001", "admin.addr", "127.0.0.1:5001"),
    ("http.debug.prometheus.enabled", True, "admin.metrics_path", "/metrics"),
    ("http.debug.prometheus.enabled", False, "admin.metrics_path", ""),
    ("http.debug.prometheus.path", "/prom", "admin.metrics_path", "/prom"),
    ("catalog.maxentries", 50, "limits.catalog_page", 50),
    ("tags.maxtags", 60, "limits.tags_page", 60),
]

_IGNORED = """
log.hooks log.reportcaller storage.filesystem.maxthreads storage.s3.encrypt storage.s3.keyid storage.s3.v4auth storage.s3.storageclass
storage.s3.objectacl storage.s3.multipartcopychunksize storage.s3.multipartcopymaxconcurrency storage.s3.multipartcopythresholdsize
storage.s3.useragent storage.s3.forcepathstyle storage.s3.accelerate storage.s3.usedualstack storage.s3.usefipsendpoint
storage.s3.loglevel storage.cache.blobdescriptor storage.cache.layerinfo storage.cache.blobdescriptorsize storage.tag.concurrencylimit
storage.maintenance.uploadpurging.interval storage.maintenance.uploadpurging.dryrun auth.token.autoredirect auth.token.autoredirectpath
middleware.registry middleware.repository middleware.storage reporting.bugsnag reporting.newrelic http.tls.ciphersuites
http.tls.clientauth http.http2.disabled http.h2c.enabled notifications.events.includereferences notifications.endpoints[].name
notifications.endpoints[].disabled notifications.endpoints[].url notifications.endpoints[].headers notifications.endpoints[].timeout
notifications.endpoints[].threshold notifications.endpoints[].backoff notifications.endpoints[].ignoredmediatypes
notifications.endpoints[].ignore.mediatypes notifications.endpoints[].ignore.actions redis.addr redis.password redis.db redis.dialtimeout
redis.readtimeout redis.writetimeout redis.pool.maxidle redis.pool.maxactive redis.pool.idletimeout redis.addrs redis.username redis.tls
redis.clientname redis.protocol redis.sentinelusername redis.sentinelpassword redis.mastername redis.identitysuffix redis.maxretries
redis.minretrybackoff redis.maxretrybackoff redis.contexttimeoutenabled redis.poolfifo redis.poolsize redis.pooltimeout redis.minidleconns
redis.maxidleconns redis.maxactiveconns redis.connmaxidletime redis.connmaxlifetime redis.maxredirects redis.readonly redis.routebylatency
redis.routerandomly redis.disableidentity redis.isclustermode redis.unstableresp3 health.storagedriver.enabled
health.storagedriver.interval health.storagedriver.threshold health.file[].file health.file[].interval health.file[].threshold
health.http[].uri health.http[].statuscode health.http[].headers health.http[].timeout health.http[].interval health.http[].threshold
health.tcp[].addr health.tcp[].timeout health.tcp[].interval health.tcp[].threshold compatibility.schema1.enabled
compatibility.schema1.signingkeyfile validation.disabled validation.enabled validation.manifests.urls.allow validation.manifests.urls.deny
validation.manifests.indexes.platforms validation.manifests.indexes.platformlist[].architecture
validation.manifests.indexes.platformlist[].os policy.repository.classes
"""
IGNORED = _IGNORED.split()

_REFUSED = """
storage.azure.accountname storage.azure.accountkey storage.azure.container storage.azure.realm storage.azure.rootdirectory
storage.azure.credentials.type storage.azure.credentials.clientid storage.azure.credentials.tenantid storage.azure.credentials.secret
storage.azure.max_retries storage.azure.retry_delay storage.gcs.bucket storage.gcs.keyfile storage.gcs.credentials
storage.gcs.rootdirectory storage.gcs.chunksize storage.gcs.maxconcurrency storage.swift storage.oss auth.silly.realm auth.silly.service
http.tls.letsencrypt.cachefile http.tls.letsencrypt.email http.tls.letsencrypt.hosts http.tls.letsencrypt.directoryurl proxy.remoteurl
proxy.username proxy.password proxy.ttl proxy.cachewritetimeout proxy.exec.command proxy.exec.lifetime
"""
REFUSED = _REFUSED.split()

SAMPLE: dict[Kind, object] = {
    Kind.TEXT: "word",
    Kind.FLAG: True,
    Kind.WHOLE: 7,
    Kind.DURATION: "10s",
    Kind.TEXTS: ["a", "b"],
    Kind.MAP: {"a": "b"},
    Kind.MAP_OF_LISTS: {"a": ["b"]},
    Kind.ANY: [{"name": "x", "options": {"deep": [1, {"er": 2}]}}],
}

# What a section needs beside the key under test, so that nothing else is wrong.
COMPANY: dict[str, dict[str, object]] = {
    "storage.s3": {"region": "r", "bucket": "b", "accesskey": "a", "secretkey": "s"},
    "storage.s3aws": {},
    "storage.redirect": {},
    "auth.htpasswd": {"realm": "r", "path": "/p"},
    "auth.token": {"realm": "r", "service": "s", "issuer": "i", "rootcertbundle": "/b"},
    "http.tls": {"certificate": "/c.pem", "key": "/k.pem"},
}


def file_with(path: str, value: object) -> str:
    """A file that is good but for that key."""
    data: dict[str, object] = {"version": 0.1}
    section = ".".join(path.split(".")[:2])
    if section == "storage.redirect":
        data = merged(data, {"storage": {"s3": COMPANY["storage.s3"]}})
    elif not path.startswith(("storage.filesystem", "storage.s3", "storage.azure", "storage.gcs", "storage.swift", "storage.oss")):
        data["storage"] = {"inmemory": None}
    if section in COMPANY and section != path:
        data = merged(data, nested(section, COMPANY[section]))
    if path == "storage.s3":
        value = COMPANY["storage.s3"]
    return as_text(merged(data, nested(path, value)))


@pytest.mark.parametrize(("path", "value", "setting", "expected"), HONOURED, ids=[f"{row[0]}={row[1]}" for row in HONOURED])
def test_an_honoured_key_does_what_it_says(path: str, value: object, setting: str, expected: object, tmp_path: Path) -> None:
    found = loaded(tmp_path, file_with(path, value))
    assert value_of(found.settings, setting) == expected
    assert "config.yml:" in str(found.origin[setting]) and path.split(".")[0] in str(found.origin[setting])


@pytest.mark.parametrize("path", IGNORED)
def test_an_ignored_key_is_accepted_and_named_once(path: str, tmp_path: Path) -> None:
    found = loaded(tmp_path, file_with(path, SAMPLE[KEYS[path].kind]))
    named = [notice for notice in found.notices if "accepted without effect" in notice]
    assert len(named) == 1
    section = named[0].split()[1].rstrip(":")
    assert path == section or path.startswith((section + ".", section + "["))


@pytest.mark.parametrize("path", REFUSED)
def test_a_refused_key_stops_the_start_with_its_reason(path: str, tmp_path: Path) -> None:
    lines = problems(tmp_path, file_with(path, SAMPLE[KEYS[path].kind]))
    assert len(lines) == 1
    assert path.startswith(lines[0].split()[1].rstrip(":")), lines


def test_the_table_has_every_key() -> None:
    leaves = {path for path, key in KEYS.items() if key.kind not in (Kind.SECTION, Kind.ENTRIES)}
    sections = {path for path, *_ in HONOURED if KEYS[path].kind is Kind.SECTION}
    assert {path for path, *_ in HONOURED} | set(IGNORED) | set(REFUSED) | {"version", "cargohold"} == leaves | sections


@pytest.mark.parametrize("path", KEYS)
def test_every_key_says_what_becomes_of_it(path: str) -> None:
    key = KEYS[path]
    section = path.rpartition(".")[0].removesuffix("[]")
    if key.does is not Does.HONOURED:
        assert key.text or KEYS[section].does is key.does, "the reason, here or at the section"
    elif key.kind is not Kind.SECTION:
        assert key.text or key.setting


@pytest.mark.parametrize(
    "path", [path for path, key in KEYS.items() if key.does is Does.REFUSED and not path.startswith(("storage", "auth"))]
)
def test_a_refused_key_that_says_nothing_is_harmless(path: str, tmp_path: Path) -> None:
    text = file_with("http.addr", ":5000")
    variable = "REGISTRY_" + path.upper().replace(".", "_")
    assert loaded(tmp_path, text, {variable: ""}).settings.http.addr == ":5000"


def test_the_file_of_the_image_is_served(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
""",
    )
    settings = found.settings
    assert (settings.http.addr, settings.storage.rootdirectory, settings.storage.driver) == (":5000", "/var/lib/registry", "filesystem")
    assert settings.storage.delete is False, "registry:2 deletes nothing unless it is told to"
    assert settings.log.accesslog == "combined"
    assert len(found.notices) == 2
