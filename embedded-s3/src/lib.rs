//! An in-memory S3.
