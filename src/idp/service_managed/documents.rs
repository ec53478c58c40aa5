//! Where documents of users are kept: what every such place can do.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

/// Keeps one document a user, by name. Every change is whole or did not happen.
#[async_trait]
pub trait Documents: Debug + Send + Sync + 'static {
    /// Returns a document, if there is one.
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure>;

    /// Returns what became of a document since it was the version that is known.
    async fn read_since(&self, name: &str, known: &Version) -> Result<Since, Failure> {
        Ok(match self.read(name).await? {
            Some(document) if document.version == *known => Since::Same,
            Some(document) => Since::Other(document),
            None => Since::Gone,
        })
    }

    /// Returns which version is there, without reading it.
    async fn version(&self, name: &str) -> Result<Option<Version>, Failure>;

    /// Keeps a new document; [`Failure::Changed`] if there is one.
    async fn create(&self, name: &str, text: Bytes) -> Result<Version, Failure>;

    /// Puts a document in place of a version; [`Failure::Changed`] if another one is there.
    async fn replace(&self, name: &str, text: Bytes, base: &Version) -> Result<Version, Failure>;

    /// Takes a version away; [`Failure::Changed`] if another one is there, or none.
    async fn remove(&self, name: &str, base: &Version) -> Result<(), Failure>;

    /// Returns up to `max` names that come after another, in the order of the place.
    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure>;
}

/// A document and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub text: Bytes,
    pub version: Version,
}

/// What is there of a document of which a version is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    Same,
    Other(Document),
    Gone,
}

/// Tells one state of a document from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub Box<str>);

/// One page of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub names: Vec<String>,
    pub more: bool,
}

/// Why a place did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another version is there.
    #[error("another version is there")]
    Changed,
    /// The document is larger than one can be.
    #[error("the document is larger than {max} bytes", max = crate::limits::USER_DOCUMENT_BYTES_MAX)]
    TooLarge,
    /// The place cannot be asked, or does not do it; a change may have happened all the same.
    #[error("{0}")]
    Away(String),
}
