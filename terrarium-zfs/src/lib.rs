//! A safe binding of libzfs_core, opened at run time: snapshots, clones, rewinds, send streams and listings.
