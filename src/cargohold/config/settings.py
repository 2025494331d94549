"""Every setting, typed, one class per area; the docstring under a field is its line in docs/reference/settings.md.

Times are seconds, sizes are bytes. Where a value may come from (default < file < environment < flag) and who set it:
config/load.py. The names that `registry:2` uses for the same things: config/registry_keys.py.

The type carries what may be written: `Literal` its choices, `Seconds` also 90s or 1h30m, `Size` also 16MiB, `Count` a range;
a `Secret` is never printed, of a `SecretUrl` the password is not.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MIB = 1 << 20

Seconds = Annotated[float, msgspec.Meta(ge=0, extra={"unit": "seconds"})]
Size = Annotated[int, msgspec.Meta(ge=1, extra={"unit": "bytes"})]
Count = Annotated[int, msgspec.Meta(ge=1)]
Secret = Annotated[str, msgspec.Meta(extra={"secret": True})]
SecretUrl = Annotated[str, msgspec.Meta(extra={"secret": True, "url": True})]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    certificate: str = ""
    """PEM file with the certificate chain, leaf first; empty: plain HTTP."""
    key: str = ""
    """PEM file with the private key of the certificate."""
    clientcas: list[str] = []
    """PEM files with the CAs of client certificates; when set, a client without one is refused."""
    minimumtls: Literal["tls1.2", "tls1.3"] = "tls1.2"
    """Lowest version spoken: tls1.2 or tls1.3."""


class Http(msgspec.Struct, frozen=True, kw_only=True):
    addr: str = "127.0.0.1:5000"
    """host:port to listen on, or the path of a socket when net is unix."""
    net: Literal["tcp", "unix"] = "tcp"
    """tcp or unix."""
    host: str = ""
    """Public URL of this registry; when set, Location is absolute below it."""
    prefix: str = "/"
    """Path below which the API lives, with a slash at both ends."""
    relativeurls: bool = True
    """Location headers are paths, so that any reverse proxy works; false: absolute, from the request's host."""
    secret: Secret = ""
    """Accepted for registry:2's sake: uploads need no shared secret here."""
    headers: dict[str, list[str]] = msgspec.field(default_factory=lambda: {"X-Content-Type-Options": ["nosniff"]})
    """Headers added to every answer."""
    draintimeout: Seconds = 30.0
    """On SIGTERM, running requests may go on that long while new ones get 503."""
    header_limit: Size = 64 * 1024
    """Bytes of request line and headers together; more: 431."""
    header_timeout: Seconds = 15.0
    """A request whose headers take longer is closed."""
    idle_timeout: Seconds = 120.0
    """A body that moves no byte for that long, in either direction, is cut."""
    keepalive: Seconds = 150.0
    """An idle connection is kept that long; over 120, so that clients close first."""
    max_connections: Count = 10_000
    """Connections of one worker; more: 503."""
    tls: Tls = Tls()


