//! Signal accounts, pre-keys and sessions as values, with the engine plugged in as a suite.
