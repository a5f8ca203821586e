//! The async client of the interop protocol: sockets, HTTP, timers, SQLite store.
