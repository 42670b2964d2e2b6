//! terrariumctl: the command line of the LXD time machine.

fn main() {}
