//! Our side for foreign JOSE libraries: one JSON request a line on stdin, one answer a line on stdout.
//!
//! `{"cmd":"issue","alg","origin","audience","sub","jkt"}` → `{"token","jwks"}` ·
//! `{"cmd":"bearer","alg","origin"}` → `{"token","jwks"}` ·
//! `{"cmd":"verify","origin","audience","jwks","token","jkt"}` → `{"sub"}` ·
//! `{"cmd":"verify_bearer","origin","jwks","token"}` → `{}` ·
//! `{"cmd":"jkt","public"}` → `{"jkt"}`. A refusal is `{"error"}`.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program of its own, with a clock and a stdout")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comity_core::Timestamp;
use comity_identity::{
    Algorithm, BearerIssuer, BearerVerifier, Jwks, JwksCache, SigningKey, TokenIssuer, TokenVerifier, WHATSAPP, jkt,
};
use serde_json::{Value, json};
use std::io::BufRead as _;
use std::time::{SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        println!("{}", answer(&request).unwrap_or_else(|error| json!({"error": error.to_string()})));
    }
    Ok(())
}

fn answer(request: &Value) -> Result<Value> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name}"));
    let now = Timestamp::from_secs(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let key = || -> Result<SigningKey> {
        Ok(SigningKey::generate(match text("alg")? {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            "EdDSA" => Algorithm::EdDsa,
            _ => return Err("no such alg".into()),
        })?)
    };
    let cache = |issuer: &str| -> Result<JwksCache> {
        let mut cache = JwksCache::new();
        cache.add_issuer(issuer, "given with the request")?;
        cache.put(issuer, Jwks::parse(text("jwks")?.as_bytes())?, now)?;
        Ok(cache)
    };
    Ok(match text("cmd")? {
        "issue" => {
            let issuer = TokenIssuer::new(text("origin")?, text("audience")?, key()?)?;
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let token = issuer.issue(&text("sub")?.parse()?, text("jkt")?, now, &mut rng)?;
            json!({"token": token, "jwks": Jwks::new([issuer.public()])?.to_json()})
        }
        "bearer" => {
            let issuer = BearerIssuer::new(WHATSAPP, key()?);
            json!({"token": issuer.issue(text("origin")?, now)?, "jwks": Jwks::new([issuer.public()])?.to_json()})
        }
        "verify" => {
            let verifier = TokenVerifier::new(text("audience")?);
            let token = verifier.verify(&mut cache(text("origin")?)?, text("token")?, text("jkt")?, now)?;
            json!({"sub": token.user_visible_id.as_str()})
        }
        "verify_bearer" => {
            BearerVerifier::new(WHATSAPP, text("origin")?).verify(&mut cache(WHATSAPP)?, text("token")?, now)?;
            json!({})
        }
        "jkt" => {
            let public = URL_SAFE_NO_PAD.decode(text("public")?)?;
            json!({"jkt": jkt(&public.try_into().map_err(|_| "not 32 bytes")?)})
        }
        _ => return Err("no such cmd".into()),
    })
}
