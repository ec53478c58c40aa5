//! A look at a whole directory in place of looks at its names.

use crate::limits::LIST_PAGE_MAX;
use crate::storage::{Location, ObjectStore};

use super::fresh::{NameHasher, Names, Shown};
use super::gathered::names_of;
use super::known::Lately;
use super::list::page_bytes_max;
use super::listed::Listed;
use super::plan::Folder;
use crate::budget::Share;

/// Lists the directory in which a name stands; returns what is there beside it, and under the
/// name itself. `None`: there is no memory for a page, and the name has to be looked for.
///
/// Where S3 refuses, which it may for the directory though not for the name, nothing is known, as
/// of a directory with more names than a page.
pub(super) async fn beside(
    store: &dyn ObjectStore,
    account: &Share,
    hasher: &NameHasher,
    location: &Location,
) -> Option<(Names, Lately)> {
    let _page = account.try_take(page_bytes_max(LIST_PAGE_MAX))?;
    let key = location.key.as_str();
    let (above, name) = key.rsplit_once('/').unwrap_or(("", key));
    let listed = Listed::Folder(Folder::new(&location.bucket, above));
    let query = listed.query(None, LIST_PAGE_MAX);
    let names = match listed.fetch(store, &query).await {
        Ok(page) => names_of(hasher, &listed, &page),
        Err(_) => Names::too_many(),
    };
    let lately = match hasher.shown(&names, name) {
        Some(Shown::Nothing) => Lately::Nothing,
        Some(Shown::File(_)) => Lately::NoDirectory,
        Some(Shown::Directory) | None => Lately::Unknown,
    };
    Some((names, lately))
}
