//! A virtual machine with real ZFS and real LXD that the end-to-end tests run in.
