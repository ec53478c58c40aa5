//! Takes the SSH library as cargo fetched it, checks that it is the release that is pinned here,
//! applies the edits of `edits/` to a copy in `OUT_DIR`, and stops with the name of an edit that
//! does not fit.
//!
//! Nothing of the library's source is kept in this repository.

mod edits;
mod find;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest as _, Sha256};

/// The release that the edits are written for.
const VERSION: &str = "0.65.1";
/// Over the names and contents of all files below `src/` of that release.
const CHECKSUM: &str = "ff52645746fa02d6b8505849b70b946f023999ea7b49622a1ed1dc3013cfc15d";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    for watched in ["build", "edits", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let own = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let original = find::original(VERSION, &own, &out)?;
    println!("cargo::rerun-if-changed={}", original.display());
    let copy = out.join("russh");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    fs::create_dir_all(&copy)?;
    // For the test that compares the dependencies.
    fs::copy(original.join("Cargo.toml"), copy.join("Cargo.toml"))?;
    let mut files = Vec::new();
    texts(&original.join("src"), Path::new("src"), &mut files)?;
    files.sort();
    let found = checksum(&files);
    if found != CHECKSUM {
        return Err(format!(
            "{} is not russh {VERSION} as its authors published it: its checksum is {found}, \
             expected {CHECKSUM}. docs/development.md says how to move to another release",
            original.display()
        )
        .into());
    }
    for edit in edits::read(&own.join("edits"))? {
        edit.apply(&mut files)?;
    }
    for (path, text) in files {
        let path = copy.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Its unit tests need packages of their own; lints of all targets would compile them.
        fs::write(path, text.replace("#[cfg(test)]", "#[cfg(any())]"))?;
    }
    Ok(())
}

/// Collects the files below a folder, under their names in the package.
fn texts(
    folder: &Path,
    name: &Path,
    found: &mut Vec<(String, String)>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = name.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            texts(&entry.path(), &name, found)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}

fn checksum(files: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in files {
        for part in [name, text] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    let digits = hash.finalize();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}
