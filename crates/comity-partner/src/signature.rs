//! Signed HTTP to the partner's own back end: the Standard Webhooks scheme. `webhook-id`, `webhook-timestamp` (seconds) and
//! `webhook-signature: v1,<base64 of HMAC-SHA256(secret, "{id}.{timestamp}.{body}")>`.

use crate::Error;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use comity_core::{Secret, Timestamp};
use rand_core::Rng as _;

/// The secret shared with the back end: `whsec_` and base64 of 24 to 64 bytes.
pub struct WebhookKey(hmac::Key);

impl core::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

impl WebhookKey {
    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::config("a webhook secret is written whsec_ and base64 of 24 to 64 bytes");
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").ok_or_else(wrong)?).map_err(|_| wrong())?;
        let bytes = Secret::new(bytes);
        if !(24..=64).contains(&bytes.expose().len()) {
            return Err(wrong());
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.expose())))
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{}.", at.as_secs()).as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// A fresh `webhook-id`.
pub(crate) fn message_id() -> String {
    let mut bytes = [0; 16];
    rand_core::UnwrapErr(getrandom::SysRng).fill_bytes(&mut bytes);
    format!("msg_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks reference libraries' tests.
    #[test]
    fn known_answer() {
        let key = WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp::from_secs(1_614_265_330), br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn weak_secrets_are_refused() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_not base64"] {
            assert!(WebhookKey::parse(text).is_err(), "{text}");
        }
    }
}
