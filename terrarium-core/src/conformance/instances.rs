//! What [`Instances`](crate::Instances) must do, be it LXD or a fake.
