//! The client of the interop protocol as a state machine without I/O.
