//! From the bytes of files to the bytes of the result: [`blocks`] compresses a file with [`deflate`],
//! and [`archive`] puts files into a zip or stores each as an object.

pub(crate) mod archive;
pub(crate) mod blocks;
pub(crate) mod bounded;
pub(crate) mod deflate;
mod deflate_header;
