//! Test vectors, generators and foreign peers.
