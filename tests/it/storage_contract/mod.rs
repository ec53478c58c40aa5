//! What every [`ObjectStore`](portcullis::storage::ObjectStore) keeps: one suite over the memory
//! store, a directory, the S3 client on the embedded server, and the S3 client on the server that the
//! environment names.

use portcullis::storage::{ETag, ListQuery};

use crate::common::stores::Subject;

mod names;
mod objects;
mod uploads;

macro_rules! contract {
    ($($group:ident: $($check:ident),*;)*) => {
        mod memory {
            use super::*;
            $($(#[tokio::test]
            async fn $check() {
                $group::$check(&Subject::memory()).await;
            })*)*
        }
        mod directory {
            use super::*;
            $($(#[tokio::test]
            async fn $check() {
                $group::$check(&Subject::directory()).await;
            })*)*
        }
        mod s3_on_embedded {
            use super::*;
            $($(#[tokio::test]
            async fn $check() {
                $group::$check(&Subject::embedded().await).await;
            })*)*
        }
        mod s3_on_external {
            use super::*;
            $($(#[tokio::test]
            async fn $check() {
                match Subject::external().await {
                    Some(subject) => $group::$check(&subject).await,
                    None => println!("skipped: TEST_S3_ENDPOINT is not set"),
                }
            })*)*
        }
    };
}

contract!(
    objects:
        an_object_comes_back_with_what_was_said_of_it,
        what_is_not_there_is_not_found,
        a_missing_bucket_is_told_from_a_missing_key,
        ranges_are_cut_at_the_end_of_the_object,
        a_pinned_read_refuses_another_version,
        what_is_known_already_is_not_read_again,
        a_wrong_checksum_stores_nothing,
        conditional_puts_hold,
        one_of_many_exclusive_puts_wins,
        copies_replace_metadata_and_cross_buckets,
        a_copy_onto_itself_changes_what_describes_an_object,
        a_copy_of_a_changed_source_is_refused,
        conditional_copies_hold,
        deletes_are_idempotent_and_conditional_ones_hold;
    names:
        listings_group_at_the_slash,
        listings_go_on_where_the_page_ended,
        listings_start_after_a_key,
        buckets_are_listed_to_the_last_one,
        odd_keys_survive,
        slash_keys_survive;
    uploads:
        parts_in_any_order_make_the_object,
        a_part_with_a_wrong_checksum_is_refused,
        a_complete_with_a_gap_or_a_small_part_is_refused,
        an_unknown_upload_is_told,
        an_abort_can_be_repeated,
        conditional_completes_hold,
        parts_can_be_copied,
        what_an_object_carries_is_told_and_goes_along_with_a_copy;
);

fn query(prefix: &str) -> ListQuery {
    ListQuery {
        prefix: prefix.to_owned(),
        delimited: true,
        after: None,
        max: 1000,
    }
}

fn etag(text: &str) -> ETag {
    ETag(text.into())
}
