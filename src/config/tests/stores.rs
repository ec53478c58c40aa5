//! The tables `[store.NAME]`.

use super::*;

const TWO: &str = "[store.archive]
buckets = [\"archive-*\", \"partner\"]
endpoint = \"https://s3.example.com\"
access_key_id = \"AKIAEXAMPLE\"
secret_access_key = \"archive-secret\"
conditional_put = false
[store.second]
buckets = [\"second\"]
";

fn with(tables: &str) -> String {
    format!("{MINIMAL}access_key_id = \"AKIAMAIN\"\nsecret_access_key = \"s\"\n{tables}")
}

#[test]
fn each_store_has_settings_of_its_own_and_none_of_the_others() {
    let config = read(&with(TWO), &[]).unwrap();
    assert_eq!(config.storage.access_key_id.as_deref(), Some("AKIAMAIN"));
    assert!(config.storage.capabilities.conditional_put);
    let [archive, second] = &config.stores[..] else {
        panic!("there are two")
    };
    assert_eq!((&*archive.name, &*second.name), ("archive", "second"));
    assert_eq!(archive.table.buckets, ["archive-*", "partner"]);
    assert_eq!(archive.table.roles, StoreRoles::Refuse);
    let endpoint = archive.storage.endpoint.as_deref();
    assert_eq!(endpoint, Some("https://s3.example.com"));
    assert!(!archive.storage.capabilities.conditional_put);
    assert_eq!(second.storage.access_key_id, None);
    assert_eq!(second.storage.endpoint, None);
    // The smallest limit of all holds.
    let most = limits::OBJECT_BYTES_MAX_ELSEWHERE;
    assert_eq!(config.limits.object_bytes_max, most);
}

#[test]
fn a_store_comes_from_the_environment_as_well() {
    let variables = [
        ("PORTCULLIS_STORE_ARCHIVE_BUCKETS", "a,b-*"),
        ("PORTCULLIS_STORE_ARCHIVE_ROLES", "gateway"),
        ("PORTCULLIS_STORE_ARCHIVE_REGION", "eu-west-1"),
    ];
    let config = read(&with(""), &variables).unwrap();
    let table = &config.stores[0].table;
    assert_eq!(table.buckets, ["a", "b-*"]);
    assert_eq!(table.roles, StoreRoles::Gateway);
    assert_eq!(config.stores[0].storage.region, "eu-west-1");
}

#[test]
fn what_is_wrong_with_a_store_names_its_table() {
    for (tables, place, said) in [
        ("[store.a]\n", "store.a.buckets", "missing"),
        (
            "[store.a]\nbuckets = [\"a*b\"]\n",
            "store.a.buckets",
            "\"a*b\"",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\n[store.b]\nbuckets = [\"x\"]\n",
            "store.b.buckets",
            "[store.a]",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\naccess_key_id = \"k\"\n",
            "store.a.secret_access_key",
            "missing",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\nendpoint = \"s3\"\n",
            "store.a.endpoint",
            "https://",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\nroles = \"assume\"\n",
            "store.a.roles",
            "allowed only with identity.roles = \"assume\"",
        ),
        (
            "[store.a]\nkind = \"directory\"\nroot = \"/srv\"\nroles = \"assume\"\n",
            "store.a.roles",
            "a directory has no roles",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\nsts_region = \"r\"\n",
            "store.a.sts_region",
            "set roles = \"assume\" as well",
        ),
        (
            "[store.a]\nbuckets = [\"x\"]\nretries_per_second_max = 5\n",
            "store.a.retries_per_second_max",
            "unknown",
        ),
    ] {
        let errors = read(&with(tables), &[]).unwrap_err().to_string();
        assert!(errors.contains(place) && errors.contains(said), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_store_that_refuses_everybody_is_spoken_of() {
    let warnings = |text: &str| read(text, &[]).unwrap().warnings.len();
    let assume = |tables: &str| with(tables).replace("[storage]", "roles = \"assume\"\n[storage]");
    assert_eq!(warnings(&with(TWO)), 0);
    assert_eq!(warnings(&assume("[store.a]\nbuckets = [\"x\"]\n")), 1);
    let meant = "[store.a]\nbuckets = [\"x\"]\nroles = \"gateway\"\n";
    assert_eq!(warnings(&assume(meant)), 0);
}

#[test]
fn a_directory_needs_a_root_and_is_known_by_its_name() {
    let good = "[store.data]\nkind = \"directory\"\nroot = \"/srv/data\"\nfs_ids = [\"fs-01\"]\n";
    let config = read(&with(good), &[]).unwrap();
    let store = &config.stores[0];
    assert_eq!(store.table.kind, StoreKind::Directory);
    assert_eq!(store.patterns().collect::<Vec<_>>(), ["data", "fs-01"]);
    // It sets no limit of its own.
    assert_eq!(config.limits.object_bytes_max, limits::OBJECT_BYTES_MAX);
    for (lines, place, said) in [
        ("", "store.data.root", "missing"),
        ("root = \"data\"\n", "store.data.root", "/srv/data"),
        (
            "root = \"/x\"\nbuckets = [\"b\"]\n",
            "store.data.buckets",
            "no effect",
        ),
        (
            "root = \"/x\"\nendpoint = \"https://s3.example.com\"\n",
            "store.data.endpoint",
            "no effect",
        ),
        (
            "root = \"/x\"\nfs_ids = [\"fs-01\", \"fs-01\"]\n",
            "store.data.fs_ids",
            "once",
        ),
    ] {
        let table = format!("[store.data]\nkind = \"directory\"\n{lines}");
        let errors = read(&with(&table), &[]).unwrap_err().to_string();
        assert!(errors.contains(place) && errors.contains(said), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    for (one, other, refused) in [
        ("/srv/a", "/srv/a/", true),
        ("/srv/a", "/srv/a/b", true),
        ("/srv/a/b", "/srv/a", true),
        ("/srv/a", "/srv/ab", false),
    ] {
        let table =
            |name, root| format!("[store.{name}]\nkind = \"directory\"\nroot = \"{root}\"\n");
        let both = [table("one", one), table("two", other)].concat();
        let errors = read(&with(&both), &[]).err().map(|error| error.to_string());
        let told = errors.is_some_and(|errors| errors.contains("store.two.root"));
        assert_eq!(told, refused, "{one} {other}");
    }
    let of_s3 = "[store.a]\nbuckets = [\"b\"]\nroot = \"/x\"\n";
    let errors = read(&with(of_s3), &[]).unwrap_err().to_string();
    assert!(errors.contains("kind = \"directory\""), "{errors}");
}

#[test]
fn records_are_kept_where_they_can_be_finished() {
    let with = |place: &str, more: &str| {
        let more = with(more);
        format!("{more}[sftp]\npartial_uploads = \"keep\"\npartial_state = \"{place}\"\n")
    };
    let gateway = "[store.a]\nbuckets = [\"a\"]\nroles = \"gateway\"\n";
    for place in [
        "/var/lib/portcullis/records",
        "s3://state/records",
        "s3://state",
    ] {
        let config = read(&with(place, ""), &[]).unwrap();
        assert_eq!(config.sftp.partial_state.as_deref(), Some(place));
        let assumed = [("PORTCULLIS_IDENTITY_ROLES", "assume")];
        assert!(read(&with(place, gateway), &assumed).is_ok(), "{place}");
        let error = read(&with(place, ""), &assumed).unwrap_err().to_string();
        assert!(error.contains("sftp.partial_state"), "{error}");
        assert!(error.contains("no credentials"), "{error}");
    }
    for (place, more, said) in [
        ("s3://", "", "allowed: s3://bucket/prefix"),
        (
            "s3://state/x",
            "conditional_put = false\n",
            "needs conditions on PutObject",
        ),
    ] {
        let error = refused(&with(place, more), &[]);
        assert!(error.contains("sftp.partial_state"), "{error}");
        assert!(error.contains(said), "{error}");
    }
    assert!(read(&with("/records", "conditional_put = false\n"), &[]).is_ok());
    let served = "[store.a]\nkind = \"directory\"\nroot = \"/srv/data\"\n";
    for (place, is_refused) in [
        ("/srv/data", true),
        ("/srv/data/records", true),
        ("/srv/", true),
        ("/srv/data2", false),
    ] {
        let error = read(&with(place, served), &[]).err();
        let told = error.is_some_and(|error| error.to_string().contains("[store.a], in it"));
        assert_eq!(told, is_refused, "{place}");
    }
}
