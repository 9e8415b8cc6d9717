//! Where pods come from. Each source tells all of its pods at once; the engine joins them.

pub mod file;
