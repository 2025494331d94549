"""Bearer tokens: claims, algorithms, keys from our files alone, memory of what was verified, rotation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws

from cargohold.auth.authenticator import admit, authenticator
from cargohold.auth.identity import Kind
from cargohold.auth.permissions import CATALOG, Action, can, repository, wants
from cargohold.auth.providers.token import TokenAuthenticator
from cargohold.auth.tokens import ALGORITHMS, libtrust_id
from cargohold.config.origin import ConfigInvalid
from cargohold.config.settings import Auth, Token
from cargohold.errors import Unauthorized
from cargohold.testing.tokens import TokenService, base64url
from tests.auth.calls import at_once, basic, call

APP = repository("team/app")
PULL = wants(APP, Action.PULL)
BEARER = 'Bearer realm="https://auth.example/token",service="registry.example"'


@pytest.fixture(scope="module")
def service() -> TokenService:
    return TokenService()


@pytest.fixture(scope="module")
def rsa_service() -> TokenService:
    return TokenService(algorithm="RS256")


@pytest.fixture
def auth(service: TokenService, tmp_path: Path) -> TokenAuthenticator:
    return TokenAuthenticator(service.settings(tmp_path).token)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every token whose signature is computed, in order."""
    seen: list[str] = []
    real = jws.deserialize_compact

    def deserialize(value: str, *arguments: Any, **named: Any) -> Any:
        seen.append(value)
        return real(value, *arguments, **named)

    monkeypatch.setattr(jws, "deserialize_compact", deserialize)
    yield seen


def bearer(token: str) -> str:
    return f"Bearer {token}"


