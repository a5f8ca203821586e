//! Stanzas of the interop protocol: tree, typed stanzas, binary codec, XML codec.
