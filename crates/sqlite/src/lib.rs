//! SQLite as a database of live queries.