def refusal(auth: TokenAuthenticator, token: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        at_once(admit(auth, call(bearer(token)), PULL))
    assert refused.value.challenge == f'{BEARER},scope="repository:team/app:pull",error="invalid_token"'
    return str(refused.value).partition(": ")[2]


def test_a_token_is_its_subject_and_its_access_list(auth: TokenAuthenticator, service: TokenService) -> None:
    actor = at_once(auth.actor(call(bearer(service.token("ann", "repository:team/app:pull,push", "registry:catalog:*")))))
    assert (actor.kind, actor.name, actor.principal) == (Kind.BEARER, "ann", "token:ann")
    assert can(actor, Action.PULL, APP) and can(actor, Action.PUSH, APP) and can(actor, Action.LIST, CATALOG)
    assert not can(actor, Action.DELETE, APP)
    assert not can(actor, Action.PULL, repository("team/app2")) and not can(actor, Action.PULL, repository("team"))


def test_a_star_is_every_action_of_that_name_alone(auth: TokenAuthenticator, service: TokenService) -> None:
    actor = at_once(auth.actor(call(bearer(service.token("ann", "repository:team/app:*", "repository:*:pull")))))
    assert all(can(actor, action, APP) for action in (Action.PULL, Action.PUSH, Action.DELETE))
    assert not can(actor, Action.PULL, repository("other")) and not can(actor, Action.LIST, CATALOG)


@pytest.mark.parametrize("claims", [{"access": None}, {"access": []}, {"sub": None}, {"nbf": None}, {"aud": ["else", "registry.example"]}])
def test_a_token_without_rights_still_opens_the_base_path(
    auth: TokenAuthenticator, service: TokenService, claims: dict[str, object]
) -> None:
    """`docker login` asks for exactly such a token."""
    assert at_once(admit(auth, call(bearer(service.token("ann", claims=claims)))))


def test_a_missing_right_names_the_scope_to_fetch(auth: TokenAuthenticator, service: TokenService) -> None:
    wanted = (*wants(repository("team/b"), Action.PUSH, Action.PULL), *wants(repository("team/a"), Action.PULL))
    with pytest.raises(Unauthorized) as refused:
        at_once(admit(auth, call(bearer(service.token("ann", "repository:team/a:pull"))), wanted))
    assert refused.value.challenge == f'{BEARER},scope="repository:team/a:pull repository:team/b:pull,push",error="insufficient_scope"'


@pytest.mark.parametrize("authorization", [None, basic("ann", "secret"), "", "Bearerx y"])
def test_without_a_token_the_challenge_has_no_error(auth: TokenAuthenticator, authorization: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        at_once(admit(auth, call(authorization)))
    assert refused.value.challenge == BEARER
    with pytest.raises(Unauthorized) as refused:
        at_once(admit(auth, call(authorization), wants(CATALOG, Action.LIST)))
    assert refused.value.challenge == f'{BEARER},scope="registry:catalog:*"'


NOW = time.time()


@pytest.mark.parametrize(
    ("claims", "cause"),
    [
        ({"iss": "https://evil.example"}, "another issuer made it"),
        ({"iss": None}, "its claims have the wrong form"),
        ({"aud": "other.example"}, "it is for another service"),
        ({"aud": []}, "it is for another service"),
        ({"aud": ["registry.example.evil"]}, "it is for another service"),
        ({"aud": None}, "its claims have the wrong form"),
        ({"exp": NOW - 61}, "it has expired"),
        ({"exp": None}, "its claims have the wrong form"),
        ({"exp": "tomorrow"}, "its claims have the wrong form"),
        ({"exp": True}, "its claims have the wrong form"),
        ({"nbf": NOW + 600}, "it is not valid yet"),
        ({"nbf": "now"}, "its claims have the wrong form"),
        ({"access": "all"}, "its claims have the wrong form"),
        ({"access": [{"type": "repository"}]}, "its claims have the wrong form"),
    ],
)
def test_claims_that_do_not_hold(auth: TokenAuthenticator, service: TokenService, claims: dict[str, object], cause: str) -> None:
    assert refusal(auth, service.token("ann", "repository:team/app:pull", claims=claims)) == cause


def test_clocks_may_differ_by_the_leeway(auth: TokenAuthenticator, service: TokenService) -> None:
    token = service.token("ann", "repository:team/app:pull", claims={"exp": time.time() - 50, "nbf": time.time() + 50})
    assert at_once(admit(auth, call(bearer(token)), PULL)).name == "ann"


def unsigned(header: object, body: object) -> str:
    return ".".join(base64url(json.dumps(part).encode()) for part in (header, body))


def body_of(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))  # type: ignore[no-any-return] # our own claims


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "HS512", "ES384", "RS256", "PS256", "EdDSA", "dir"])
def test_other_algorithms_than_the_keys_own(auth: TokenAuthenticator, service: TokenService, algorithm: str) -> None:
    token = service.token("ann", "repository:team/app:pull", header={"alg": algorithm})
    assert refusal(auth, token) == "no key of this registry has signed it"
    assert refusal(auth, token.rpartition(".")[0] + ".") == "no key of this registry has signed it"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_never_a_shared_secret(rsa_service: TokenService, tmp_path: Path, algorithm: str) -> None:
    """HS/RS confusion: everybody has the public key, in every form it is written in."""
    auth = TokenAuthenticator(rsa_service.settings(tmp_path).token)
    public = rsa_service.key.public_key()
    forms = [public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo) for encoding in (Encoding.PEM, Encoding.DER)]
    for secret in [*forms, rsa_service.certificate(), (tmp_path / "bundle.pem").read_bytes()]:
        signed = unsigned({"alg": algorithm, "kid": rsa_service.kid}, body_of(rsa_service.token("ann", "repository:team/app:pull")))
        mac = hmac.new(secret, signed.encode(), getattr(hashlib, algorithm.replace("HS", "sha"))).digest()
        assert refusal(auth, f"{signed}.{base64url(mac)}") == "no key of this registry has signed it"


def x5c(service: TokenService) -> list[str]:
    pem = service.certificate().decode()
    return ["".join(line for line in pem.splitlines() if "-" not in line)]


@pytest.mark.parametrize("kid", ["trusted", "attacker", None])
@pytest.mark.parametrize("carrier", ["jwk", "jwk with x5c", "x5c", "jku", "x5u"])
def test_a_key_that_comes_with_the_token_is_not_believed(
    auth: TokenAuthenticator, service: TokenService, carrier: str, kid: str | None
) -> None:
    """CVE-2025-24976: a key in the header was trusted when it merely claimed the id of a trusted one."""
    attacker = TokenService()
    named = {"trusted": service.kid, "attacker": attacker.kid, None: None}[kid]
    carriers: dict[str, dict[str, object]] = {
        "jwk": {"jwk": attacker.jwk(kid=service.kid)},
        "jwk with x5c": {"jwk": attacker.jwk(kid=service.kid, x5c=x5c(service))},
        "x5c": {"x5c": [*x5c(attacker), *x5c(service)]},
        "jku": {"jku": "https://auth.example/keys"},
        "x5u": {"x5u": "https://auth.example/chain"},
    }
    token = attacker.token("root", "repository:team/app:pull,push", header={"kid": named, **carriers[carrier]})
    assert refusal(auth, token) == "no key of this registry has signed it"


