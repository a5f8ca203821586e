//! Hostile tokens, table-driven: each row is one token that is almost good (PROTOCOL §3, RFC 8725).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine as _;
use comity_identity::{
    BearerIssuer, BearerVerifier, Error, Jwks, JwksCache, TokenIssuer, TokenVerifier, WHATSAPP, jkt,
};
use common::{
    AUDIENCE, Forge, NOW, ORIGIN, OTHER, b64, claims, header, now, public_der, rng, sign, sign_as, sign_raw,
    thumbprint, with,
};
use serde_json::{Value, json};

fn malformed(error: &Error) -> bool {
    matches!(error, Error::Malformed(_))
}

fn is(wanted: Error) -> impl Fn(&Error) -> bool {
    move |error| *error == wanted
}

type Check = Box<dyn Fn(&Error) -> bool>;

#[test]
fn hostile_tokens_are_refused() {
    let forge = Forge::new();
    let key = &forge.rsa;
    let (head, body) = (header(key), claims());
    let good = sign(key, &head, &body);
    let part = |n: usize| good.split('.').nth(n).unwrap().to_owned();
    let mut rows: Vec<(String, String, Check)> = Vec::new();
    macro_rules! row {
        ($name:expr, $token:expr, $check:expr) => {
            rows.push(($name.to_string(), $token, Box::new($check)))
        };
    }

    // The algorithm is not the token's to choose (RFC 8725 §3.1).
    let spellings = (0..16_u32).map(|upper| {
        let letters = "none".chars().enumerate();
        letters.map(|(i, c)| if upper >> i & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect::<String>()
    });
    for none in spellings.chain([String::new(), "none ".into(), "null".into()]) {
        let unsigned = format!("{}.{}.", b64(with(head.clone(), json!({"alg": none})).to_string()), part(1));
        row!(format!("alg {none:?}, no signature"), unsigned.clone(), is(Error::WrongAlgorithm));
        row!(format!("alg {none:?}, old signature"), unsigned + &part(2), is(Error::WrongAlgorithm));
    }
    let public_json = Jwks::new([key.public()]).unwrap().to_json();
    let public_jwk = serde_json::from_str::<Value>(&public_json).unwrap()["keys"][0].clone();
    let modulus = public_jwk["n"].as_str().unwrap().to_owned();
    let [spki, pkcs1] = public_der(key);
    let pem = |name: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| core::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n")).into_bytes()
    };
    for (what, secret) in [
        ("JWK set", public_json.into_bytes()),
        ("JWK", public_jwk.to_string().into_bytes()),
        ("modulus in base64url", modulus.clone().into_bytes()),
        ("modulus", base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(modulus).unwrap()),
        ("SPKI in PEM", pem("PUBLIC KEY", &spki)),
        ("PKCS#1 in PEM", pem("RSA PUBLIC KEY", &pkcs1)),
        ("SPKI", spki),
        ("PKCS#1", pkcs1),
        ("kid", key.public().kid().as_bytes().to_vec()),
        ("empty text", Vec::new()),
    ] {
        for (alg, hash) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let message = format!("{}.{}", b64(with(head.clone(), json!({ "alg": alg })).to_string()), part(1));
            let tag = hmac::sign(&hmac::Key::new(hash, &secret), message.as_bytes());
            row!(format!("{alg} with the public {what}"), format!("{message}.{}", b64(tag)), is(Error::WrongAlgorithm));
        }
    }
    for (alg, encoding) in [
        ("RS384", &RSA_PKCS1_SHA384 as &'static dyn RsaEncoding),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ] {
        let swapped = with(head.clone(), json!({ "alg": alg })).to_string();
        row!(alg, sign_as(key, &swapped, body.to_string(), encoding), is(Error::WrongAlgorithm));
        // The right name over another signature.
        let token = sign_as(key, head.to_string(), body.to_string(), encoding);
        row!(format!("{alg} called RS256"), token, is(Error::BadSignature));
    }
    for alg in ["ES256", "ES256K", "ES384", "ES512", "EdDSA", "Ed25519", "RSA1_5", "dir", "A128KW", "RS256 ", "RS256\0"]
    {
        row!(
            format!("alg {alg:?}"),
            sign(key, &with(head.clone(), json!({ "alg": alg })), &body),
            is(Error::WrongAlgorithm)
        );
    }
    for (what, kid_of, signer) in [
        ("ES256 under the RSA kid", key, &forge.p256),
        ("EdDSA under the RSA kid", key, &forge.ed),
        ("RS256 under the P-256 kid", &forge.p256, key),
        ("ES256 under the Ed25519 kid", &forge.ed, &forge.p256),
    ] {
        let head = with(header(signer), json!({"kid": kid_of.public().kid()}));
        row!(what, sign(signer, &head, &body), is(Error::WrongAlgorithm));
    }
    row!("alg rs256", sign(key, &with(head.clone(), json!({"alg": "rs256"})), &body), is(Error::WrongAlgorithm));
    for alg in [json!(null), json!(256), json!(["RS256"])] {
        row!(
            format!("alg {alg}"),
            sign(key, &with(head.clone(), json!({ "alg": alg })), &body),
            is(Error::ForbiddenHeader)
        );
    }
    row!(
        "a P-256 signature in DER",
        {
            let der = [&[0x30, 0x44, 0x02, 0x20][..], &[1; 32], &[0x02, 0x20], &[1; 32]].concat();
            let token = sign(&forge.p256, &header(&forge.p256), &body);
            format!("{}.{}", token.rsplit_once('.').unwrap().0, b64(der))
        },
        is(Error::BadSignature)
    );
    row!(
        "a P-256 signature of zeros",
        {
            let token = sign(&forge.p256, &header(&forge.p256), &body);
            format!("{}.{}", token.rsplit_once('.').unwrap().0, b64([0; 64]))
        },
        is(Error::BadSignature)
    );

    // The key is not the token's to bring (§3.10), and no extension is understood.
    let stranger = Jwks::new([forge.stranger.public()]).unwrap().to_json();
    let jwk = serde_json::from_str::<Value>(&stranger).unwrap()["keys"][0].clone();
    for extra in [
        json!({ "jwk": jwk }),
        json!({"jku": "https://attacker.example/jwks"}),
        json!({"x5u": "https://attacker.example/cert"}),
        json!({"x5c": ["MIIB"]}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"enc": "A128GCM"}),
        json!({"cty": "JWT"}),
        json!({"typ": "at+jwt"}),
        json!({"typ": 1}),
    ] {
        let head = with(head.clone(), extra.clone());
        row!(format!("header {extra}"), sign(&forge.stranger, &head, &body), is(Error::ForbiddenHeader));
        row!(format!("header {extra}, own key"), sign(key, &head, &body), is(Error::ForbiddenHeader));
    }
    let head_text = head.to_string();
    for (name, value) in [("crit", "null"), ("jwk", "null"), ("jku", "null")] {
        let head = head_text.replacen('{', &format!(r#"{{"{name}":{value},"#), 1);
        row!(format!("header {name} null"), sign_raw(key, &head, body.to_string()), is(Error::ForbiddenHeader));
    }
    for twice in [r#""alg":"none","#.to_owned(), format!(r#""kid":"{}","#, forge.p256.public().kid())] {
        let head = head_text.replacen('{', &format!("{{{twice}"), 1);
        row!(format!("header twice {twice}"), sign_raw(key, &head, body.to_string()), is(Error::ForbiddenHeader));
    }

    // The kid is compared, never interpreted.
    let unknown = Error::UnknownKey { refresh: false };
    for kid in
        ["../../../dev/null", "' OR 1=1 --", "x' UNION SELECT 'key", "|whoami", "http://attacker.example/k", "\0"]
    {
        row!(format!("kid {kid:?}"), sign(key, &with(head.clone(), json!({ "kid": kid })), &body), is(unknown.clone()));
    }
    row!("no kid", sign(key, &with(head.clone(), json!({"kid": null})), &body), malformed);
    row!("kid empty", sign(key, &with(head.clone(), json!({"kid": ""})), &body), malformed);
    row!("kid of 300 bytes", sign(key, &with(head.clone(), json!({"kid": "k".repeat(300)})), &body), malformed);
    row!("kid a number", sign(key, &with(head.clone(), json!({"kid": 1})), &body), is(Error::ForbiddenHeader));
    let huge = with(head.clone(), json!({"kid": "k".repeat(1 << 20)}));
    row!("kid of 1 MiB", sign(key, &huge, &body), is(Error::TokenTooLong));
    row!("a stranger's key, own kid", sign(&forge.stranger, &header(&forge.stranger), &body), is(unknown.clone()));
    row!("a stranger's key, our kid", sign(&forge.stranger, &head, &body), is(Error::BadSignature));

    // Issuer and audience (§3.8, §3.9).
    row!("another integrator's key for us", sign(&forge.other, &header(&forge.other), &body), is(unknown.clone()));
    let theirs = with(body.clone(), json!({"iss": OTHER}));
    row!("our key for another integrator", sign(key, &head, &theirs), is(unknown));
    for (iss, check) in [
        (json!("https://nobody.example"), Box::new(is(Error::UnknownIssuer)) as Check),
        (json!("https://partner.example/"), Box::new(is(Error::UnknownIssuer))),
        (json!("HTTPS://PARTNER.EXAMPLE"), Box::new(is(Error::UnknownIssuer))),
        (json!([ORIGIN]), Box::new(malformed)),
        (json!(null), Box::new(malformed)),
        (json!(""), Box::new(malformed)),
        (json!({"a": ORIGIN}), Box::new(malformed)),
        (json!("x".repeat(600)), Box::new(malformed)),
    ] {
        rows.push((format!("iss {iss}"), sign(key, &head, &with(body.clone(), json!({ "iss": iss }))), check));
    }
    for aud in [json!("other"), json!(""), json!(["other"])] {
        row!(
            format!("aud {aud}"),
            sign(key, &head, &with(body.clone(), json!({ "aud": aud }))),
            is(Error::WrongAudience)
        );
    }
    for aud in
        [json!(null), json!([]), json!([AUDIENCE, "other"]), json!(1), json!({"a": AUDIENCE}), json!([[AUDIENCE]])]
    {
        row!(format!("aud {aud}"), sign(key, &head, &with(body.clone(), json!({ "aud": aud }))), malformed);
    }

    // Subject and binding.
    for sub in ["", "a\nb", &"a".repeat(257)] {
        row!(
            format!("sub {sub:?}"),
            sign(key, &head, &with(body.clone(), json!({ "sub": sub }))),
            is(Error::BadSubject)
        );
    }
    for sub in [json!(null), json!(4915), json!(["alice"])] {
        row!(format!("sub {sub}"), sign(key, &head, &with(body.clone(), json!({ "sub": sub }))), malformed);
    }
    for (cnf, wanted) in [
        (json!(null), Error::Unbound),
        (json!({}), Error::Unbound),
        (json!({"x5t#S256": thumbprint()}), Error::Unbound),
        (json!({"jkt": jkt(&[8; 32])}), Error::WrongKeyBinding),
        (json!({"jkt": null}), Error::Unbound),
        (json!({"kid": "x"}), Error::Unbound),
        (json!({"jwk": {"kty": "OKP", "crv": "X25519", "x": b64([7; 32])}}), Error::Unbound),
        (json!({"jkt": ""}), Error::WrongKeyBinding),
        (json!({"jkt": thumbprint() + "="}), Error::WrongKeyBinding),
        (json!({"jkt": thumbprint().to_lowercase()}), Error::WrongKeyBinding),
    ] {
        row!(format!("cnf {cnf}"), sign(key, &head, &with(body.clone(), json!({ "cnf": cnf }))), is(wanted));
    }
    for cnf in [json!([thumbprint()]), json!({"jkt": [thumbprint()]}), json!(thumbprint()), json!({"jkt": 1})] {
        row!(format!("cnf {cnf}"), sign(key, &head, &with(body.clone(), json!({ "cnf": cnf }))), malformed);
    }

    let twice = sign(key, &head, &with(body.clone(), json!({"cnf": {"jkt": jkt(&[8; 32])}})));
    row!("a token bound to another key, as it is", twice, is(Error::WrongKeyBinding));

    // Times.
    let times = |iat: u64, nbf: u64, exp: u64| with(body.clone(), json!({"iat": iat, "nbf": nbf, "exp": exp}));
    for (what, body, wanted) in [
        ("expired", times(NOW - 700, NOW - 700, NOW - 100), Error::Expired),
        ("expired to the second", times(NOW - 600, NOW - 600, NOW - 60), Error::Expired),
        ("not yet issued", times(NOW + 61, NOW, NOW + 600), Error::NotYetValid),
        ("not yet valid", times(NOW, NOW + 61, NOW + 600), Error::NotYetValid),
        ("nbf after exp", times(NOW - 300, NOW + 1000, NOW + 300), Error::NotYetValid),
        ("one second too long a life", times(NOW, NOW, NOW + 601), Error::BadLifetime),
        ("exp of 10^18", times(NOW, NOW, 1_000_000_000_000_000_000), Error::BadLifetime),
        ("exp of 2^64 - 1", times(NOW, NOW, u64::MAX), Error::BadLifetime),
        ("all of 2^64 - 1", times(u64::MAX - 1, 0, u64::MAX), Error::NotYetValid),
        ("exp at iat", times(NOW, NOW, NOW), Error::BadLifetime),
        ("exp before iat", times(NOW, NOW, NOW - 1), Error::BadLifetime),
        ("times of 0", times(0, 0, 0), Error::BadLifetime),
        ("exp 600 after an iat of 0", times(0, 0, 600), Error::Expired),
    ] {
        row!(what, sign(key, &head, &body), is(wanted));
    }
    for name in ["iat", "nbf", "exp"] {
        for value in [
            json!("1764000000"),
            json!(-1),
            json!(1.764e9),
            json!([NOW]),
            json!(true),
            json!({}),
            json!(1e300),
            json!(1e18),
        ] {
            row!(format!("{name} {value}"), sign(key, &head, &with(body.clone(), json!({ name: value }))), malformed);
        }
        let number = body.to_string();
        let (before, after) = number.split_once(&format!("\"{name}\":")).unwrap();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        for value in
            ["null", "1e400", &"9".repeat(400), "18446744073709551616", "-0", "0x10", "01", "NaN", "Infinity", ""]
        {
            let body = format!("{before}\"{name}\":{value}{rest}");
            row!(format!("{name} {value:.20}"), sign_raw(key, head.to_string(), &body), malformed);
        }
        let far = sign(key, &head, &with(body.clone(), json!({ name: 1_000_000_000_000_000_000_u64 })));
        row!(format!("{name} of 10^18"), far, |e: &Error| matches!(e, Error::NotYetValid | Error::BadLifetime));
        if name != "nbf" {
            row!(format!("no {name}"), sign(key, &head, &with(body.clone(), json!({ name: null }))), malformed);
        }
    }
    for jti in [json!(1), json!(["j"]), json!({}), json!(true)] {
        row!(format!("jti {jti}"), sign(key, &head, &with(body.clone(), json!({ "jti": jti }))), malformed);
    }
    let null_jti = body.to_string().replacen(r#""jti":"0123456789abcdef""#, r#""jti":null"#, 1);
    // In members that nobody reads, too.
    for odd in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", br"\ud800", br"\udc00\ud800", br"\x", b"\x01"] {
        let odd_member = |json: &Value| {
            let json = json.to_string();
            [json.strip_suffix('}').unwrap().as_bytes(), b",\"odd\":[\"", odd, b"\"]}"].concat()
        };
        let text = odd.escape_ascii();
        row!(format!("claim {text}"), sign_raw(key, head.to_string(), odd_member(&body)), malformed);
        row!(format!("header {text}"), sign_raw(key, odd_member(&head), body.to_string()), is(Error::ForbiddenHeader));
    }
    row!("jti null", sign_raw(key, head.to_string(), &null_jti), malformed);
    let null_cnf = with(body.clone(), json!({"cnf": null})).to_string().replacen('{', r#"{"cnf":null,"#, 1);
    row!("cnf null", sign_raw(key, head.to_string(), &null_cnf), malformed);
    let long_jti = with(body.clone(), json!({"jti": "j".repeat(200)}));
    row!("jti of 200 bytes", sign(key, &head, &long_jti), malformed);

    // One member, one meaning.
    let body_text = body.to_string();
    for twice in [
        r#""sub":"bob@partner.example","#.to_owned(),
        format!(r#""exp":{},"#, NOW + 60),
        format!(r#""iss":"{ORIGIN}","#),
        format!(r#""aud":"{AUDIENCE}","#),
        r#""cnf":{"jkt":"x"},"#.to_owned(),
    ] {
        let body = body_text.replacen('{', &format!("{{{twice}"), 1);
        row!(format!("claims twice {twice}"), sign_raw(key, &head_text, &body), malformed);
    }
    let inner = body_text.replacen(r#"{"jkt""#, r#"{"jkt":"x","jkt""#, 1);
    row!("cnf.jkt twice", sign_raw(key, &head_text, &inner), malformed);

    // Form.
    for (what, token) in [
        ("empty", String::new()),
        ("two parts", format!("{}.{}", part(0), part(1))),
        ("four parts", format!("{good}.x")),
        ("five parts, as a JWE has", format!("{good}.x.y")),
        ("claims not base64", format!("{}.!!!.{}", part(0), part(2))),
        ("header not base64", format!("*.{}.{}", part(1), part(2))),
        ("header in base64 with padding", format!("{}=.{}.{}", part(0), part(1), part(2))),
        ("signature with padding", format!("{good}=")),
        ("a line break", format!("{good}\n")),
        ("leading space", format!(" {good}")),
        ("JSON serialization", json!({"payload": part(1), "signatures": []}).to_string()),
        ("claims an array", sign_raw(key, &head_text, "[]")),
        ("claims by position", {
            let values = [json!(ORIGIN), json!(AUDIENCE), json!("alice"), json!(NOW), json!(NOW), json!(NOW + 600)];
            sign_raw(key, &head_text, json!(values).to_string())
        }),
        ("issuer by position", sign_raw(key, &head_text, json!([ORIGIN]).to_string())),
        ("claims and more", sign_raw(key, &head_text, format!("{body_text}{{}}"))),
        ("claims deeply nested", sign_raw(key, &head_text, format!("{{\"a\":{}", "[".repeat(1000)))),
        ("claims in the other base64", {
            let claims = body_text.replacen('{', r#"{"name":"\u00ff???>>>~~~","#, 1).replace("\\u00ff", "\u{ff}");
            let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&claims);
            assert!(standard.contains(['+', '/']));
            format!("{}.{standard}.{}", part(0), part(2))
        }),
        ("header with trailing bits", format!("{}.{}.{}", trailing_bits(&head_text), part(1), part(2))),
        ("claims with trailing bits", format!("{}.{}.{}", part(0), trailing_bits(&body_text), part(2))),
        ("signature with trailing bits", format!("{}.{}.{}", part(0), part(1), last_bit(&part(2)))),
        ("white space in the claims", format!("{}.{} {}.{}", part(0), &part(1)[..8], &part(1)[8..], part(2))),
        ("a line break in the header", format!("{}\n{}.{}.{}", &part(0)[..8], &part(0)[8..], part(1), part(2))),
        ("a tab in the signature", format!("{good}\t")),
        ("a line break in the signature", format!("{}.{}.{}\r\n{}", part(0), part(1), &part(2)[..8], &part(2)[8..])),
        ("claims with padding", format!("{}.{}==.{}", part(0), part(1), part(2))),
        ("a null byte", format!("{good}\0")),
        ("Bearer before it", format!("Bearer {good}")),
        ("claims a text", sign_raw(key, &head_text, "\"claims\"")),
        ("claims null", sign_raw(key, &head_text, "null")),
        ("claims empty", sign_raw(key, &head_text, "")),
        ("claims with a byte order mark", sign_raw(key, &head_text, format!("\u{feff}{body_text}"))),
        ("claims not UTF-8", format!("{}.{}.{}", part(0), b64(b"{\"iss\":\"\xff\"}"), part(2))),
    ] {
        row!(what, token, malformed);
    }
    for (what, header) in [
        ("not UTF-8", b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}".to_vec()),
        ("nested deeply", format!("{{\"alg\":\"RS256\",\"x\":{}", "[".repeat(1000)).into_bytes()),
        ("a JWE's", br#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#.to_vec()),
        ("with a byte order mark", [b"\xef\xbb\xbf".to_vec(), head_text.clone().into_bytes()].concat()),
        ("and more", format!("{head_text}{{}}").into_bytes()),
    ] {
        let token = format!("{}.{}.{}", b64(header), part(1), part(2));
        row!(format!("header {what}"), token, is(Error::ForbiddenHeader));
    }
    let jwe = format!("{}.AA.AA.AA.AA", b64(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#));
    row!("a JWE", jwe, malformed);
    let inside = sign_raw(key, with(head.clone(), json!({"cty": "JWT"})).to_string(), &good);
    row!("a token inside a token", inside, is(Error::ForbiddenHeader));
    row!("header an array", sign_raw(key, "[]", &body_text), is(Error::ForbiddenHeader));
    row!(
        "header by position",
        sign_raw(key, json!(["RS256", key.public().kid()]).to_string(), &body_text),
        is(Error::ForbiddenHeader)
    );
    row!("dots", "..".into(), is(Error::ForbiddenHeader));
    row!("header not JSON", sign_raw(key, "alg=RS256", &body_text), is(Error::ForbiddenHeader));
    row!("too long by one", format!("{}{}", good, "A".repeat(4097 - good.len())), is(Error::TokenTooLong));
    row!(
        "signature of another token",
        {
            let other = sign(key, &head, &with(body.clone(), json!({"sub": "bob@partner.example"})));
            format!("{}.{}.{}", part(0), part(1), other.rsplit_once('.').unwrap().1)
        },
        is(Error::BadSignature)
    );
    row!("signature empty", format!("{}.{}.", part(0), part(1)), is(Error::BadSignature));
    row!("signature cut", good[..good.len() - 2].to_owned(), is(Error::BadSignature));
    row!(
        "another subject under the signature",
        {
            let body = with(body.clone(), json!({"sub": "bob@partner.example"})).to_string();
            format!("{}.{}.{}", part(0), b64(body), part(2))
        },
        is(Error::BadSignature)
    );

    assert!(rows.len() >= 250, "{} rows", rows.len());
    let mut cache = forge.cache();
    let verifier = TokenVerifier::new(AUDIENCE);
    for (name, token, check) in &rows {
        let error = verifier.verify(&mut cache, token, &thumbprint(), now()).expect_err(name);
        assert!(check(&error), "{name}: {error:?}");
        assert!(!error.to_string().contains("partner.example"), "{name}: {error}");
    }
    // The same forge makes good ones: the table fails for the reasons it names.
    verifier.verify(&mut cache, &good, &thumbprint(), now()).unwrap();
}

/// `text` in base64url of a length that leaves bits over, the last of them set.
fn trailing_bits(text: &str) -> String {
    let padding = " ".repeat(1 + (3 - text.len() % 3));
    last_bit(&b64(format!("{text}{padding}")))
}

fn last_bit(encoded: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(encoded.len() % 4, 0);
    let last = ALPHABET.iter().position(|c| *c == *encoded.as_bytes().last().unwrap()).unwrap();
    assert_eq!(last % 4, 0);
    format!("{}{}", &encoded[..encoded.len() - 1], ALPHABET[last + 1] as char)
}

/// Who verifies with the dangerous choice takes tokens without `cnf`, and those alone, and is told to remember them.
#[test]
fn unbound_tokens_are_for_one_time_where_they_are_allowed() {
    let forge = Forge::new();
    let mut cache = forge.cache();
    let (key, head) = (&forge.ed, header(&forge.ed));
    let strict = TokenVerifier::new(AUDIENCE);
    let lax = strict.clone().dangerous().allow_unbound_tokens();
    let unbound = sign(key, &head, &with(claims(), json!({"cnf": null})));
    assert_eq!(strict.verify(&mut cache, &unbound, &thumbprint(), now()).unwrap_err(), Error::Unbound);
    for noise_key in [[7; 32], [8; 32]] {
        let token = lax.verify(&mut cache, &unbound, &jkt(&noise_key), now()).unwrap();
        let once = token.single_use.unwrap();
        assert_eq!((once.issuer.as_str(), once.jti.as_str()), (ORIGIN, "0123456789abcdef"));
        // To be remembered until the very moment from which on the token is refused anyway.
        let before = comity_core::Timestamp::from_millis(once.until.as_millis() - 1);
        lax.verify(&mut cache, &unbound, &thumbprint(), before).unwrap();
        assert_eq!(lax.verify(&mut cache, &unbound, &thumbprint(), once.until).unwrap_err(), Error::Expired);
        assert!(!format!("{once:?}").contains("0123456789abcdef"));
    }
    // A bound one is no less bound, and may be shown again.
    let bound = sign(key, &head, &claims());
    assert_eq!(lax.verify(&mut cache, &bound, &thumbprint(), now()).unwrap().single_use, None);
    assert_eq!(lax.verify(&mut cache, &bound, &jkt(&[8; 32]), now()).unwrap_err(), Error::WrongKeyBinding);
    for (change, wanted) in [
        (json!({"cnf": {}}), Error::Unbound),
        (json!({"cnf": {"x5t#S256": thumbprint()}}), Error::Unbound),
        (json!({"cnf": null, "jti": null}), Error::Malformed("an unbound token without jti")),
        (json!({"cnf": null, "jti": ""}), Error::Malformed("an unbound token without jti")),
        (json!({"cnf": null, "jti": "j".repeat(129)}), Error::Malformed("the jti is too long")),
    ] {
        let token = sign(key, &head, &with(claims(), change.clone()));
        assert_eq!(lax.verify(&mut cache, &token, &thumbprint(), now()).unwrap_err(), wanted, "{change}");
    }
}

/// Another integrator's token is a good one, of that integrator; the same token with another key is none.
#[test]
fn a_token_counts_for_its_issuer_and_its_key() {
    let forge = Forge::new();
    let mut cache = forge.cache();
    let verifier = TokenVerifier::new(AUDIENCE);
    let theirs = sign(&forge.other, &header(&forge.other), &with(claims(), json!({"iss": OTHER})));
    assert_eq!(verifier.verify(&mut cache, &theirs, &thumbprint(), now()).unwrap().issuer, OTHER);
    let ours = sign(&forge.rsa, &header(&forge.rsa), &claims());
    assert_eq!(verifier.verify(&mut cache, &ours, &thumbprint(), now()).unwrap().issuer, ORIGIN);
    assert_eq!(verifier.verify(&mut cache, &ours, &jkt(&[8; 32]), now()).unwrap_err(), Error::WrongKeyBinding);
}

#[test]
fn good_tokens_pass_at_the_edges() {
    let forge = Forge::new();
    let mut cache = forge.cache();
    let verifier = TokenVerifier::new(AUDIENCE);
    let mut pass = |what: &str, token: String| {
        let token = verifier.verify(&mut cache, &token, &thumbprint(), now());
        assert_eq!(token.expect(what).user_visible_id.as_str(), "alice@partner.example");
    };
    for key in [&forge.rsa, &forge.p256, &forge.ed] {
        pass("each algorithm", sign(key, &header(key), &claims()));
    }
    let (key, head) = (&forge.ed, header(&forge.ed));
    for change in [
        json!({"nbf": null}),
        json!({"jti": null}),
        json!({"aud": [AUDIENCE]}),
        json!({"iat": NOW + 60, "nbf": NOW + 60, "exp": NOW + 660}),
        json!({"iat": NOW - 659, "nbf": NOW - 659, "exp": NOW - 59}),
        json!({"name": "Alice", "cnf": {"jkt": thumbprint(), "kid": "x"}}),
    ] {
        pass(&change.to_string(), sign(key, &head, &with(claims(), change.clone())));
    }
    for change in [json!({"typ": null}), json!({"typ": "jwt"}), json!({"x5t": "unused"})] {
        pass(&change.to_string(), sign(key, &with(head.clone(), change.clone()), &claims()));
    }
}

#[test]
fn issued_tokens_have_the_claims_of_the_specification_and_no_others() {
    let forge = Forge::new();
    let mut cache = forge.cache();
    let issuer = TokenIssuer::new(ORIGIN, AUDIENCE, forge.rsa).unwrap();
    let sub = "alice@partner.example".parse().unwrap();
    let token = issuer.issue(&sub, &thumbprint(), now(), &mut rng()).unwrap();
    let part = |token: &str, n: usize| -> Value {
        use base64::Engine as _;
        let text = token.split('.').nth(n).unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(part(&token, 0), json!({"alg": "RS256", "kid": issuer.public().kid(), "typ": "JWT"}));
    let body = part(&token, 1);
    assert_eq!(with(body.clone(), json!({"jti": null})), with(claims(), json!({"jti": null})));
    let again = issuer.issue(&sub, &thumbprint(), now(), &mut rng()).unwrap();
    assert_ne!(part(&again, 1)["jti"], body["jti"]);

    let verifier = TokenVerifier::new(AUDIENCE);
    for _ in 0..3 {
        verifier.verify(&mut cache, &token, &thumbprint(), now()).unwrap(); // its holder may show it again
    }
    for bad in ["", "short", &"A".repeat(44), "not base64url: ........................"] {
        assert!(matches!(issuer.issue(&sub, bad, now(), &mut rng()), Err(Error::Misuse(_))));
    }
}

#[test]
fn bearer_tokens() {
    let forge = Forge::new();
    let mut cache = JwksCache::new();
    cache.add_issuer(WHATSAPP, "https://gatekeeper.example/.well-known/jwks").unwrap();
    cache.put(WHATSAPP, Jwks::new([forge.rsa.public()]).unwrap(), now()).unwrap();
    cache.add_issuer(ORIGIN, "https://partner.example/jwks").unwrap();
    cache.put(ORIGIN, Jwks::new([forge.ed.public()]).unwrap(), now()).unwrap();
    let verifier = BearerVerifier::new(WHATSAPP, ORIGIN);
    let head = header(&forge.rsa);
    let body = json!({"iss": WHATSAPP, "aud": ORIGIN, "iat": NOW, "exp": NOW + 3600});

    let mut refused = |token: String, wanted: &dyn Fn(&Error) -> bool| {
        let error = verifier.verify(&mut cache, &token, now()).unwrap_err();
        assert!(wanted(&error), "{error:?}");
    };
    let rsa = |change: Value| sign(&forge.rsa, &head, &with(body.clone(), change));
    refused(rsa(json!({"exp": NOW + 3601})), &is(Error::BadLifetime));
    refused(rsa(json!({"aud": OTHER})), &is(Error::WrongAudience));
    refused(rsa(json!({"aud": [ORIGIN, OTHER]})), &malformed);
    refused(rsa(json!({"aud": null})), &malformed);
    refused(rsa(json!({"exp": null})), &malformed);
    refused(rsa(json!({"iat": null})), &malformed);
    refused(rsa(json!({"iss": "MESSENGER"})), &is(Error::WrongIssuer));
    refused(rsa(json!({"iat": NOW - 4000, "exp": NOW - 400})), &is(Error::Expired));
    refused(rsa(json!({"iat": NOW + 100})), &is(Error::NotYetValid));
    // A partner's own key does not make it the gatekeeper, whatever the cache holds.
    let own = with(body.clone(), json!({"iss": ORIGIN}));
    refused(sign(&forge.ed, &header(&forge.ed), &own), &is(Error::WrongIssuer));
    refused(sign(&forge.ed, &header(&forge.ed), &body), &is(Error::UnknownKey { refresh: false }));
    // An ownership token is no bearer token.
    refused(sign(&forge.ed, &header(&forge.ed), &claims()), &is(Error::WrongIssuer));

    verifier.verify(&mut cache, &rsa(json!({})), now()).unwrap();
    let issuer = BearerIssuer::new(WHATSAPP, forge.rsa);
    let token = issuer.issue(ORIGIN, now()).unwrap();
    verifier.verify(&mut cache, &token, now()).unwrap();
    let part = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()
    };
    assert_eq!(serde_json::from_slice::<Value>(&part).unwrap(), body);
}
