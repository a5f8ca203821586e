//! Noise transport of the interop protocol: frames, handshakes, certificates, transport ciphers.
