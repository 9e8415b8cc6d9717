//! Sources of pods. Each source sends all of its pods first and changes after that; the engine joins the sources.

pub mod api;
pub mod cri;
pub mod file;
pub mod owner;
