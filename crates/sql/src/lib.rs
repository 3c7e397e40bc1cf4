//! Queries and commands as SQL text and parameters.
