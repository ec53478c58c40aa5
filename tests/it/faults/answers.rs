//! S3's answers are not whole, or not about what was asked: the client sees a failure, and
//! everything is as it was.

use super::*;

/// Many calls fail for good here.
const SOON: Duration = Duration::from_millis(300);
const NAMES: [&str; 4] = ["1", "2", "3", "4"];

/// Ends every answer to a listing behind the n-th of its elements.
fn cut_behind_element(nth: usize) -> Fault {
    let text = "</Contents>".to_owned();
    let cut = Alteration::EndAfter { text, nth };
    Fault::on("ListObjectsV2", Action::Alter(vec![cut])).times(u32::MAX)
}

fn without(field: &str) -> Fault {
    let cut = Alteration::Replace {
        from: field.to_owned(),
        to: String::new(),
    };
    Fault::on("ListObjectsV2", Action::Alter(vec![cut])).times(u32::MAX)
}

fn keys_of(directory: &str) -> Vec<String> {
    let names = NAMES.iter();
    names.map(|name| format!("in/{directory}/{name}")).collect()
}

async fn with_directory() -> Stage {
    let stage = Stage::with(Set::resigned_after(SOON)).await;
    for key in keys_of("d") {
        stage.s3.put(BUCKET, &key, "kept");
    }
    stage
}

#[tokio::test]
async fn a_listing_that_was_cut_is_never_taken_for_whole() {
    let stage = with_directory().await;
    let client = stage.client().await;
    let faults = [
        cut_behind_element(2),
        without("<IsTruncated>false</IsTruncated>"),
        without("</ListBucketResult>"),
        without("<Key>in/d/2</Key>"),
    ];
    for fault in faults {
        stage.s3.script(fault);
        let unavailable = Refused::failure(storage::UNAVAILABLE);
        assert_eq!(client.names("/in/d").await, Err(unavailable));
        stage.s3.clear_faults();
    }
    assert_eq!(client.names("/in/d").await.unwrap(), NAMES);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_directory_moves_as_a_whole_or_not_at_all_where_listings_are_cut() {
    let stage = with_directory().await;
    let client = stage.client().await;
    for nth in 1..=NAMES.len() {
        // Behind the looks that come before the directory itself is listed.
        for skip in 0..6 {
            stage.s3.clear_requests();
            stage.s3.script(cut_behind_element(nth).skip(skip));
            let renamed = client.rename("/in/d", "/in/e").await;
            stage.s3.clear_faults();
            if renamed.is_ok() {
                let asked = stage.s3.count("ListObjectsV2");
                let met = usize::try_from(skip).unwrap() < asked;
                // A page with fewer elements than that is whole.
                assert!(!met || nth > 1, "{nth} {skip}");
                assert_eq!(stage.s3.keys(BUCKET), keys_of("e"));
                client.rename("/in/e", "/in/d").await.unwrap();
            }
            assert_eq!(stage.s3.keys(BUCKET), keys_of("d"), "{nth} {skip}");
        }
    }
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_full_directory_is_not_removed_where_listings_are_cut() {
    let stage = with_directory().await;
    stage.s3.put(BUCKET, "in/d/", "");
    let client = stage.client().await;
    for fault in [
        cut_behind_element(1),
        without("<IsTruncated>true</IsTruncated>"),
    ] {
        stage.s3.script(fault);
        let removed = client.rmdir("/in/d").await;
        assert_eq!(removed, Err(Refused::failure(storage::UNAVAILABLE)));
        stage.s3.clear_faults();
    }
    assert!(client.rmdir("/in/d").await.is_err());
    assert_eq!(stage.s3.keys(BUCKET).len(), NAMES.len() + 1);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn ranges_that_lie_never_make_a_file() {
    let stage = Stage::with(Set::resigned_after(SOON)).await;
    let content = bytes(2 << 20);
    stage.s3.put(BUCKET, "in/a", content.clone());
    let client = stage.client().await;
    let header = |name, value: Option<&str>| Alteration::Header {
        name,
        value: value.map(ToOwned::to_owned),
    };
    let lies = [
        vec![header("content-range", None)],
        vec![header("content-range", Some("bytes 0-99/2097152"))],
        vec![header("content-range", Some("bytes 0-262143/262145"))],
        vec![header("content-range", None), Alteration::Status(200)],
        vec![Alteration::Empty],
        vec![header("etag", None)],
    ];
    for lie in lies {
        for skip in 0..3 {
            let fault = Fault::on("GetObject", Action::Alter(lie.clone()));
            stage.s3.script(fault.skip(skip).times(u32::MAX));
            let got = client.download("/in/a").await;
            assert!(got.is_err(), "{lie:?} from the GET {skip} on");
            stage.s3.clear_faults();
        }
        // Once is asked again.
        let fault = Fault::on("GetObject", Action::Alter(lie.clone()));
        stage.s3.script(fault.skip(1));
        if let Ok(got) = client.download("/in/a").await {
            assert!(got == content, "{lie:?}");
        }
        stage.s3.clear_faults();
    }
    assert!(client.download("/in/a").await.unwrap() == content);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_file_whose_size_is_not_said_has_none() {
    let stage = Stage::with(Set::resigned_after(SOON)).await;
    stage.s3.put(BUCKET, "in/a", "four");
    let client = stage.client().await;
    let silent = Alteration::Header {
        name: "content-length",
        value: None,
    };
    let fault = Fault::on("HeadObject", Action::Alter(vec![silent]));
    stage.s3.script(fault.times(u32::MAX));
    let unavailable = Refused::failure(storage::UNAVAILABLE);
    assert_eq!(client.size("/in/a").await, Err(unavailable));
    stage.s3.clear_faults();
    assert_eq!(client.size("/in/a").await, Ok(4));
    drop(client);
    stage.end().await;
}