@pytest.mark.parametrize("header", [{"kid": None}, {"kid": "unknown"}, {"kid": None, "x5c": ["MIIB"] * 900}, {"typ": None}])
def test_a_token_of_ours_is_believed_whatever_else_its_header_says(
    auth: TokenAuthenticator, service: TokenService, header: dict[str, object]
) -> None:
    assert at_once(admit(auth, call(bearer(service.token("ann", "repository:team/app:pull", header=header))), PULL)).name == "ann"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "e30.e30.e30", "a" * 70_000, "e30=.e30=.", "\xff\xfe.\xff", "null.null.null"])
def test_what_is_no_token(auth: TokenAuthenticator, token: str) -> None:
    with pytest.raises(Unauthorized):
        at_once(admit(auth, call(b"Bearer " + token.encode("latin-1")), PULL))


def test_a_critical_header_that_is_not_understood_refuses(auth: TokenAuthenticator, service: TokenService) -> None:
    token = service.token("ann", "repository:team/app:pull", header={"crit": ["limits"], "limits": "none"})
    assert refusal(auth, token) == "no key of this registry has signed it"


def test_changed_bytes_break_the_signature(auth: TokenAuthenticator, service: TokenService) -> None:
    head, body, signature = service.token("ann", "repository:team/app:pull").split(".")
    other = service.token("ann", "repository:team/app:pull,push,delete").split(".")[1]
    assert refusal(auth, f"{head}.{other}.{signature}") == "no key of this registry has signed it"
    assert refusal(auth, f"{head}.{body}.{signature[:-8]}AAAAAAAA") == "no key of this registry has signed it"


def test_a_token_is_verified_once(auth: TokenAuthenticator, service: TokenService, verified: list[str]) -> None:
    token = service.token("ann", "repository:team/app:pull")
    actors = {id(at_once(admit(auth, call(bearer(token)), PULL))) for _ in range(5)}
    assert len(actors) == 1 and len(verified) == 1
    assert at_once(admit(auth, call(bearer(service.token("bob", "repository:team/app:pull"))), PULL)).name == "bob"
    assert len(verified) == 2


def test_a_remembered_token_ends_when_it_expires(auth: TokenAuthenticator, service: TokenService) -> None:
    moment = time.time()
    auth._verifier._clock = lambda: moment
    token = service.token("ann", "repository:team/app:pull", claims={"exp": moment + 100, "nbf": moment})
    assert at_once(admit(auth, call(bearer(token)), PULL))
    moment += 100 + 59
    assert at_once(admit(auth, call(bearer(token)), PULL))
    moment += 1
    assert refusal(auth, token) == "it has expired"


def test_memory_of_tokens_is_bounded(auth: TokenAuthenticator, service: TokenService) -> None:
    auth._verifier._remembered._limit = 3
    for number in range(5):
        at_once(auth.actor(call(bearer(service.token(f"user{number}")))))
    assert len(auth._verifier._remembered) == 3


@pytest.mark.parametrize("jwks", [False, True])
def test_keys_rotate_with_their_file(service: TokenService, tmp_path: Path, jwks: bool) -> None:
    settings = service.settings(tmp_path, jwks=jwks)
    auth = TokenAuthenticator(settings.token)
    old, following = service.token("ann", "repository:team/app:pull"), TokenService()
    assert at_once(admit(auth, call(bearer(old)), PULL))
    following.settings(tmp_path, jwks=jwks)
    new = following.token("bob", "repository:team/app:pull")
    assert at_once(admit(auth, call(bearer(new)), PULL)).name == "bob", "an unknown key id looks at the file at once"
    assert refusal(auth, old) == "no key of this registry has signed it"


def test_both_old_and_new_verify_while_the_bundle_has_both(service: TokenService, tmp_path: Path) -> None:
    settings = service.settings(tmp_path)
    following = TokenService(algorithm="RS256")
    (tmp_path / "bundle.pem").write_bytes(service.certificate() + following.certificate())
    auth = TokenAuthenticator(settings.token)
    for signer in (service, following):
        assert at_once(admit(auth, call(bearer(signer.token("ann", "repository:team/app:pull"))), PULL))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", None])
def test_a_file_that_turns_bad_leaves_the_last_keys(service: TokenService, tmp_path: Path, content: bytes | None) -> None:
    auth = TokenAuthenticator(service.settings(tmp_path).token)
    path = tmp_path / "bundle.pem"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for file in auth._files:
        file._file._next = 0.0
    assert at_once(admit(auth, call(bearer(service.token("ann", "repository:team/app:pull"))), PULL))


def test_the_key_id_is_libtrusts(service: TokenService) -> None:
    digest = hashlib.sha256(service.public_der).digest()[:30]
    text = base64.b32encode(digest).decode()
    assert libtrust_id(service.public_der).replace(":", "") == text and len(text) == 48
    assert all(len(group) == 4 for group in libtrust_id(service.public_der).split(":"))


