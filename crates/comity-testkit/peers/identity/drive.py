"""PyJWT and jwcrypto against comity-identity (docs/PROTOCOL.md §3): prints one JSON object per case.

Our side is the example `identity_interop`, a child process that answers one JSON line per request; its path is in
COMITY_IDENTITY_INTEROP.
"""

import base64
import json
import os
import subprocess
import time
import traceback
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt

ORIGIN = "https://partner.example"
AUDIENCE = "comity-sandbox"
SUB = "alice@partner.example"
ALGORITHMS = ("RS256", "ES256", "EdDSA")

ours_process = subprocess.Popen(
    [os.environ["COMITY_IDENTITY_INTEROP"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
)


def ours(cmd, **fields):
    ours_process.stdin.write(json.dumps({"cmd": cmd, **fields}) + "\n")
    ours_process.stdin.flush()
    return json.loads(ours_process.stdout.readline())


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def noise_key():
    """A Noise static public key, and its thumbprint as jwcrypto computes it."""
    public = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    thumbprint = jwcrypto_jwk.JWK(kty="OKP", crv="X25519", x=b64url(public)).thumbprint()
    return public, thumbprint


def claims(jkt, **change):
    now = int(time.time())
    base = {
        "iss": ORIGIN, "aud": AUDIENCE, "sub": SUB, "iat": now, "nbf": now, "exp": now + 600,
        "jti": str(uuid.uuid4()), "cnf": {"jkt": jkt},
    }
    return {**base, **change}


def verify(jwks, token, jkt):
    return ours("verify", origin=ORIGIN, audience=AUDIENCE, jwks=jwks, token=token, jkt=jkt)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def pyjwt_key(alg):
    """A private key, and its public half as a JWK by PyJWT."""
    private = {
        "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[alg]()
    public = jwt.get_algorithm_by_name(alg).to_jwk(private.public_key(), as_dict=True)
    return private, public


def pyjwt_token_theirs():
    _, jkt = noise_key()
    keys = {alg: pyjwt_key(alg) for alg in ALGORITHMS}
    jwks = json.dumps({"keys": [{**pub, "kid": alg, "alg": alg, "use": "sig"} for alg, (_, pub) in keys.items()]})
    for alg, (private, _) in keys.items():
        token = jwt.encode(claims(jkt), private, algorithm=alg, headers={"kid": alg})
        expect(verify(jwks, token, jkt) == {"sub": SUB}, f"{alg} was refused")
        for what, bad in {
            "a token for another audience": claims(jkt, aud="another"),
            "an expired token": claims(jkt, iat=1, nbf=1, exp=601),
            "a token for a day": claims(jkt, exp=int(time.time()) + 86400),
            "a token of another issuer": claims(jkt, iss="https://other.example"),
            "a token without binding": {k: v for k, v in claims(jkt).items() if k != "cnf"},
        }.items():
            refused = verify(jwks, jwt.encode(bad, private, algorithm=alg, headers={"kid": alg}), jkt)
            expect("error" in refused, f"{alg}: {what} was accepted")
        expect("error" in verify(jwks, token, noise_key()[1]), f"{alg}: another key's holder was accepted")
        crit = jwt.encode(claims(jkt), private, algorithm=alg, headers={"kid": alg, "crit": ["x"], "x": 1})
        expect("error" in verify(jwks, crit, jkt), f"{alg}: an unknown extension was accepted")
    secret = keys["RS256"][1]["n"]  # PyJWT itself refuses a whole JWK or PEM here
    confused = jwt.encode(claims(jkt), secret, algorithm="HS256", headers={"kid": "RS256"})
    expect("error" in verify(jwks, confused, jkt), "HS256 with the public key was accepted")
    private = keys["RS256"][0]
    now = int(time.time())
    bearer = jwt.encode(
        {"iss": "WHATSAPP", "aud": ORIGIN, "iat": now, "exp": now + 3600}, private, "RS256", headers={"kid": "RS256"}
    )
    expect(ours("verify_bearer", origin=ORIGIN, jwks=jwks, token=bearer) == {}, "a bearer token was refused")


def pyjwt_token_ours():
    _, jkt = noise_key()
    for alg in ALGORITHMS:
        made = ours("issue", alg=alg, origin=ORIGIN, audience=AUDIENCE, sub=SUB, jkt=jkt)
        keys = jwt.PyJWKSet.from_json(made["jwks"])
        kid = jwt.get_unverified_header(made["token"])["kid"]
        options = {"require": ["iss", "aud", "sub", "iat", "nbf", "exp", "jti"]}
        body = jwt.decode(
            made["token"], keys[kid], algorithms=[alg], audience=AUDIENCE, issuer=ORIGIN, options=options
        )
        expect(body["sub"] == SUB and body["cnf"] == {"jkt": jkt}, f"{alg}: {body}")
        expect(body["exp"] - body["iat"] == 600, f"{alg}: life time")
        made = ours("bearer", alg=alg, origin=ORIGIN)
        keys = jwt.PyJWKSet.from_json(made["jwks"])
        kid = jwt.get_unverified_header(made["token"])["kid"]
        body = jwt.decode(made["token"], keys[kid], algorithms=[alg], audience=ORIGIN, issuer="WHATSAPP")
        expect(sorted(body) == ["aud", "exp", "iat", "iss"], f"{alg}: {body}")
        expect(body["exp"] - body["iat"] == 3600, f"{alg}: life time")


def jwcrypto_jwks_ours():
    public, jkt = noise_key()
    expect(ours("jkt", public=b64url(public)) == {"jkt": jkt}, "the thumbprints of a Noise key differ")
    for alg in ALGORITHMS:
        made = ours("issue", alg=alg, origin=ORIGIN, audience=AUDIENCE, sub=SUB, jkt=jkt)
        published = json.loads(made["jwks"])["keys"][0]
        expect(published["alg"] == alg and published["use"] == "sig", f"{alg}: {published}")
        keys = jwcrypto_jwk.JWKSet.from_json(made["jwks"])
        key = keys.get_key(published["kid"])
        expect(key is not None and not key.has_private, f"{alg}: no public key of that kid")
        expect(key.thumbprint() == published["kid"], f"{alg}: the kid is not the thumbprint")
        token = jwcrypto_jwt.JWT(jwt=made["token"], key=keys, algs=[alg])
        expect(json.loads(token.claims)["sub"] == SUB, f"{alg}: {token.claims}")


def jwcrypto_token_theirs():
    _, jkt = noise_key()
    keys = jwcrypto_jwk.JWKSet()
    makers = {
        "RS256": {"kty": "RSA", "size": 3072},
        "ES256": {"kty": "EC", "crv": "P-256"},
        "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    }
    for alg, how in makers.items():
        keys.add(jwcrypto_jwk.JWK.generate(**how, kid=alg, alg=alg, use="sig"))
    jwks = keys.export(private_keys=False)
    for alg in ALGORITHMS:
        token = jwcrypto_jwt.JWT(header={"alg": alg, "kid": alg}, claims=claims(jkt))
        token.make_signed_token(keys.get_key(alg))
        expect(verify(jwks, token.serialize(), jkt) == {"sub": SUB}, f"{alg} was refused")
    leaked = keys.export(private_keys=True)
    expect("error" in verify(leaked, token.serialize(), jkt), "a set with private keys was accepted")


CASES = [
    ("pyjwt", "token-theirs", pyjwt_token_theirs),
    ("pyjwt", "token-ours", pyjwt_token_ours),
    ("jwcrypto", "jwks-ours", jwcrypto_jwks_ours),
    ("jwcrypto", "token-theirs", jwcrypto_token_theirs),
]

for peer, case, run in CASES:
    row = {"peer": peer, "case": case, "result": "ok", "reason": ""}
    try:
        run()
    except Exception as error:  # whatever goes wrong is the case's result
        traceback.print_exc()
        row.update(result="fail", reason=f"{type(error).__name__}: {error}")
    print(json.dumps(row), flush=True)
