//! Compresses the files of the page, so that a browser fetches a third of their size.

use std::fs::{File, read, read_dir};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    compress(Path::new("page.html"), &out)?;
    for folder in ["js", "css"] {
        println!("cargo::rerun-if-changed={folder}");
        for entry in read_dir(folder)? {
            compress(&entry?.path(), &out)?;
        }
    }
    println!("cargo::rerun-if-changed=page.html");
    Ok(())
}

/// Writes `OUT/NAME.gz`.
fn compress(file: &Path, out: &Path) -> Outcome {
    let name = file.file_name().and_then(|name| name.to_str()).ok_or("a file's name is not text")?;
    let mut encoder = GzEncoder::new(File::create(out.join(format!("{name}.gz")))?, Compression::best());
    encoder.write_all(&read(file)?)?;
    encoder.finish()?;
    Ok(())
}
