//! Where cargo keeps the original's source.
//!
//! The original is a dependency of this package, so cargo has fetched it before this runs. Most
//! often it lies in the registry's folder of cargo's home. Where it does not (vendored sources, a
//! mirror), cargo is asked, about a package that depends on the original alone: of the workspace
//! cargo may not have fetched everything, such as what only tests need. What is found is checked by
//! the caller, so it does not matter which of several copies it is.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Finds the folder of the original.
pub(crate) fn original(version: &str, own: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(found) = in_registry(version) {
        return Ok(found);
    }
    asked(version, own, out)
}

fn in_registry(version: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .filter_map(|registry| Some(registry.ok()?.path().join(format!("russh-{version}"))))
        .find(|folder| folder.join("Cargo.toml").is_file())
}

fn asked(version: &str, own: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let package = out.join("question");
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "")?;
    fs::write(
        package.join("Cargo.toml"),
        format!(
            "[package]\nname = \"question\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
             russh = {{ version = \"={version}\", default-features = false, \
             features = [\"aws-lc-rs\", \"rsa\"] }}\n"
        ),
    )?;
    let lock = own.join("../Cargo.lock");
    if lock.is_file() {
        fs::copy(lock, package.join("Cargo.lock"))?;
    }
    // From here, so that cargo reads the configuration that the build has.
    let answer = Command::new(env::var("CARGO")?)
        .args(["metadata", "--offline", "--format-version", "1"])
        .args(["--filter-platform", &env::var("TARGET")?, "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .current_dir(own)
        .output()?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let ends = [
        "/russh/Cargo.toml".to_owned(),
        format!("/russh-{version}/Cargo.toml"),
    ];
    text.split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| ends.iter().any(|end| path.ends_with(end)))
        .and_then(|path| Some(Path::new(path).parent()?.to_owned()))
        .ok_or_else(|| {
            let said = String::from_utf8_lossy(&answer.stderr);
            format!("the source of russh {version} is not where cargo keeps it: {said}").into()
        })
}