class S3(msgspec.Struct, frozen=True, kw_only=True):
    bucket: str = ""
    """Bucket that holds the tree."""
    region: str = "us-east-1"
    """Region of the bucket."""
    regionendpoint: str = ""
    """URL of an S3 look-alike; sets path-style addressing."""
    public_endpoint: str = ""
    """URL under which clients reach the bucket; redirects are signed for it. Empty: regionendpoint."""
    accesskey: Secret = ""
    """Access key; empty: the usual chain of credentials."""
    secretkey: Secret = ""
    """Secret of the access key."""
    rootdirectory: str = ""
    """Prefix of all keys in the bucket."""
    secure: bool = True
    """Use TLS towards the endpoint when the endpoint names no scheme."""
    skipverify: bool = False
    """Do not verify the endpoint's certificate."""
    segment: Annotated[int, msgspec.Meta(ge=5 * MIB, le=5 * 1024 * MIB, extra={"unit": "bytes"})] = 16 * MIB
    """Bytes of one staged segment of an upload, 5 MiB to 5 GiB."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    driver: Literal["filesystem", "s3", "inmemory"] = "filesystem"
    """filesystem, s3 or inmemory."""
    rootdirectory: str = "data"
    """Data folder: the tree of registry:2, and _cargohold/ with the database and uploads on their way."""
    sync: Literal["full", "journal", "data", "none"] = "full"
    """What is on disk before an answer acknowledges it. full: files, folders and links. journal: the same without the links, which the
    database holds as well and which are written again after a power loss. data: files, not the folders' entries. none: nothing.
    With full and journal, what was acknowledged survives a power loss."""
    delete: bool = True
    """DELETE of blobs and manifests is allowed. In a config.yml the default is that of registry:2: false."""
    redirect: bool = False
    """GET of a large blob answers 307 to the bucket instead of streaming through. In a config.yml with s3 the default is true."""
    readonly: bool = False
    """Every write answers 405."""
    upload_expiry: Annotated[float, msgspec.Meta(ge=1, extra={"unit": "seconds"})] = 7 * 24 * 3600.0
    """An upload that nobody touched for that long is dropped."""
    s3: S3 = S3()


class Database(msgspec.Struct, frozen=True, kw_only=True):
    url: SecretUrl = ""
    """postgresql://user:password@host:port/name; empty: SQLite in the data folder."""
    synchronous: Literal["full", "normal"] = "full"
    """SQLite only: full (a commit is on disk when it is acknowledged) or normal (a power loss may take the last commits)."""
    pool: Count = 8
    """PostgreSQL only: connections of one worker."""


class Htpasswd(msgspec.Struct, frozen=True, kw_only=True):
    realm: str = "cargohold"
    """Realm of the Basic challenge."""
    path: str = ""
    """htpasswd file with bcrypt lines; read again when it changes."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    realm: str = ""
    """URL of the token service."""
    service: str = ""
    """Name of this registry in tokens (aud)."""
    issuer: str = ""
    """Who signs tokens (iss)."""
    rootcertbundle: str = ""
    """PEM file with the certificates whose keys sign tokens."""
    jwks: str = ""
    """JWKS file with the keys that sign tokens."""
    signingalgorithms: list[str] = []
    """Algorithms accepted; empty: ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA."""
    leeway: Seconds = 60.0
    """Clock difference that exp and nbf forgive."""


class Auth(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["none", "htpasswd", "token"] = "none"
    """none, htpasswd or token."""
    htpasswd: Htpasswd = Htpasswd()
    token: Token = Token()


class Log(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["error", "warn", "info", "debug"] = "info"
    """error, warn, info or debug."""
    formatter: Literal["text", "json"] = "text"
    """text (for people) or json; both go to standard error."""
    accesslog: Literal["off", "combined", "json"] = "off"
    """off, combined (Apache's form) or json; goes to standard output. In a config.yml the default is that of registry:2: combined."""
    fields: dict[str, str] = {}
    """Fields added to every line."""


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    addr: str = ""
    """host:port of the second server with /metrics, /healthz and /readyz, without authentication; empty: none."""
    metrics_path: str = "/metrics"
    """Path of the Prometheus page on that server; empty: no such page."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    manifest_bytes: Size = 4 * MIB
    """Largest manifest accepted."""
    json_depth: Count = 64
    """Deepest nesting of a manifest."""
    references: Count = 10_000
    """Most configs, layers and children that one manifest may name."""
    tags_page: Count = 1_000
    """Largest n of a tag list; more is clamped."""
    catalog_page: Count = 1_000
    """Largest n of the catalog; more: 400."""
    referrers_page: Count = 500
    """Descriptors in one page of referrers."""
    uploads: Count = 100_000
    """Open uploads; more: 429."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    http: Http = Http()
    storage: Storage = Storage()
    database: Database = Database()
    auth: Auth = Auth()
    log: Log = Log()
    admin: Admin = Admin()
    limits: Limits = Limits()
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Worker processes; 0: one per core, at most 64."""
