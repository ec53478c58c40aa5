//! PATH homes that walk as far as the role lets: what they see, and where they are stopped.

use embedded_s3::Placement;
use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::*;
use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::fake_sts::FakeSts;

const ROLE: &str = "arn:aws:iam::123456789012:role/partners";

/// A gateway whose users walk, with three buckets.
struct Walk {
    stage: Stage,
    sts: FakeSts,
    idp: FakeIdp,
}

impl Walk {
    async fn with(answer: Value) -> Self {
        let keys = embedded_s3::Settings::default();
        let sts = FakeSts::start(&keys.access_key, S3_SECRET).await;
        let replies = [answer.clone(), answer].map(|answer| Reply::Json(200, answer));
        let idp = FakeIdp::start(replies).await;
        let set = Set {
            webhook: Some(idp.url()),
            roles: Roles::Assume,
            sts: Some(sts.settings()),
            path_homes: PathHomes::Role,
            ..Set::default()
        };
        let stage = Stage::with(set).await;
        stage.s3.create_bucket("other");
        stage.s3.create_bucket("private");
        stage.s3.put("other", "shared/plan.txt", "a plan");
        Self { stage, sts, idp }
    }

    async fn start() -> Self {
        Self::with(home("/bucket/users/ann")).await
    }

    fn calls(&self, operation: &str) -> usize {
        let requests = self.stage.s3.requests();
        let of_it = |request: &&embedded_s3::RequestRecord| request.operation == operation;
        requests.iter().filter(of_it).count()
    }
}

fn home(directory: &str) -> Value {
    json!({"Role": ROLE, "HomeDirectoryType": "PATH", "HomeDirectory": directory})
}

async fn real_path(client: &Client, path: &str) -> String {
    let names = client.sftp.realpath(path).await.unwrap();
    names.files[0].filename.clone()
}

