//! JWS compact form: made, and taken apart under the rules of RFC 8725 (the section is named where one is applied).

use crate::limits::{MAX_KID_LEN, MAX_ORIGIN_LEN, MAX_TOKEN_LEN};
use crate::object::Object;
use crate::{Error, PublicKey, SigningKey, b64};
use core::fmt;
use jsonwebtoken::Validation;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Signs `claims`; the header is `{alg, kid, typ:"JWT"}`.
///
/// Not through the JOSE library: it takes RSA keys in another form only, and parses them anew for every signature.
pub(crate) fn sign(key: &SigningKey, claims: &impl Serialize) -> Result<String, Error> {
    let header = json!({"alg": key.public().algorithm().as_str(), "kid": key.public().kid(), "typ": "JWT"});
    let claims = serde_json::to_vec(claims).map_err(|_| Error::Crypto)?;
    let mut token = format!("{}.{}", b64::encode(header.to_string().as_bytes()), b64::encode(&claims));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&b64::encode(&signature));
    if token.len() > MAX_TOKEN_LEN { Err(Error::TokenTooLong) } else { Ok(token) }
}

/// A token whose header was found acceptable and whose key is to be looked up; **nothing in it is verified**.
pub struct UnverifiedToken<'a> {
    token: &'a str,
    alg: String,
    kid: String,
    issuer: String,
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken").finish_non_exhaustive()
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart as far as needed to find its key.
    ///
    /// # Errors
    /// [`Error::TokenTooLong`], [`Error::Malformed`], [`Error::ForbiddenHeader`].
    pub fn parse(token: &'a str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        if token.len() > MAX_TOKEN_LEN {
            return Err(Error::TokenTooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Malformed("not three parts"));
        };
        let header = b64::decode(header).ok_or(Error::Malformed("the header is not base64url"))?;
        if !well_formed(&header) {
            return Err(Error::ForbiddenHeader);
        }
        let Object::<Header>(header) = serde_json::from_slice(&header).map_err(|_| Error::ForbiddenHeader)?;
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Error::ForbiddenHeader); // §3.11
        }
        let kid = header.kid.ok_or(Error::Malformed("no kid"))?;
        if kid.is_empty() || kid.len() > MAX_KID_LEN {
            return Err(Error::Malformed("the kid's length is out of range"));
        }
        let claims = b64::decode(claims).ok_or(Error::Malformed("the claims are not base64url"))?;
        if !well_formed(&claims) {
            return Err(Error::Malformed("the claims are not JSON"));
        }
        let Object(Issuer { iss }) = serde_json::from_slice(&claims).map_err(|_| Error::Malformed("no iss"))?;
        if iss.is_empty() || iss.len() > MAX_ORIGIN_LEN {
            return Err(Error::Malformed("the issuer's length is out of range"));
        }
        Ok(Self { token, alg: header.alg, kid, issuer: iss })
    }

    /// What the token says of its issuer: good for looking up a key among that issuer's own, for nothing else.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key's id: an opaque text that is compared and never interpreted (§3.10).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Verifies the signature with `key`, whose own algorithm is the only one that counts (§3.1, §3.2), and `iss` and `aud`
    /// (§3.8, §3.9); times are left to the caller.
    pub(crate) fn verify<T: DeserializeOwned>(self, key: &PublicKey, audience: &str) -> Result<T, Error> {
        use jsonwebtoken::errors::ErrorKind as Jose;
        if self.alg != key.algorithm().as_str() {
            return Err(Error::WrongAlgorithm);
        }
        // Without this a crate elsewhere in the program that switches on the library's other back end makes it panic.
        // An Err says that a back end is installed.
        let _ = DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(key.algorithm().jose());
        validation.validate_exp = false; // against the caller's `now`, not the system clock
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&self.issuer]);
        match jsonwebtoken::decode::<Object<T>>(self.token, key.decoding(), &validation) {
            Ok(data) => Ok(data.claims.0),
            Err(error) => Err(match error.kind() {
                Jose::InvalidSignature => Error::BadSignature,
                Jose::InvalidAlgorithm => Error::WrongAlgorithm,
                Jose::InvalidAudience => Error::WrongAudience,
                Jose::InvalidIssuer => Error::WrongIssuer,
                Jose::Base64(_) => Error::Malformed("not base64url"),
                _ => Error::Malformed("the claims lack a member, repeat one or give one a wrong type"),
            }),
        }
    }
}

/// Whether all of it is JSON in UTF-8 (§3.7): a reader that passes over a member does not look into its texts.
fn well_formed(json: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(json).is_ok()
}

/// A header with exactly what is looked at. A repeated member is an error, as are those that point to other keys (§3.10),
/// compress, encrypt, or demand extensions: none is understood, so `crit` can only fail (RFC 7515 §4.1.11).
#[derive(Deserialize)]
#[expect(dead_code, reason = "the unit members exist to be refused")]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "forbidden")]
    crit: (),
    #[serde(default, deserialize_with = "forbidden")]
    b64: (),
    #[serde(default, deserialize_with = "forbidden")]
    jwk: (),
    #[serde(default, deserialize_with = "forbidden")]
    jku: (),
    #[serde(default, deserialize_with = "forbidden")]
    x5u: (),
    #[serde(default, deserialize_with = "forbidden")]
    x5c: (),
    #[serde(default, deserialize_with = "forbidden")]
    cty: (),
    #[serde(default, deserialize_with = "forbidden")]
    enc: (),
    #[serde(default, deserialize_with = "forbidden")]
    zip: (),
}

fn forbidden<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(serde::de::Error::custom("not accepted"))
}
