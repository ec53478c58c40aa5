//! Where the gateway keeps something of its own, when that is in a bucket: `s3://bucket/prefix`.

use crate::storage::Bucket;

/// Says what is wrong with a place, if it is in a bucket; `otherwise` is what two replicas would do
/// to each other without conditions.
pub(super) fn problems(place: &str, has_conditional_put: bool, otherwise: &str) -> Vec<String> {
    let Some(rest) = place.strip_prefix("s3://") else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let bucket = rest.split('/').next().unwrap_or_default();
    if let Err(error) = Bucket::parse(bucket) {
        problems.push(format!(
            "found {place:?}: {error}; allowed: s3://bucket/prefix"
        ));
    }
    if !has_conditional_put {
        problems.push(format!(
            "needs conditions on PutObject: {otherwise}. Set storage.conditional_put = true, if \
             the store has them, or use a directory"
        ));
    }
    problems
}