fn denied(sentence: &str) -> Refused {
    Refused::new(StatusCode::PermissionDenied, sentence)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

const BUCKET_LEVEL: &str = "Buckets cannot be made, removed or renamed, and files go into a bucket";

#[tokio::test]
async fn a_role_walks_from_its_home_to_all_buckets_it_shows() {
    let walk = Walk::start().await;
    let client = walk.stage.client().await;
    assert_eq!(real_path(&client, ".").await, "/bucket/users/ann");
    let up = real_path(&client, "../../..").await;
    assert_eq!(up, "/");
    let buckets = ["bucket", "other", "private"];
    assert_eq!(sorted(client.names("/").await.unwrap()), buckets);

    // The home is there though nothing is in it, and no marker is made for it.
    assert_eq!(client.names("/bucket/users/ann").await.unwrap(), [""; 0]);
    client.upload("/bucket/users/ann/a", b"mine").await.unwrap();
    assert_eq!(client.names("/bucket/users").await.unwrap(), ["ann"]);
    client.remove("/bucket/users/ann/a").await.unwrap();
    assert_eq!(walk.stage.s3.keys("bucket"), [""; 0]);

    assert_eq!(client.names("/other").await.unwrap(), ["shared"]);
    let plan = client.download("/other/shared/plan.txt").await.unwrap();
    assert_eq!(plan, b"a plan");
    client.mkdir("/private/new").await.unwrap();
    client.upload("/private/new/b", b"hers").await.unwrap();
    assert_eq!(walk.stage.s3.keys("private"), ["new/", "new/b"]);
    // Between buckets too a rename is a copy and a delete.
    let (from, to) = ("/other/shared/plan.txt", "/bucket/users/ann/plan.txt");
    client.rename(from, to).await.unwrap();
    let moved = walk.stage.object("users/ann/plan.txt");
    assert_eq!(moved.as_deref(), Some(&b"a plan"[..]));
    assert!(walk.stage.s3.object("other", "shared/plan.txt").is_none());

    assert_eq!((walk.sts.asked().len(), walk.idp.asked().len()), (1, 1));
    for request in walk.stage.s3.requests() {
        assert_eq!(request.session_token.as_deref(), Some("token-1"));
    }
    drop(client);
    walk.stage.end().await;
}

#[tokio::test]
async fn what_is_above_a_roles_home_is_there_and_stays() {
    let walk = Walk::start().await;
    let client = walk.stage.client().await;
    // Nothing is in the bucket.
    assert_eq!(client.names("/bucket").await.unwrap(), ["users"]);
    assert_eq!(client.names("/bucket/users").await.unwrap(), ["ann"]);
    assert!(client.sftp.stat("/bucket/users").await.is_ok());
    client.mkdir("/bucket/users/bob").await.unwrap();
    let users = client.names("/bucket/users").await.unwrap();
    assert_eq!(sorted(users), ["ann", "bob"]);
    client.upload("/bucket/users/ann/a", b"mine").await.unwrap();
    let users = client.names("/bucket/users").await.unwrap();
    assert_eq!(sorted(users), ["ann", "bob"], "once");
    let is_virtual = Err(denied("This directory is virtual"));
    for above in ["/bucket", "/bucket/users", "/bucket/users/ann"] {
        assert_eq!(client.rename(above, "/other/x").await, is_virtual);
        assert_eq!(client.rename(above, "/bucket/moved").await, is_virtual);
        assert_eq!(client.rmdir(above).await, is_virtual);
    }
    let keys = walk.stage.s3.keys("bucket");
    assert_eq!(keys, ["users/ann/a", "users/bob/"]);
    client.remove("/bucket/users/ann/a").await.unwrap();
    client.rmdir("/bucket/users/bob").await.unwrap();
    drop(client);
    // Who comes anew knows nothing of what was there.
    let client = walk.stage.client().await;
    assert_eq!(client.names("/bucket/users").await.unwrap(), ["ann"]);
    // What S3 denies is denied there too.
    let deny = Action::Status(403, "AccessDenied".to_owned());
    walk.stage
        .s3
        .script(Fault::any(deny).in_bucket("bucket").times(u32::MAX));
    assert!(client.sftp.stat("/bucket/users").await.is_ok());
    let refused = client.names("/bucket/users").await.unwrap_err();
    assert_eq!(refused.code, StatusCode::PermissionDenied);
    drop(client);
    walk.stage.end().await;
}

#[tokio::test]
async fn a_name_that_s3_takes_for_no_bucket_is_not_there() {
    let walk = Walk::start().await;
    let named = Action::Status(400, "InvalidBucketName".to_owned());
    let fault = Fault::any(named).in_bucket("other");
    walk.stage.s3.script(fault.times(u32::MAX));
    let client = walk.stage.client().await;
    let stat = client.sftp.stat("/other").await.unwrap_err();
    assert_eq!(crate::common::sftp::code(stat), StatusCode::NoSuchFile);
    let inside = client.sftp.stat("/other/a").await.unwrap_err();
    assert_eq!(crate::common::sftp::code(inside), StatusCode::NoSuchFile);
    assert_eq!(client.mkdir("/other").await, Err(denied(BUCKET_LEVEL)));
    drop(client);
    walk.stage.end().await;
}

#[tokio::test]
async fn a_home_at_the_root_lands_among_the_buckets() {
    for answer in [home("/"), json!({ "Role": ROLE })] {
        let walk = Walk::with(answer).await;
        let client = walk.stage.client().await;
        assert_eq!(real_path(&client, ".").await, "/");
        let buckets = ["bucket", "other", "private"];
        assert_eq!(sorted(client.names(".").await.unwrap()), buckets);
        client.upload("/other/a", b"small").await.unwrap();
        assert!(walk.stage.s3.object("other", "a").is_some());
        drop(client);
        walk.stage.end().await;
    }
}

#[tokio::test]
async fn nothing_is_made_removed_or_renamed_among_the_buckets() {
    let walk = Walk::start().await;
    let client = walk.stage.client().await;
    let refused = Err(denied(BUCKET_LEVEL));
    assert_eq!(client.mkdir("/new").await, refused);
    assert_eq!(client.rmdir("/private").await, refused);
    assert_eq!(client.remove("/private").await, refused);
    assert_eq!(client.upload("/file.txt", b"x").await, refused);
    assert_eq!(client.rename("/private", "/public").await, refused);
    assert_eq!(client.rename("/private", "/other/private").await, refused);
    let file = "/other/shared/plan.txt";
    assert_eq!(client.rename(file, "/plan.txt").await, refused);
    assert_eq!(client.rename("/other/shared", "/shared").await, refused);
    let there = Err(Refused::failure("The target exists already"));
    for path in ["/", "/private", "/bucket/users/ann"] {
        assert_eq!(client.mkdir(path).await, there, "{path}");
    }
    assert_eq!(client.rename(file, "/").await, there);
    let code = |outcome: Result<(), Refused>| outcome.unwrap_err().code;
    // No bucket can have such a name.
    assert_eq!(client.mkdir("/a file").await, refused);
    assert_eq!(client.upload("/a file", b"x").await, refused);
    assert_eq!(client.rename(file, "/a file").await, refused);
    let missing = StatusCode::NoSuchFile;
    assert_eq!(code(client.mkdir("/a file/x").await), missing);
    assert_eq!(code(client.upload("/a file/x", b"x").await), missing);
    assert_eq!(
        client.open("/private", OpenFlags::READ).await,
        Err(Refused::failure("Is a directory"))
    );

    let buckets = ["bucket", "other", "private"];
    assert_eq!(sorted(client.names("/").await.unwrap()), buckets);
    assert_eq!(walk.stage.s3.keys("other"), ["shared/plan.txt"]);
    for operation in ["CreateBucket", "DeleteBucket", "PutObject", "CopyObject"] {
        assert_eq!(walk.calls(operation), 0, "{operation}");
    }
    drop(client);
    let log = walk.stage.end().await;
    let lines = log.all("operation refused");
    let at_buckets = lines.iter().filter(|l| l.field("reason") == "bucket-level");
    assert!(at_buckets.count() > 0, "{}", log.text());
}

#[tokio::test]
async fn where_buckets_may_not_be_listed_a_name_still_leads_to_one() {
    let walk = Walk::start().await;
    walk.stage
        .refuse("ListBuckets", 403, "AccessDenied", u32::MAX);
    let client = walk.stage.client().await;
    let sentence = "Your role may not list the buckets; go to one by its name";
    assert_eq!(client.names("/").await, Err(denied(sentence)));
    assert!(client.sftp.stat("/").await.is_ok());
    assert!(client.sftp.stat("/other").await.is_ok());
    assert_eq!(client.names("/other/shared").await.unwrap(), ["plan.txt"]);
    drop(client);
    let log = walk.stage.end().await;
    assert!(log.text().contains("ListBuckets"), "{}", log.text());
}

#[tokio::test]
async fn what_the_role_does_not_show_is_refused_as_s3_says() {
    let walk = Walk::start().await;
    let deny = Action::Status(403, "AccessDenied".to_owned());
    let fault = Fault::any(deny).in_bucket("private");
    walk.stage.s3.script(fault.times(u32::MAX));
    let region = Placement {
        region: "eu-south-9".to_owned(),
        named: true,
    };
    walk.stage.s3.create_bucket("away");
    walk.stage.s3.place("away", region);
    let client = walk.stage.client().await;
    for (bucket, code) in [
        ("private", StatusCode::PermissionDenied),
        ("missing", StatusCode::NoSuchFile),
        ("away", StatusCode::Failure),
    ] {
        let path = |rest: &str| format!("/{bucket}{rest}");
        let stat = client.sftp.stat(path("")).await.unwrap_err();
        assert_eq!(crate::common::sftp::code(stat), code, "{bucket}");
        let inside = client.sftp.stat(path("/x")).await.unwrap_err();
        assert_eq!(crate::common::sftp::code(inside), code, "{bucket}");
        assert_eq!(client.names(&path("")).await.unwrap_err().code, code);
        let upload = client.upload(&path("/x"), b"x").await;
        assert_eq!(upload.unwrap_err().code, code, "{bucket}");
        let mkdir = client.mkdir(&path("")).await.unwrap_err();
        assert_eq!(mkdir, denied(BUCKET_LEVEL), "{bucket}");
    }
    drop(client);
    walk.stage.end().await;
}

#[tokio::test]
async fn without_the_setting_a_path_home_stays_confined() {
    let keys = embedded_s3::Settings::default();
    let sts = FakeSts::start(&keys.access_key, S3_SECRET).await;
    let idp = FakeIdp::start([Reply::Json(200, home("/bucket/users/ann"))]).await;
    let stage = Stage::with(Set {
        webhook: Some(idp.url()),
        roles: Roles::Assume,
        sts: Some(sts.settings()),
        ..Set::default()
    })
    .await;
    let client = stage.client().await;
    assert_eq!(client.names("/").await.unwrap(), ["bucket"]);
    stage.s3.create_bucket("other");
    let elsewhere = client.names("/other").await.unwrap_err();
    assert_eq!(elsewhere.code, StatusCode::NoSuchFile);
    drop(client);
    stage.end().await;
}
