//! Who a client is: the partner's own user authentication, and a static table of users.

use crate::limits::{MAX_AUTHORIZATION_LEN, MAX_STATIC_USERS};
use crate::{BoxFuture, Error, Problem};
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use comity_core::{Secret, UserVisibleId};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The partner's own authentication of its users, plugged in.
pub trait Authenticator: Send + Sync {
    /// The user who makes this request; an error is answered as it is. The peer's address is among the request's
    /// extensions, as `axum::extract::ConnectInfo<SocketAddr>`, where the server puts it there.
    ///
    /// May be cancelled when the client goes away.
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>>;
}

/// The part of an `Authorization` header after its scheme.
pub(crate) fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    if value.len() > MAX_AUTHORIZATION_LEN {
        return None;
    }
    let (given, rest) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim_matches(' '))
}

/// What HTTP Basic credentials hold: `user:secret`.
pub(crate) fn basic(headers: &HeaderMap) -> Option<Secret<Vec<u8>>> {
    let credentials = credentials(headers, "Basic")?;
    base64::engine::general_purpose::STANDARD.decode(credentials).ok().map(Secret::new)
}

/// A fixed table of users with secrets, by HTTP Basic authentication: for a sandbox.
///
/// Only SHA-256 digests are kept, compared in constant time; an unknown user takes as long as a wrong secret. A digest
/// protects secrets with much entropy, not passwords that people choose.
#[derive(Default)]
pub struct StaticUsers {
    users: HashMap<UserVisibleId, Secret<[u8; 32]>>,
}

impl StaticUsers {
    /// A table without users.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user by the SHA-256 of the secret.
    ///
    /// # Errors
    /// [`Error::Server`] if the user is there already, has a `:` (which HTTP Basic cannot carry), or over
    /// [`MAX_STATIC_USERS`].
    pub fn add(&mut self, user: UserVisibleId, secret_sha256: [u8; 32]) -> Result<(), Error> {
        if user.as_str().contains(':') {
            return Err(Error::config("a user's id contains ':', which HTTP Basic cannot carry"));
        }
        if self.users.len() >= MAX_STATIC_USERS {
            return Err(Error::config(format!("more than {MAX_STATIC_USERS} static users")));
        }
        if self.users.insert(user, Secret::new(secret_sha256)).is_some() {
            return Err(Error::config("a user is listed twice"));
        }
        Ok(())
    }

    /// Whether this is one of the users.
    pub fn contains(&self, user: &UserVisibleId) -> bool {
        self.users.contains_key(user)
    }

    fn check(&self, headers: &HeaderMap) -> Option<UserVisibleId> {
        let pair = basic(headers)?;
        let (user, secret) = core::str::from_utf8(pair.expose()).ok()?.split_once(':')?;
        let user: UserVisibleId = user.parse().ok()?;
        let given = Secret::new(<[u8; 32]>::from(Sha256::digest(secret)));
        let nobody = Secret::new([0; 32]);
        let known = self.users.get(&user);
        let equal = *known.unwrap_or(&nobody) == given;
        (equal && known.is_some()).then_some(user)
    }
}

impl core::fmt::Debug for StaticUsers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StaticUsers").field("users", &self.users.len()).finish()
    }
}

impl Authenticator for StaticUsers {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<UserVisibleId, Problem>> {
        let found = self.check(&request.headers).ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "HTTP Basic credentials of a known user are required")
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="partner", charset="UTF-8""#))
        });
        Box::pin(async { found })
    }
}
