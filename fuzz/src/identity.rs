//! Bodies for comity-identity and for the gatekeeper's enlistment form.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::Timestamp;
use comity_gatekeeper::fuzz_form;
use comity_identity::limits::{MAX_JTI_LEN, MAX_JWKS_KEYS, MAX_JWKS_LEN, MAX_TOKEN_LEN, TOKEN_LIFETIME};
use comity_identity::{Error, Jwks, JwksCache, OwnershipToken, TokenVerifier, jkt, jwks_url};
use core::time::Duration;
use std::sync::LazyLock;

const ORIGIN: &str = "https://partner.example";
const AUDIENCE: &str = "comity-sandbox";
/// In the middle of what the seeds' times are about.
const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const NOISE_KEY: [u8; 32] = [7; 32];

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a seed"));

fn cache() -> JwksCache {
    static KEYS: LazyLock<Jwks> = LazyLock::new(|| {
        let x = URL_SAFE_NO_PAD.encode(PAIR.public_key());
        let set = format!(r#"{{"keys":[{{"kid":"k","kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"{x}"}}]}}"#);
        Jwks::parse(set.as_bytes()).expect("a set")
    });
    let mut cache = JwksCache::new();
    cache.add_issuer(ORIGIN, &jwks_url(ORIGIN)).expect("an issuer");
    cache.put(ORIGIN, KEYS.clone(), NOW).expect("the issuer");
    cache
}

/// Any text is refused as a token, for nobody can sign; any header and claims that are truly signed are judged by what they
/// say, and what is taken keeps to the rules. The first byte is even for a text, odd for a header and claims split by a zero.
pub fn token(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else { return };
    if kind & 1 == 0 {
        let text = String::from_utf8_lossy(input);
        assert!(verify(&text, NOW).is_err(), "a token nobody has signed");
        return;
    }
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (header, claims) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(PAIR.sign(message.as_bytes())));
    let Ok(taken) = verify(&token, NOW) else { return };

    assert!(token.len() <= MAX_TOKEN_LEN);
    assert_eq!(taken.issuer, ORIGIN);
    let life = taken.expires_at.since(taken.issued_at);
    assert!(life > Duration::ZERO && life <= TOKEN_LIFETIME);
    assert!(taken.jti.as_ref().is_none_or(|jti| jti.len() <= MAX_JTI_LEN));
    // What serde_json reads of it, loosely, says the same.
    let claims: serde_json::Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(claims["sub"], taken.user_visible_id.as_str());
    assert_eq!(claims["exp"], taken.expires_at.as_secs());
    let header: serde_json::Value = serde_json::from_slice(header).expect("JSON");
    assert!(["crit", "jwk", "jku", "x5u", "x5c"].iter().all(|name| header.get(name).is_none()));
    match &taken.single_use {
        Some(once) => assert!(claims.get("cnf").is_none() && claims["jti"] == once.jti.as_str()),
        None => assert_eq!(claims["cnf"]["jkt"], jkt(&NOISE_KEY)),
    }
    // It is good until it has expired, and for nobody else's key if it is bound.
    let over = taken.expires_at.after(Duration::from_secs(60));
    assert!(verify(&token, Timestamp::from_millis(over.as_millis() - 1)).is_ok());
    assert_eq!(verify(&token, over).err(), Some(Error::Expired));
    let other = lax().verify(&mut cache(), &token, &jkt(&[8; 32]), NOW);
    assert_eq!(other.is_ok(), taken.single_use.is_some());
    let strict = TokenVerifier::new(AUDIENCE).verify(&mut cache(), &token, &jkt(&NOISE_KEY), NOW);
    assert_eq!(strict.is_ok(), taken.single_use.is_none());
}

fn lax() -> TokenVerifier {
    TokenVerifier::new(AUDIENCE).dangerous().allow_unbound_tokens()
}

fn verify(token: &str, now: Timestamp) -> Result<OwnershipToken, Error> {
    lax().verify(&mut cache(), token, &jkt(&NOISE_KEY), now)
}

/// A key set that is taken is within its bounds, and published again it is the same.
pub fn jwks(input: &[u8]) {
    let Ok(set) = Jwks::parse(input) else { return };
    assert!(input.len() <= MAX_JWKS_LEN && set.keys().len() <= MAX_JWKS_KEYS);
    let json = set.to_json();
    let again = Jwks::parse(json.as_bytes()).expect("what was taken is good");
    assert_eq!(again.to_json(), json);
    for key in set.keys() {
        assert_eq!(again.get(key.kid()).map(|key| key.algorithm()), Some(key.algorithm()));
    }
}

/// A form that is taken, written anew, is the same form.
pub fn enlist_form(input: &[u8]) {
    const NAMES: [&str; 9] =
        ["authkey", "e_keytype", "e_regid", "e_ident", "e_skey_id", "e_skey_val", "e_skey_sig", "token", "v"];
    let Some(fields) = fuzz_form(input) else { return };
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pairs = NAMES.iter().zip(&fields).map(|(name, value)| format!("{name}={}", percent(value)));
    let again = pairs.collect::<Vec<_>>().join("&");
    if again.len() <= 16 * 1024 {
        assert_eq!(fuzz_form(again.as_bytes()), Some(fields));
    }
}
