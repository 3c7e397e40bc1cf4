//! The three seams: bus, hot cache and database, with in-memory versions and conformance suites.
