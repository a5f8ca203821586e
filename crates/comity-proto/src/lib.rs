//! The protobuf schema of the interop protocol: handshake, certificates, ClientPayload, message content.
