//! Media encryption and transfer of the interop protocol.
