//! Buses of this process over real servers.
