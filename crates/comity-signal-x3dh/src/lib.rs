//! Suite v3 (X3DH and Double Ratchet, what WhatsApp speaks), an adapter over wacore-libsignal.
