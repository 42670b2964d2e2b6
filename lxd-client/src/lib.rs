//! LXD's REST API over its unix socket.
