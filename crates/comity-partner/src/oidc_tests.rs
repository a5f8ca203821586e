//! Tokens of an OpenID provider, right and wrong.
