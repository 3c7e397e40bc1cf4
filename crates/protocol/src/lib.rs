//! Every byte that crosses a process: client frames, FlatBuffers, bus records, error codes.

mod generated;
