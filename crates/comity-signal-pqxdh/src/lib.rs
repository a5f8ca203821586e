//! Suite v4 (PQXDH and SPQR), an adapter over libsignal-protocol.