def signed_with(key: Any, algorithm: str, service: TokenService) -> str:
    """A token of that key, by the textbook of each algorithm."""
    signed = unsigned({"alg": algorithm}, body_of(service.token("ann", "repository:team/app:pull")))
    content = signed.encode()
    if algorithm == "EdDSA":
        signature = key.sign(content)
    elif algorithm == "PS512":
        signature = key.sign(content, padding.PSS(padding.MGF1(SHA512()), SHA512.digest_size), SHA512())
    else:
        r, s = decode_dss_signature(key.sign(content, ec.ECDSA(SHA512())))
        signature = r.to_bytes(66, "big") + s.to_bytes(66, "big")
    return f"{signed}.{base64url(signature)}"


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
        ("PS512", lambda: rsa.generate_private_key(65537, 2048)),
        ("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
    ],
)
def test_the_other_families_verify_without_a_word(service: TokenService, tmp_path: Path, algorithm: str, make: Any) -> None:
    other = TokenService()
    other.key = make()
    shape = jwk_of(other.key)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {**shape, "use": "enc"}, {**shape, "kid": "b"}]}))
    auth = TokenAuthenticator(Token(realm=service.realm, service=service.service, issuer=service.issuer, jwks=str(path)))
    assert len(auth._verifier._keys) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert at_once(admit(auth, call(bearer(signed_with(other.key, algorithm, service))), PULL)).name == "ann"


def jwk_of(key: Any) -> dict[str, object]:
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    numbers = public.public_numbers()
    if isinstance(public, rsa.RSAPublicKey):
        return {"kty": "RSA", "n": base64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    return {"kty": "EC", "crv": "P-521", "x": base64url(numbers.x.to_bytes(66, "big")), "y": base64url(numbers.y.to_bytes(66, "big"))}


def test_the_settings_narrow_the_algorithms(rsa_service: TokenService, tmp_path: Path) -> None:
    token = rsa_service.settings(tmp_path).token
    narrowed = TokenAuthenticator(
        Token(**{name: getattr(token, name) for name in token.__struct_fields__} | {"signingalgorithms": ["RS512"]})
    )
    assert refusal(narrowed, rsa_service.token("ann", "repository:team/app:pull")) == "no key of this registry has signed it"


def weak_bundle() -> bytes:
    weak = TokenService()
    weak.key = rsa.generate_private_key(65537, 1024)
    return weak.certificate()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"realm": ""}, "realm"),
        ({"service": ""}, "service"),
        ({"issuer": ""}, "issuer"),
        ({"rootcertbundle": ""}, "rootcertbundle"),
        ({"rootcertbundle": "missing.pem"}, "rootcertbundle"),
        ({"rootcertbundle": "empty.pem"}, "rootcertbundle"),
        ({"rootcertbundle": "weak.pem"}, "rootcertbundle"),
        ({"jwks": "empty.pem"}, "jwks"),
        ({"jwks": "secrets.json"}, "jwks"),
        ({"signingalgorithms": ["HS256"]}, "signingalgorithms"),
        ({"signingalgorithms": ["none"]}, "signingalgorithms"),
        ({"signingalgorithms": ["EdDSA"]}, "rootcertbundle"),
    ],
)
def test_settings_that_cannot_verify_refuse_to_start(
    service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pem").touch()
    (tmp_path / "weak.pem").write_bytes(weak_bundle())
    (tmp_path / "secrets.json").write_text('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}')
    good = service.settings(tmp_path).token
    settings = msgspec.structs.replace(good, **change)
    with pytest.raises(ConfigInvalid, match=rf"auth\.token\.{key}"):
        authenticator(Auth(kind="token", token=settings))


def test_every_accepted_algorithm_is_asymmetric() -> None:
    assert not [name for name in ALGORITHMS if name.startswith("HS") or name == "none"]


def test_sha256_tokens_only_use_sha256(service: TokenService, auth: TokenAuthenticator) -> None:
    """An ES256 key that signed over another hash has not signed an ES256 token."""
    assert isinstance(service.key, ec.EllipticCurvePrivateKey)
    signed = service.token("ann", "repository:team/app:pull").rpartition(".")[0]
    for hash_of in (SHA512(), SHA256()):
        r, s = decode_dss_signature(service.key.sign(signed.encode(), ec.ECDSA(hash_of)))
        token = f"{signed}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        if hash_of.name == "sha256":
            assert at_once(admit(auth, call(bearer(token)), PULL))
        else:
            assert refusal(auth, token) == "no key of this registry has signed it"
