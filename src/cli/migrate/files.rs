//! Descriptions in files, in directories, and on standard input.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};

use crate::causes;
use crate::cli::Failure;
use crate::config::read_text;
use crate::limits::{DESCRIPTION_BYTES_MAX, DESCRIPTIONS_BYTES_MAX, DESCRIPTIONS_MAX};

/// Reads each file, those of a directory in the order of their names.
///
/// # Errors
/// A file cannot be read or used, or there are too many.
pub(super) fn each(
    paths: &[String],
    mut take: impl FnMut(&str, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut files, mut bytes) = (0_usize, 0_u64);
    let mut one = |path: &str, text: &str| {
        files = files.saturating_add(1);
        bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        if files > DESCRIPTIONS_MAX || bytes > DESCRIPTIONS_BYTES_MAX {
            let message = format!(
                "{path}: more than {DESCRIPTIONS_MAX} files, or {DESCRIPTIONS_BYTES_MAX} bytes"
            );
            return Err(Failure::Usage(message));
        }
        take(path, text)
    };
    for path in paths {
        if path == "-" {
            let text = standard_input().map_err(|error| unusable(path, &error))?;
            one("standard input", &text)?;
            continue;
        }
        let metadata = fs::metadata(path).map_err(|error| unusable(path, &error))?;
        if !metadata.is_dir() {
            let text = read_text(path, DESCRIPTION_BYTES_MAX);
            one(path, &text.map_err(|error| unusable(path, &error))?)?;
            continue;
        }
        let mut found = 0_usize;
        for file in descriptions_in(path).map_err(|error| unusable(path, &error))? {
            let text = read_text(&file, DESCRIPTION_BYTES_MAX);
            one(&file, &text.map_err(|error| unusable(&file, &error))?)?;
            found = found.saturating_add(1);
        }
        if found == 0 {
            let message = format!("{path}: no file in it ends in .json or .tfstate");
            return Err(Failure::Usage(message));
        }
    }
    Ok(())
}

fn descriptions_in(directory: &str) -> io::Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if name.ends_with(".json") || name.ends_with(".tfstate") {
            files.insert(format!("{}/{name}", directory.trim_end_matches('/')));
        }
        if files.len() > DESCRIPTIONS_MAX {
            break;
        }
    }
    Ok(files)
}

fn standard_input() -> io::Result<String> {
    let mut bytes = Vec::new();
    let longest = DESCRIPTION_BYTES_MAX.saturating_add(1);
    let read = io::stdin().lock().take(longest).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > DESCRIPTION_BYTES_MAX) {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

fn unusable(path: &str, error: &io::Error) -> Failure {
    Failure::Usage(format!("{path}: {}", causes::system(error)))
}
