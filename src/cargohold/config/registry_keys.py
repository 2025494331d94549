"""Every key of registry:2's config.yml (2.8 and 3.x) with its type and what we do about it.

    HONOURED  does what it says, through the setting named beside it (or by a rule of registry.py)
    IGNORED   accepted, has no meaning here, named once in the log with the reason
    REFUSED   cannot be done and must not be passed over in silence: the start is refused with the reason

A section that is IGNORED or REFUSED stands for all keys below it; they are listed so that a misspelt one is still found.
`[]` is an entry of a list. docs/reference/config-yml.md is generated from this table; the JSON Schema and the REGISTRY_* rule
walk the tree that `spec` makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import NamedTuple


class Kind(StrEnum):
    SECTION = "section"
    ENTRIES = "list of sections"
    MAP = "map of texts"
    MAP_OF_LISTS = "map of lists"
    TEXT = "text"
    FLAG = "true or false"
    WHOLE = "whole number"
    DURATION = "duration"
    TEXTS = "list of texts"
    ANY = "anything"


class Does(StrEnum):
    HONOURED = "honoured"
    IGNORED = "accepted, without effect"
    REFUSED = "refused"


HONOURED, IGNORED, REFUSED = Does.HONOURED, Does.IGNORED, Does.REFUSED


class Key(NamedTuple):
    path: str
    kind: Kind
    does: Does
    text: str = ""
    setting: str = ""
    """Path of the setting that takes the value as it is; empty: a rule of registry.py, or nothing."""


SECTION, TEXT, FLAG, WHOLE, DURATION, TEXTS = Kind.SECTION, Kind.TEXT, Kind.FLAG, Kind.WHOLE, Kind.DURATION, Kind.TEXTS
_STREAMS = "content is streamed by this registry"

_TOP = [
    Key("version", TEXT, HONOURED, "Must be there and be 0.1."),
    Key("cargohold", Kind.ANY, HONOURED, "Our own settings by their own paths; see settings.md."),
    Key("log", SECTION, HONOURED),
    Key("log.level", TEXT, HONOURED, "error, warn, info or debug, in any case.", "log.level"),
    Key("log.formatter", TEXT, HONOURED, "text or json; logstash gives json.", "log.formatter"),
    Key("log.fields", Kind.MAP, HONOURED, "Fields added to every line.", "log.fields"),
    Key("log.accesslog", SECTION, HONOURED),
    Key(
        "log.accesslog.disabled",
        FLAG,
        HONOURED,
        "false, the default in a config.yml: Apache's combined form on standard output.",
        "log.accesslog",
    ),
    Key("log.hooks", Kind.ANY, IGNORED, "mail is not sent from here"),
    Key("log.reportcaller", FLAG, IGNORED, "lines name their module already"),
    Key("loglevel", TEXT, HONOURED, "Old name of log.level; used when that is not there.", "log.level"),
]

_STORAGE = [
    Key("storage", SECTION, HONOURED, "Exactly one driver; the short form `storage: inmemory` works too.", "storage.driver"),
    Key("storage.filesystem", SECTION, HONOURED, "Data in a folder, as registry:2 lays it out."),
    Key("storage.filesystem.rootdirectory", TEXT, HONOURED, "Default in a config.yml: /var/lib/registry.", "storage.rootdirectory"),
    Key("storage.filesystem.maxthreads", WHOLE, IGNORED, "reading and writing is bounded by itself"),
    Key("storage.inmemory", SECTION, HONOURED, "Nothing outlives the process; one worker."),
    Key("storage.s3", SECTION, HONOURED, "A bucket, as registry:2 lays it out."),
    Key("storage.s3aws", SECTION, HONOURED, "Other name of storage.s3, with the same keys."),
    Key("storage.s3.region", TEXT, HONOURED, "", "storage.s3.region"),
    Key("storage.s3.bucket", TEXT, HONOURED, "", "storage.s3.bucket"),
    Key("storage.s3.accesskey", TEXT, HONOURED, "", "storage.s3.accesskey"),
    Key("storage.s3.secretkey", TEXT, HONOURED, "", "storage.s3.secretkey"),
    Key("storage.s3.regionendpoint", TEXT, HONOURED, "Sets path-style addressing.", "storage.s3.regionendpoint"),
    Key("storage.s3.rootdirectory", TEXT, HONOURED, "", "storage.s3.rootdirectory"),
    Key("storage.s3.secure", FLAG, HONOURED, "", "storage.s3.secure"),
    Key("storage.s3.skipverify", FLAG, HONOURED, "", "storage.s3.skipverify"),
    Key("storage.s3.chunksize", WHOLE, HONOURED, "Bytes of one staged segment.", "storage.s3.segment"),
    Key("storage.s3.forcepathstyle", FLAG, IGNORED, "path style is used exactly when regionendpoint is set"),
    Key("storage.s3.encrypt", FLAG, IGNORED, "set the bucket's default encryption instead"),
    Key("storage.s3.keyid", TEXT, IGNORED, "set the bucket's default encryption instead"),
    Key("storage.s3.storageclass", TEXT, IGNORED, "objects get the bucket's default class"),
    Key("storage.s3.objectacl", TEXT, IGNORED, "objects stay private to the bucket's owner"),
    Key("storage.s3.v4auth", FLAG, IGNORED, "requests are always signed with version 4"),
    *[
        Key(f"storage.s3.multipartcopy{name}", WHOLE, IGNORED, "copies are cut by themselves")
        for name in ("chunksize", "maxconcurrency", "thresholdsize")
    ],
    Key("storage.s3.useragent", TEXT, IGNORED, "the library names itself"),
    *[
        Key(f"storage.s3.{name}", FLAG, IGNORED, "give the endpoint as regionendpoint")
        for name in ("accelerate", "usedualstack", "usefipsendpoint")
    ],
    Key("storage.s3.loglevel", TEXT, IGNORED, "log.level decides"),
    Key("storage.azure", SECTION, REFUSED, "this storage driver is not offered here; use filesystem, s3 or inmemory"),
    *[Key(f"storage.azure.{name}", TEXT, REFUSED) for name in ("accountname", "accountkey", "container", "realm", "rootdirectory")],
    Key("storage.azure.credentials", SECTION, REFUSED),
    *[Key(f"storage.azure.credentials.{name}", TEXT, REFUSED) for name in ("type", "clientid", "tenantid", "secret")],
    *[Key(f"storage.azure.{name}", Kind.ANY, REFUSED) for name in ("max_retries", "retry_delay")],
    Key("storage.gcs", SECTION, REFUSED, "this storage driver is not offered here; use filesystem, s3 or inmemory"),
    *[
        Key(f"storage.gcs.{name}", Kind.ANY, REFUSED)
        for name in ("bucket", "keyfile", "credentials", "rootdirectory", "chunksize", "maxconcurrency")
    ],
    Key(
        "storage.swift", Kind.ANY, REFUSED, "this storage driver is gone in registry:3 and not offered here; use filesystem, s3 or inmemory"
    ),
    Key(
        "storage.oss",
        Kind.ANY,
        REFUSED,
        "this storage driver is gone in registry:3 and not offered here; use s3 with the endpoint of the bucket",
    ),
    Key("storage.delete", SECTION, HONOURED),
    Key("storage.delete.enabled", FLAG, HONOURED, "Default in a config.yml: false.", "storage.delete"),
    Key("storage.redirect", SECTION, HONOURED),
    Key("storage.redirect.disable", FLAG, HONOURED, "s3 redirects to the bucket unless this is true.", "storage.redirect"),
    Key("storage.cache", SECTION, IGNORED, "descriptors come from the database"),
    *[Key(f"storage.cache.{name}", TEXT, IGNORED) for name in ("blobdescriptor", "layerinfo", "blobdescriptorsize")],
    Key("storage.maintenance", SECTION, HONOURED),
    Key("storage.maintenance.readonly", SECTION, HONOURED),
    Key("storage.maintenance.readonly.enabled", FLAG, HONOURED, "", "storage.readonly"),
    Key("storage.maintenance.uploadpurging", SECTION, HONOURED),
    Key(
        "storage.maintenance.uploadpurging.enabled", FLAG, HONOURED, "false: uploads are kept for a hundred years.", "storage.upload_expiry"
    ),
    Key("storage.maintenance.uploadpurging.age", DURATION, HONOURED, "", "storage.upload_expiry"),
    Key("storage.maintenance.uploadpurging.interval", DURATION, IGNORED, "expired uploads are looked for all the time"),
    Key("storage.maintenance.uploadpurging.dryrun", FLAG, IGNORED, "use enabled: false"),
    Key("storage.tag", SECTION, IGNORED, "tags are found in the database, without parallel look-ups"),
    Key("storage.tag.concurrencylimit", WHOLE, IGNORED),
]

_AUTH = [
    Key("auth", SECTION, HONOURED, "At most one of the following; the short form `auth: none` works too.", "auth.kind"),
    Key("auth.none", SECTION, HONOURED, "Everybody may do everything."),
    Key("auth.silly", SECTION, REFUSED, "it lets anybody in who sends any Authorization header; use htpasswd, token or none"),
    *[Key(f"auth.silly.{name}", TEXT, REFUSED) for name in ("realm", "service")],
    Key("auth.htpasswd", SECTION, HONOURED),
    Key("auth.htpasswd.realm", TEXT, HONOURED, "", "auth.htpasswd.realm"),
    Key("auth.htpasswd.path", TEXT, HONOURED, "The file must be there; none is made up.", "auth.htpasswd.path"),
    Key("auth.token", SECTION, HONOURED),
    *[
        Key(f"auth.token.{name}", TEXT, HONOURED, "", f"auth.token.{name}")
        for name in ("realm", "service", "issuer", "rootcertbundle", "jwks")
    ],
    Key("auth.token.signingalgorithms", TEXTS, HONOURED, "", "auth.token.signingalgorithms"),
    Key("auth.token.autoredirect", FLAG, IGNORED, "realm is sent as it is written"),
    Key("auth.token.autoredirectpath", TEXT, IGNORED, "realm is sent as it is written"),
]

_HTTP = [
    Key("http", SECTION, HONOURED),
    Key("http.addr", TEXT, HONOURED, "", "http.addr"),
    Key("http.net", TEXT, HONOURED, "tcp or unix.", "http.net"),
    Key("http.host", TEXT, HONOURED, "", "http.host"),
    Key("http.prefix", TEXT, HONOURED, "", "http.prefix"),
    Key("http.secret", TEXT, HONOURED, "Uploads need no shared secret here; any value is fine.", "http.secret"),
    Key("http.relativeurls", FLAG, HONOURED, "Default here: true.", "http.relativeurls"),
    Key("http.draintimeout", DURATION, HONOURED, "Default here: 30s.", "http.draintimeout"),
    Key("http.headers", Kind.MAP_OF_LISTS, HONOURED, "", "http.headers"),
    Key("http.tls", SECTION, HONOURED),
    Key("http.tls.certificate", TEXT, HONOURED, "", "http.tls.certificate"),
    Key("http.tls.key", TEXT, HONOURED, "", "http.tls.key"),
    Key("http.tls.clientcas", TEXTS, HONOURED, "", "http.tls.clientcas"),
    Key("http.tls.minimumtls", TEXT, HONOURED, "tls1.0 and tls1.1 are raised to tls1.2, with a line in the log.", "http.tls.minimumtls"),
    Key("http.tls.ciphersuites", TEXTS, IGNORED, "the TLS library's choice of strong suites is used"),
    Key("http.tls.clientauth", TEXT, IGNORED, "with clientcas, a certificate is required and verified"),
    Key(
        "http.tls.letsencrypt",
        SECTION,
        REFUSED,
        "certificates are not fetched here; name them as http.tls.certificate and key, a renewed file is taken up by itself",
    ),
    *[Key(f"http.tls.letsencrypt.{name}", TEXT, REFUSED) for name in ("cachefile", "email", "directoryurl")],
    Key("http.tls.letsencrypt.hosts", TEXTS, REFUSED),
    Key("http.debug", SECTION, HONOURED),
    Key("http.debug.addr", TEXT, HONOURED, "The second server, with /metrics, /healthz and /readyz; no pprof.", "admin.addr"),
    Key("http.debug.prometheus", SECTION, HONOURED),
    Key("http.debug.prometheus.enabled", FLAG, HONOURED, "false takes the page away; not given: it is there.", "admin.metrics_path"),
    Key("http.debug.prometheus.path", TEXT, HONOURED, "", "admin.metrics_path"),
    Key("http.http2", SECTION, IGNORED, "HTTP/1.1 is spoken; put a proxy in front for HTTP/2"),
    Key("http.http2.disabled", FLAG, IGNORED),
    Key("http.h2c", SECTION, IGNORED, "HTTP/1.1 is spoken; put a proxy in front for HTTP/2"),
    Key("http.h2c.enabled", FLAG, IGNORED),
]

_CHECKER = [("interval", DURATION), ("threshold", WHOLE)]
_REDIS_TEXTS = ("addr", "username", "password", "clientname", "sentinelusername", "sentinelpassword", "mastername", "identitysuffix")
_REDIS_OTHERS = [
    "db",
    "dialtimeout",
    "readtimeout",
    "writetimeout",
    "protocol",
    "maxretries",
    "minretrybackoff",
    "maxretrybackoff",
    "contexttimeoutenabled",
    "poolfifo",
    "poolsize",
    "pooltimeout",
    "minidleconns",
    "maxidleconns",
    "maxactiveconns",
    "connmaxidletime",
    "connmaxlifetime",
    "maxredirects",
    "readonly",
    "routebylatency",
    "routerandomly",
    "disableidentity",
    "isclustermode",
    "unstableresp3",
]

_OTHERS = [
    Key("middleware", SECTION, IGNORED, _STREAMS),
    *[Key(f"middleware.{name}", Kind.ANY, IGNORED) for name in ("registry", "repository", "storage")],
    Key("reporting", SECTION, IGNORED, "errors go to the log; it is gone in registry:3 too"),
    *[Key(f"reporting.{name}", Kind.ANY, IGNORED) for name in ("bugsnag", "newrelic")],
    Key("notifications", SECTION, IGNORED, "events are kept in the database and not delivered by this version"),
    Key("notifications.events", SECTION, IGNORED),
    Key("notifications.events.includereferences", FLAG, IGNORED),
    Key("notifications.endpoints", Kind.ENTRIES, IGNORED),
    *[Key(f"notifications.endpoints[].{name}", TEXT, IGNORED) for name in ("name", "url")],
    *[Key(f"notifications.endpoints[].{name}", DURATION, IGNORED) for name in ("timeout", "backoff")],
    Key("notifications.endpoints[].disabled", FLAG, IGNORED),
    Key("notifications.endpoints[].headers", Kind.MAP_OF_LISTS, IGNORED),
    Key("notifications.endpoints[].threshold", WHOLE, IGNORED),
    Key("notifications.endpoints[].ignoredmediatypes", TEXTS, IGNORED),
    Key("notifications.endpoints[].ignore", SECTION, IGNORED),
    *[Key(f"notifications.endpoints[].ignore.{name}", TEXTS, IGNORED) for name in ("mediatypes", "actions")],
    Key("redis", SECTION, IGNORED, "nothing is cached outside the process"),
    Key("redis.addrs", TEXTS, IGNORED),
    *[Key(f"redis.{name}", TEXT, IGNORED) for name in _REDIS_TEXTS],
    *[Key(f"redis.{name}", Kind.ANY, IGNORED) for name in _REDIS_OTHERS],
    Key("redis.tls", Kind.ANY, IGNORED),
    Key("redis.pool", SECTION, IGNORED),
    *[Key(f"redis.pool.{name}", Kind.ANY, IGNORED) for name in ("maxidle", "maxactive", "idletimeout")],
    Key("health", SECTION, IGNORED, "/healthz and /readyz look at storage and database by themselves"),
    Key("health.storagedriver", SECTION, IGNORED),
    Key("health.storagedriver.enabled", FLAG, IGNORED),
    *[Key(f"health.storagedriver.{name}", kind, IGNORED) for name, kind in _CHECKER],
    *[Key(f"health.{name}", Kind.ENTRIES, IGNORED) for name in ("file", "http", "tcp")],
    *[Key(f"health.{check}[].{name}", kind, IGNORED) for check in ("file", "http", "tcp") for name, kind in _CHECKER],
    Key("health.file[].file", TEXT, IGNORED),
    Key("health.http[].uri", TEXT, IGNORED),
    Key("health.http[].statuscode", WHOLE, IGNORED),
    Key("health.http[].headers", Kind.MAP_OF_LISTS, IGNORED),
    Key("health.tcp[].addr", TEXT, IGNORED),
    *[Key(f"health.{check}[].timeout", DURATION, IGNORED) for check in ("http", "tcp")],
    Key("catalog", SECTION, HONOURED),
    Key("catalog.maxentries", WHOLE, HONOURED, "", "limits.catalog_page"),
    Key("tags", SECTION, HONOURED),
    Key("tags.maxtags", WHOLE, HONOURED, "", "limits.tags_page"),
    Key("proxy", SECTION, REFUSED, "this version is no mirror; take the section out, or keep registry:2 for it"),
    *[Key(f"proxy.{name}", TEXT, REFUSED) for name in ("remoteurl", "username", "password")],
    *[Key(f"proxy.{name}", DURATION, REFUSED) for name in ("ttl", "cachewritetimeout")],
    Key("proxy.exec", SECTION, REFUSED),
    Key("proxy.exec.command", TEXT, REFUSED),
    Key("proxy.exec.lifetime", DURATION, REFUSED),
    Key("compatibility", SECTION, IGNORED, "schema 1 manifests are refused, as in registry:3"),
    Key("compatibility.schema1", SECTION, IGNORED),
    Key("compatibility.schema1.enabled", FLAG, IGNORED),
    Key("compatibility.schema1.signingkeyfile", TEXT, IGNORED),
    Key("validation", SECTION, IGNORED, "a manifest must name content that is there; URLs of foreign layers are not looked at"),
    *[Key(f"validation.{name}", FLAG, IGNORED) for name in ("disabled", "enabled")],
    Key("validation.manifests", SECTION, IGNORED),
    Key("validation.manifests.urls", SECTION, IGNORED),
    *[Key(f"validation.manifests.urls.{name}", TEXTS, IGNORED) for name in ("allow", "deny")],
    Key("validation.manifests.indexes", SECTION, IGNORED),
    Key("validation.manifests.indexes.platforms", TEXT, IGNORED),
    Key("validation.manifests.indexes.platformlist", Kind.ENTRIES, IGNORED),
    *[Key(f"validation.manifests.indexes.platformlist[].{name}", TEXT, IGNORED) for name in ("architecture", "os")],
    Key("policy", SECTION, IGNORED, "every class of repository is served"),
    Key("policy.repository", SECTION, IGNORED),
    Key("policy.repository.classes", TEXTS, IGNORED),
]

KEYS: dict[str, Key] = {key.path: key for key in _TOP + _STORAGE + _AUTH + _HTTP + _OTHERS}

DRIVERS = ("filesystem", "inmemory", "s3", "s3aws", "azure", "gcs", "swift", "oss")
AUTHS = ("none", "silly", "htpasswd", "token")

MAPS = ("storage", "auth", "middleware")
"""Sections that are Go maps in registry:2: a REGISTRY_* part makes a lower-case key there, and the short form of one word works."""

FIELD_NAMES = {
    "compatibility.schema1.signingkeyfile": "TRUSTKEY",
    "health.file": "FILECHECKERS",
    "health.http": "HTTPCHECKERS",
    "health.tcp": "TCPCHECKERS",
    "notifications.events": "EVENTCONFIG",
}
"""Where the name of the Go field, which REGISTRY_* follows, is not the key in capitals. Both are accepted."""


@dataclass(slots=True)
class Spec:
    """One place of the tree. `element` is what an entry of a list looks like."""

    key: Key
    children: dict[str, Spec] = field(default_factory=dict)
    element: Spec | None = None
    fields: dict[str, str] = field(default_factory=dict)
    """Part of a REGISTRY_* name -> key."""

    @property
    def is_map(self) -> bool:
        """A Go map, all the way down in the case of storage and auth."""
        path, kind = self.key.path, self.key.kind
        return kind in (Kind.MAP, Kind.MAP_OF_LISTS, Kind.ANY) or path.partition(".")[0] in MAPS


@cache
def spec() -> Spec:
    """The root of the tree that KEYS describes."""
    root = Spec(Key("", SECTION, HONOURED))
    for path, key in KEYS.items():
        *sections, name = path.split(".")
        node = root
        for section in sections:
            node = node.children[section.removesuffix("[]")]
            if section.endswith("[]"):
                assert node.element is not None, f"{path}: the list comes before its entries"
                node = node.element
        node.children[name] = Spec(key)
        node.fields[name.upper()] = node.fields[FIELD_NAMES.get(path, name.upper())] = name
        if key.kind is Kind.ENTRIES:
            node.children[name].element = Spec(Key(path + "[]", SECTION, key.does))
    storage = root.children["storage"]
    storage.children["s3aws"].children = storage.children["s3"].children
    storage.children["s3aws"].fields = storage.children["s3"].fields
    return root
