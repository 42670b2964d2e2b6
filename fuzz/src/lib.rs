//! What the fuzz targets share.

pub mod documents;
pub mod lists;
pub mod pieces;
pub mod records;
pub mod seeds;
