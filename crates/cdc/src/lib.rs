//! Relays the commit log of a database onto the bus.
