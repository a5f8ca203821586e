//! Ownership tokens of the interop protocol: issue, verify, JWKS.
