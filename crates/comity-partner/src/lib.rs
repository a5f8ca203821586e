//! Partner-server kit: keys, ownership tokens, push, media host.
