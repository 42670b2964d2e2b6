//! How buckets are addressed: part of how a place is configured, with S3 built in or not.

/// Where the bucket's name stands in addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressingStyle {
    /// In the path if there is an endpoint, else in the host's name.
    #[default]
    Auto,
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}
