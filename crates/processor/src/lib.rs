//! Owns the pages of live queries and publishes their diffs.
