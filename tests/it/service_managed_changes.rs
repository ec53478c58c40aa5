//! Changes of users that meet a store that fails, or each other.

use portcullis::idp::service_managed::{Fault, Tag, User, Users};
use portcullis::storage::failing::Fault as Spoiled;
use portcullis::storage::{Operation, StorageErrorKind};

use crate::service_managed::{Place, home, key};

/// What can be done to a user who is there: he has one key, in `/bucket/home`.
#[derive(Debug, Clone, Copy)]
enum Change {
    Create,
    Update,
    Import,
    Remove,
    Delete,
}

impl Change {
    const ALL: [Self; 5] = [
        Self::Create,
        Self::Update,
        Self::Import,
        Self::Remove,
        Self::Delete,
    ];

    async fn make(self, users: &Users, name: &str) -> Result<(), Fault> {
        match self {
            Self::Create => {
                let key = key(1);
                let created = users.create(name, home("/bucket/home"), vec![], Some(&key));
                created.await.map(drop)
            }
            Self::Update => {
                let moved = |user: &mut User| user.update(home("/bucket/new"));
                users.change(name, moved).await
            }
            Self::Import => users.import_key(name, &key(2)).await.map(drop),
            Self::Remove => {
                let remove = |user: &mut User| {
                    let mut keys = user.ssh_public_keys.iter();
                    let first = keys.next().map(|key| key.ssh_public_key_id.clone());
                    user.remove_key(&first.unwrap_or_default())
                };
                users.change(name, remove).await
            }
            Self::Delete => users.delete(name).await,
        }
    }
}

/// What is told of a user: the home, and how many keys; `None`: there is none.
async fn told(users: &Users) -> Option<(String, usize)> {
    match users.describe("ann").await {
        Ok(user) => Some((user.home_directory.unwrap(), user.ssh_public_keys.len())),
        Err(Fault::NotFound { .. }) => None,
        Err(fault) => panic!("half a user: {fault}"),
    }
}

/// How a call may fail.
const KINDS: [StorageErrorKind; 12] = [
    StorageErrorKind::NotFound,
    StorageErrorKind::NoSuchBucket,
    StorageErrorKind::Precondition,
    StorageErrorKind::Denied,
    StorageErrorKind::ClockSkew,
    StorageErrorKind::Expired,
    StorageErrorKind::Throttled,
    StorageErrorKind::Unavailable,
    StorageErrorKind::OutcomeUnknown,
    StorageErrorKind::ChecksumMismatch,
    StorageErrorKind::Refused,
    StorageErrorKind::RefusedBare,
];

/// Each call of each change fails in each way: what is there afterwards is the old user, or the
/// new one, on every replica; and what was answered is what is there.
#[tokio::test]
async fn whatever_call_of_a_change_fails_nothing_is_left_half_done() {
    let ways = KINDS.into_iter().map(Spoiled::Fail);
    let ways = ways.chain([Spoiled::LandThenLose, Spoiled::CutBodyAfter(20)]);
    let (mut spoiled, mut done, mut kept) = (0, 0, 0);
    for (change, way) in Change::ALL
        .into_iter()
        .flat_map(|change| ways.clone().map(move |way| (change, way)))
    {
        for (operation, nth) in [
            Operation::Head,
            Operation::Get,
            Operation::Put,
            Operation::Delete,
        ]
        .into_iter()
        .flat_map(|operation| [(operation, 1), (operation, 2)])
        {
            let place = Place::objects();
            let (one, other) = (place.replica(), place.replica());
            let Place::Objects(_, failing) = &place else {
                unreachable!()
            };
            if !matches!(change, Change::Create) {
                Change::Create.make(&one.users, "ann").await.unwrap();
            }
            let old = told(&one.users).await;
            failing.spoil(operation, nth, way.clone());
            let made = change.make(&one.users, "ann").await;
            if failing.pending() > 0 {
                continue;
            }
            spoiled += 1;
            let new = match change {
                Change::Create => Some(("/bucket/home".to_owned(), 1)),
                Change::Update => Some(("/bucket/new".to_owned(), 1)),
                Change::Import => Some(("/bucket/home".to_owned(), 2)),
                Change::Remove => Some(("/bucket/home".to_owned(), 0)),
                Change::Delete => None,
            };
            let found = told(&other.users).await;
            let about = format!("{change:?} {operation:?} {nth} {way:?}: {made:?}, {found:?}");
            assert!(found == old || found == new, "{about}");
            match made {
                Ok(()) => {
                    done += 1;
                    assert_eq!(found, new, "{about}");
                }
                Err(_) => kept += 1,
            }
            // Who tries again gets there, or is told that it is done.
            let again = change.make(&one.users, "ann").await;
            let (told_one, told_other) = (told(&one.users).await, told(&other.users).await);
            assert_eq!(told_one, told_other, "{about}");
            let is_done = again.is_ok() || found == new;
            assert!(is_done, "{about}: {again:?}");
        }
    }
    println!("{spoiled} calls failed: {done} changes done, {kept} refused");
    assert!(
        spoiled > 100 && done > 10 && kept > 10,
        "{spoiled} {done} {kept}"
    );
}

#[tokio::test]
async fn two_replicas_that_change_one_user_lose_no_change() {
    for place in [Place::files(), Place::objects()] {
        let (one, other) = (place.replica(), place.replica());
        Change::Create.make(&one.users, "ann").await.unwrap();
        let tag = |name: &str| Tag {
            key: name.to_owned(),
            value: String::new(),
        };
        let of_one = async {
            for number in 2..8 {
                one.users.import_key("ann", &key(number)).await.unwrap();
                let tag = vec![tag(&format!("one-{number}"))];
                let tagging = |user: &mut User| user.tag(tag.clone());
                one.users.change("ann", tagging).await.unwrap();
            }
        };
        let of_other = async {
            Change::Update.make(&other.users, "ann").await.unwrap();
            Change::Remove.make(&other.users, "ann").await.unwrap();
            for number in 12..18 {
                other.users.import_key("ann", &key(number)).await.unwrap();
                let tag = vec![tag(&format!("other-{number}"))];
                let tagging = |user: &mut User| user.tag(tag.clone());
                other.users.change("ann", tagging).await.unwrap();
            }
        };
        futures_util::future::join(of_one, of_other).await;
        let user = other.users.describe("ann").await.unwrap();
        assert_eq!(user, one.users.describe("ann").await.unwrap());
        assert_eq!(user.home_directory.as_deref(), Some("/bucket/new"));
        assert_eq!(user.tags.len(), 12, "{user:?}");
        // Thirteen keys, of which one was removed.
        assert_eq!(user.ssh_public_keys.len(), 12, "{user:?}");
    }
}

#[tokio::test]
async fn a_user_who_is_deleted_is_not_brought_back_by_a_change_elsewhere() {
    for place in [Place::files(), Place::objects()] {
        let (one, other) = (place.replica(), place.replica());
        for change in [Change::Update, Change::Import, Change::Remove] {
            for _ in 0..4 {
                Change::Create.make(&one.users, "ann").await.unwrap();
                let deleting = Change::Delete.make(&one.users, "ann");
                let changing = change.make(&other.users, "ann");
                let (deleted, changed) = futures_util::future::join(deleting, changing).await;
                deleted.unwrap();
                let is_plain = matches!(changed, Ok(()) | Err(Fault::NotFound { .. }));
                assert!(is_plain, "{change:?}: {changed:?}");
                assert_eq!(told(&other.users).await, None, "{change:?}");
            }
        }
    }
}
