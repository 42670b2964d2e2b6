//! The time machine for LXD containers on ZFS: inventory, restore points, plans and their execution.
